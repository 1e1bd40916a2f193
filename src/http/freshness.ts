/** How long a response may be used, and how old it is (RFC 9111 section 4.2). */
import { deltaSeconds, seconds, type Directives } from "./cache-control.ts";
import { parseHttpDate } from "./dates.ts";
import { field, type Fields } from "./fields.ts";

/**
 * The seconds for which the response itself says that it is fresh, for a shared cache; undefined where it says nothing.
 *
 * RFC 9111 section 4.2.1: `s-maxage`, then `max-age`, then `Expires` minus `Date`. Heuristic freshness (4.2.2) is never
 * used: a page lives as long as the program says.
 *
 * @param isShared false for pages that belong to one user: `s-maxage` does not speak to them (section 5.2.2.10)
 */
export function explicitLifetime(
  directives: Directives,
  fields: Fields,
  nowMs: number,
  isShared = true,
): number | undefined {
  const shared = isShared ? seconds(directives, "s-maxage") : undefined;
  if (shared !== undefined) return shared;
  const maxAge = seconds(directives, "max-age");
  if (maxAge !== undefined) return maxAge;
  const expires = field(fields, "expires");
  if (expires === undefined) return undefined;
  // RFC 9111 section 5.3: an invalid date, "0" above all, is in the past.
  const expiresMs = parseHttpDate(expires, nowMs);
  if (expiresMs === undefined) return 0;
  const date = field(fields, "date");
  const dateMs = (date === undefined ? undefined : parseHttpDate(date, nowMs)) ?? nowMs;
  return Math.max(0, Math.floor((expiresMs - dateMs) / 1000));
}

/**
 * The age in seconds with which a response arrives (RFC 9111 section 4.2.3): what its `Age` says or what its `Date` shows,
 * whichever is more. A handler that passes on what it fetched elsewhere may say both.
 */
export function arrivalAge(fields: Fields, nowMs: number): number {
  // Section 5.1: of several values the first counts; one that is invalid is ignored.
  const said = deltaSeconds(field(fields, "age")?.split(",")[0]?.trim()) ?? 0;
  const date = field(fields, "date");
  const dateMs = date === undefined ? undefined : parseHttpDate(date, nowMs);
  return dateMs === undefined ? said : Math.max(said, Math.floor((nowMs - dateMs) / 1000));
}

/** RFC 9111 section 4.2.3: the age on arrival plus the time in here; the clock may have been set back meanwhile. */
export function currentAge(arrivalAgeSeconds: number, storedAtMs: number, nowMs: number): number {
  return arrivalAgeSeconds + Math.max(0, Math.floor((nowMs - storedAtMs) / 1000));
}
