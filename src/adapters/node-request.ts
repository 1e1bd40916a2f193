/**
 * What a handler gets to see of a request while it renders a page for the cache.
 *
 * Only what is part of the key: no cookies but those that count, no parameters but those that count, and none of the
 * fields that would make it answer with less than the whole page. Everything is put back afterwards.
 */
import type { IncomingMessage } from "node:http";
import { canonicalQuery, onlyCookies, splitTarget, type PagePolicy } from "../http/index.ts";

/** RFC 9110 sections 13 and 14: the cache judges these itself, on the whole page. */
const partial = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

/** Properties that the frameworks and their plugins put on requests. */
type Request = IncomingMessage & { cookies?: unknown; query?: unknown };

/** Hides what is not part of the key. Answers how to put it back. */
export function narrowRequest(raw: IncomingMessage, request: object, policy: PagePolicy<never>): () => void {
  const undo: (() => void)[] = [];
  const hidden = new Map<string, string | undefined>();
  for (const name of partial) hidden.set(name, undefined);
  if (policy.negotiatesCoding) hidden.set("accept-encoding", undefined);
  if (!policy.isPrivate && policy.cookies !== "bypass") {
    const names = policy.keyCookies;
    hidden.set("cookie", onlyCookies(raw.headers.cookie, names));
    const { cookies } = request as Request;
    if (typeof cookies === "object" && cookies !== null) set(request, "cookies", only(cookies, names), undo);
  }
  hideHeaders(raw, hidden, undo);
  if (policy.query !== "all") narrowQuery(raw, request, policy.query, undo);
  return () => {
    for (const back of undo.toReversed()) back();
  };
}

function narrowQuery(raw: IncomingMessage, request: object, names: readonly string[], undo: (() => void)[]): void {
  let isNarrower = narrowTarget(raw, "url", names, undo);
  // Express and its like keep the target as it was before routers cut it and others rewrote it; Fastify keeps it on Node's request.
  for (const holder of new Set([raw, request]))
    if ("originalUrl" in holder && narrowTarget(holder, "originalUrl", names, undo)) isNarrower = true;
  if (!isNarrower) return;
  // Express 5 reads the query from the url; Express 4 and Fastify have parsed it already.
  const own = Object.getOwnPropertyDescriptor(request, "query");
  if (own?.writable === true && typeof own.value === "object" && own.value !== null)
    set(request, "query", only(own.value as object, names), undo);
}

/** Takes from a target the parameters that do not count. Answers whether there were any. */
function narrowTarget(
  holder: object,
  name: "url" | "originalUrl",
  names: readonly string[],
  undo: (() => void)[],
): boolean {
  const target = String(Reflect.get(holder, name) ?? "/");
  const { query } = splitTarget(target);
  const kept = canonicalQuery(query, names);
  if (kept === query) return false;
  const path = target.slice(0, target.indexOf("?"));
  set(holder, name, kept === "" ? path : `${path}?${kept}`, undo);
  return true;
}

/** Replaces headers, or takes them away, in each of the three forms in which Node has them. */
function hideHeaders(
  raw: IncomingMessage,
  hidden: ReadonlyMap<string, string | undefined>,
  undo: (() => void)[],
): void {
  const { headers, rawHeaders } = raw;
  const changed = [...hidden].filter(([name, value]) => headers[name] !== value);
  if (changed.length === 0) return;
  for (const [name, value] of changed) {
    const before = headers[name];
    if (value === undefined) Reflect.deleteProperty(headers, name);
    else headers[name] = value;
    undo.push(() => void (headers[name] = before));
  }
  const before = [...rawHeaders];
  const kept = changed.flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
  for (let at = 0; at + 1 < before.length; at += 2) {
    const [name = "", value = ""] = before.slice(at, at + 2);
    if (!changed.some(([other]) => other === name.toLowerCase())) kept.push(name, value);
  }
  replaceRaw(raw, kept);
  undo.push(() => replaceRaw(raw, before));
}

/** The list in place, because HTTP/2's requests have no other way; and what Node would make of it when it is asked for. */
function replaceRaw(raw: IncomingMessage, fields: readonly string[]): void {
  raw.rawHeaders.splice(0, raw.rawHeaders.length, ...fields);
  const distinct = Object.create(null) as Record<string, string[]>;
  for (let at = 0; at + 1 < fields.length; at += 2)
    (distinct[(fields[at] ?? "").toLowerCase()] ??= []).push(fields[at + 1] ?? "");
  raw.headersDistinct = distinct;
}

function set(target: object, name: string, value: unknown, undo: (() => void)[]): void {
  const before: unknown = Reflect.get(target, name);
  if (Reflect.set(target, name, value)) undo.push(() => void Reflect.set(target, name, before));
  else if (Reflect.defineProperty(target, name, { configurable: true, value }))
    // Fastify's request has it from its prototype, which cannot be set.
    undo.push(() => void Reflect.deleteProperty(target, name));
}

function only(values: object, names: readonly string[]): object {
  const kept: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const name of names) if (Object.hasOwn(values, name)) kept[name] = Reflect.get(values, name);
  return kept;
}
