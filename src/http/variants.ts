/**
 * From a request to the key of its page.
 *
 * A key is a sequence of parts, each written as its length, a colon and itself, or as `-` where it is absent:
 *
 *     key  = "page" *part          part = "-" / 1*DIGIT ":" *CHAR
 *
 * so that no two different requests can share one: neither by moving a character from one part to its neighbour, nor by
 * sending what stands for "absent".
 *
 * The parts are: scheme, host, path, canonical query, user, cookies, the name and value of each declared header; behind an `@`
 * each, what else says where the request was sent; the names and values of the headers that responses were found to vary on,
 * and the content coding.
 */
import { refuse } from "./checks.ts";
import { onlyCookies } from "./cookies.ts";
import { field, isToken, type Fields } from "./fields.ts";
import type { Coding } from "./negotiation.ts";
import { canonicalQuery, type QueryRule } from "./query.ts";
import type { PageRequest } from "./request.ts";

/** A header that is part of the key: by its value, or by what a function makes of the value. */
export interface VaryRule {
  readonly header: string;
  readonly as: ((value: string | undefined) => string) | undefined;
}

/** The options that make a key. */
export interface KeyPolicy {
  readonly query: QueryRule;
  readonly vary: readonly VaryRule[];
  /** Cookies that are part of the key. */
  readonly keyCookies: readonly string[];
}

/** More names than this in `Vary` are not learned: each one multiplies the pages. */
export const mostVaryNames = 8;

/** The key of a page apart from what its response varies on. */
export function baseKey(request: PageRequest, policy: KeyPolicy, user: string | undefined): string {
  return urlKey(request, policy) + visitorKey(request, policy, user) + addressKey(request);
}

/** The part of the key that all visitors of a URL share. */
export function urlKey(request: Omit<PageRequest, "fields">, policy: KeyPolicy): string {
  let key = "page";
  key += part(request.scheme);
  // As it was sent: handlers look sites up by it and redirect to it, and not all of them know that case and `:80` mean nothing.
  key += part(request.host);
  key += part(request.path);
  key += part(canonicalQuery(request.query, policy.query));
  return key;
}

/** The part of the key that tells one visitor of a URL from another. */
export function visitorKey(request: PageRequest, policy: KeyPolicy, user: string | undefined): string {
  let key = part(user);
  key += part(onlyCookies(field(request.fields, "cookie"), policy.keyCookies));
  for (const rule of policy.vary) {
    const value = normalised(field(request.fields, rule.header));
    // With its name: other pages of this URL may be declared to vary on another header.
    key += part(rule.header);
    key += rule.as === undefined ? part(value) : textPart(rule.as(value), `vary by ${rule.header}`);
  }
  return key;
}

/**
 * Fields by which proxies say where a request was sent, or as what. Programs believe them whoever sent them, and so do
 * frameworks that trust a proxy; few responses name them in Vary. Most requests have none.
 */
export const addressFields: readonly string[] = [
  "forwarded",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-scheme",
  "x-forwarded-server",
  "x-host",
  "x-original-host",
  "x-original-url",
  "x-rewrite-url",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
];

/** The part of the key for what else says where a request was sent; empty for most. */
export function addressKey({ host, fields }: PageRequest): string {
  let key = "";
  for (const name of addressFields) if (fields[name] !== undefined) key += `@${part(name)}${part(field(fields, name))}`;
  // Behind a proxy that is trusted, or with two of them, these are not the host that the key has already.
  const [sent, authority] = [field(fields, "host"), field(fields, ":authority")];
  if (sent !== undefined && sent !== host) key += `@${part("host")}${part(sent)}`;
  if (authority !== undefined && authority !== host) key += `@${part(":authority")}${part(authority)}`;
  return key;
}

/** The key of one variant: the names that its response varies on, and this request's values for them. */
export function variantKey(base: string, learned: readonly string[], fields: Fields): string {
  let key = base;
  for (const name of learned) key += part(name) + part(normalised(field(fields, name)));
  return key;
}

/** The key under which the same page is kept in a content coding. */
export function codedKey(key: string, coding: Coding): string {
  return `${key}|${coding}`;
}

/**
 * The names of `vary` that the key does not honour yet, sorted; those are what must be learned.
 *
 * @param settled names that something else takes care of, such as `accept-encoding` where the cache negotiates it
 */
export function unkeyedNames(vary: readonly string[], policy: KeyPolicy, settled: readonly string[]): string[] {
  const keyed = new Set([...policy.vary.map((rule) => rule.header), ...settled]);
  return vary.filter((name) => isToken(name) && !keyed.has(name)).toSorted();
}

/**
 * RFC 9111 section 4.1 lets values be normalised where that cannot change their meaning: several lines are joined, and
 * white space around commas and at the ends goes (but not where quoted strings may hold it). Case stays, because only the
 * field's own definition could excuse it.
 */
function normalised(value: string | undefined): string | undefined {
  if (value === undefined || value.includes('"')) return value;
  return value.replaceAll(/[ \t]*,[ \t]*/g, ",").trim();
}

/** The part of a key that the function `name` among the options has made: it is there. */
export function textPart(text: string, name: string): string {
  return typeof text === "string" ? part(text) : refuse(`what ${name} gave`, text, "a text");
}

/** One part of a key. Functions among the options make some of them, and what is no text has no length to tell it by. */
export function part(text: string | undefined): string {
  if (text === undefined) return "-";
  if (typeof text !== "string") throw new TypeError(`a part of a page's key is no text but a ${typeof text}`);
  return `${text.length}:${text}`;
}
