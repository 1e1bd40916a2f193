/**
 * `Cache-Status` (RFC 9211) and `Server-Timing`: what the cache did with this request, and why, for whoever looks.
 *
 * Every answer carries one of these outcomes; the docs list them, and events carry the same words.
 */
import { field, type Fields } from "./fields.ts";

/** Why a request was not answered from the cache, or its answer not stored. One word for programs, never a value. */
export type Reason =
  // of the request
  | "method"
  | "authorization"
  | "cookie"
  | "request-no-store"
  | "no-user"
  | "url-too-long"
  | "no-host"
  | "target"
  | "content"
  | "upgrade"
  | "option"
  | "head"
  | "nested"
  // of the response
  | "status"
  | "set-cookie"
  | "no-store"
  | "no-cache"
  | "private"
  | "not-fresh"
  | "vary-any"
  | "vary-cookie"
  | "vary-learned"
  | "vary-too-many"
  | "encoded"
  | "partial"
  | "trailers"
  | "identity-read"
  | "csrf-token"
  | "too-large"
  | "incomplete"
  | "event-stream"
  | "nonce"
  | "rewritten"
  // of the cache
  | "unstorable"
  | "unavailable";

/** What happened, in the words of RFC 9211 section 2. */
export interface CacheOutcome {
  readonly kind: "hit" | "stale" | "miss" | "bypass";
  /** Why it was forwarded or not stored. */
  readonly reason?: Reason | undefined;
  /** Seconds of freshness that are left; negative when stale. */
  readonly ttl?: number | undefined;
  /** Whether the answer was stored, as far as that is known when the head is sent. */
  readonly stored?: boolean | undefined;
  /** Whether this request waited for another one's rendering. */
  readonly collapsed?: boolean | undefined;
}

/** The member that this cache adds to `Cache-Status`; `name` must be a token. */
export function cacheStatus(name: string, outcome: CacheOutcome): string {
  let text = name;
  switch (outcome.kind) {
    case "hit":
    // Section 2.1: `hit` also for a stale answer that was not forwarded; the negative ttl tells it.
    case "stale":
      text += "; hit";
      break;
    case "miss":
      text += "; fwd=miss";
      break;
    case "bypass":
      text += outcome.reason === "method" ? "; fwd=method" : "; fwd=bypass";
      break;
  }
  if (outcome.ttl !== undefined) text += `; ttl=${Math.trunc(outcome.ttl)}`;
  if (outcome.stored === true) text += "; stored";
  if (outcome.collapsed === true) text += "; collapsed";
  if (outcome.reason !== undefined) text += `; detail=${outcome.reason}`;
  return text;
}

/** The field with our member at its end: the cache nearest to the user comes last (RFC 9211 section 2). */
export function withCacheStatus(existing: string | undefined, member: string): string {
  return existing === undefined || existing === "" ? member : `${existing}, ${member}`;
}

/** A member of `Server-Timing`: what happened and how long it took until the head was sent. */
export function serverTiming(name: string, outcome: CacheOutcome, durationMs: number): string {
  return `${name};desc=${outcome.kind};dur=${tenthsOf(durationMs) / 10}`;
}

/** A duration as `Server-Timing` tells it: in tenths of a millisecond. */
export function tenthsOf(durationMs: number): number {
  return Math.round(durationMs * 10);
}

/** The value of `name` in `fields` with `member` added. */
export function appended(fields: Fields, name: string, member: string): string {
  return withCacheStatus(field(fields, name), member);
}
