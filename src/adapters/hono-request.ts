/**
 * Requests of Hono as the rules see them.
 *
 * Most runtimes make a `Request` lazily: on Node its headers become real `Headers` only when somebody lists them, which costs
 * as much as answering from the cache. So each header is asked for by its name.
 */
import { splitTarget, type PageRequest } from "../http/index.ts";

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
