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
  for (const name of partial) hideHeader(raw, name, undefined, undo);
  if (policy.negotiatesCoding) hideHeader(raw, "accept-encoding", undefined, undo);
  if (!policy.isPrivate && policy.cookies !== "bypass") {
    const names = policy.keyCookies;
    hideHeader(raw, "cookie", onlyCookies(raw.headers.cookie, names), undo);
    const { cookies } = request as Request;
    if (typeof cookies === "object" && cookies !== null) set(request, "cookies", only(cookies, names), undo);
  }
  if (policy.query !== "all") narrowQuery(raw, request, policy.query, undo);
  return () => {
    for (const back of undo.toReversed()) back();
  };
}

function narrowQuery(raw: IncomingMessage, request: object, names: readonly string[], undo: (() => void)[]): void {
  const target = raw.url ?? "/";
  const { query } = splitTarget(target);
  const kept = canonicalQuery(query, names);
  if (kept === query) return;
  const path = target.slice(0, target.indexOf("?"));
  set(raw, "url", kept === "" ? path : `${path}?${kept}`, undo);
  // Express 5 reads the query from the url; Express 4 and Fastify have parsed it already.
  const own = Object.getOwnPropertyDescriptor(request, "query");
  if (own?.writable === true && typeof own.value === "object" && own.value !== null)
    set(request, "query", only(own.value as object, names), undo);
}

function hideHeader(raw: IncomingMessage, name: string, value: string | undefined, undo: (() => void)[]): void {
  const { headers } = raw;
  const before = headers[name];
  if (before === undefined || before === value) return;
  if (value === undefined) Reflect.deleteProperty(headers, name);
  else headers[name] = value;
  undo.push(() => {
    headers[name] = before;
  });
}

function set(target: object, name: string, value: unknown, undo: (() => void)[]): void {
  const before: unknown = Reflect.get(target, name);
  if (Reflect.set(target, name, value)) undo.push(() => void Reflect.set(target, name, before));
}

function only(values: object, names: readonly string[]): object {
  const kept: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const name of names) if (Object.hasOwn(values, name)) kept[name] = Reflect.get(values, name);
  return kept;
}
