/** A request as the rules see it: plain values, whatever framework it came through. */
import type { Fields } from "./fields.ts";

export interface PageRequest {
  /** In capitals, as it was sent. */
  readonly method: string;
  readonly scheme: "http" | "https";
  /** The authority the client named, with its port. Empty when it named none. */
  readonly host: string;
  /** The path as it was sent, still percent-encoded: two spellings are two pages. */
  readonly path: string;
  /** What follows the `?`, without it. */
  readonly query: string;
  readonly fields: Fields;
}

/** Whether the method promises to change nothing (RFC 9110 section 9.2.1). */
export function isSafeMethod(method: string): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE";
}

/** The authority in one spelling: lower case, without the port that its scheme implies (RFC 9110 section 4.2.3). */
export function canonicalHost(scheme: "http" | "https", host: string): string {
  const lower = host.toLowerCase();
  const defaultPort = scheme === "https" ? ":443" : ":80";
  return lower.endsWith(defaultPort) ? lower.slice(0, -defaultPort.length) : lower;
}

/** Cuts a request target (RFC 9112 section 3.2, origin-form or absolute-form) into path and query. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  let start = 0;
  if (!target.startsWith("/") && target !== "*") {
    const authority = target.indexOf("://");
    const slash = authority < 0 ? -1 : target.indexOf("/", authority + 3);
    start = slash < 0 ? 0 : slash;
  }
  const hash = target.indexOf("#", start);
  const end = hash < 0 ? target.length : hash;
  const mark = target.indexOf("?", start);
  if (mark < 0 || mark > end) return { path: target.slice(start, end), query: "" };
  return { path: target.slice(start, mark), query: target.slice(mark + 1, end) };
}
