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
  /** Whether its target is more than a path and a query; see `isOddTarget`. */
  readonly isOdd?: boolean;
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

/**
 * Whether a request target is more than the origin-form of RFC 9112 section 3.2.1: an absolute URL, whose host may be another
 * one than the field Host names, or with a fragment, or with a query of nothing. What programs make of those differs (some
 * redirect to the URL without it), so no key could stand for it.
 */
export function isOddTarget(target: string): boolean {
  return !target.startsWith("/") || target.includes("#") || target.endsWith("?");
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
