/**
 * Requests of Hono as the rules see them, and as a handler gets to see them while it renders a page for the cache.
 *
 * Most runtimes make a `Request` lazily: on Node its headers become real `Headers` only when somebody lists them, which costs as much
 * as answering from the cache. So each header is asked for by its name.
 */
import { canonicalQuery, onlyCookies, splitTarget, type PagePolicy, type PageRequest } from "../http/index.ts";

/** RFC 9110 sections 13 and 14: the cache judges these itself, on the whole page. */
const partial = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

export function requestOf(raw: Request, method: string): PageRequest {
  const { url } = raw;
  // A request's url is absolute and in its normal form already (https://fetch.spec.whatwg.org/#dom-request-url).
  const hostAt = url.indexOf("://") + 3;
  const pathAt = url.indexOf("/", hostAt);
  return {
    method,
    scheme: url.startsWith("https:") ? "https" : "http",
    host: url.slice(hostAt, pathAt < 0 ? url.length : pathAt),
    ...splitTarget(url),
    // Every adapter under Hono makes one absolute URL of what was sent, and names the same host by it.
    isOdd: url.includes("#") || url.endsWith("?"),
    fields: new Proxy(raw.headers, byName) as unknown as PageRequest["fields"],
  };
}

const byName: ProxyHandler<Headers> = {
  // A name of HTTP/2's own (`:authority`) is none to `Headers`, and asking for it would throw.
  get: (headers, name) =>
    typeof name === "string" && !name.startsWith(":") ? (headers.get(name) ?? undefined) : undefined,
};

/** The request without what is not part of the key, and without what would make the handler answer less than all. */
export function narrowed(raw: Request, policy: PagePolicy<never>): Request {
  const headers = new Headers(raw.headers);
  for (const name of partial) headers.delete(name);
  if (policy.negotiatesCoding) headers.delete("accept-encoding");
  if (!policy.isPrivate && policy.cookies !== "bypass") {
    const cookies = onlyCookies(headers.get("cookie") ?? undefined, policy.keyCookies);
    if (cookies === undefined) headers.delete("cookie");
    else headers.set("cookie", cookies);
  }
  const url = new URL(raw.url);
  if (policy.query !== "all") url.search = canonicalQuery(url.search.slice(1), policy.query);
  return new Request(url, { method: raw.method, headers });
}
