/**
 * `Cache-Control` (RFC 9111 section 5.2): read leniently, judged strictly.
 *
 *     Cache-Control   = #cache-directive
 *     cache-directive = token [ "=" ( token / quoted-string ) ]
 */
import { listOf, unquoted } from "./fields.ts";

/** Directives by their name in lower case; undefined for a directive without an argument. */
export type Directives = ReadonlyMap<string, string | undefined>;

const none: Directives = new Map();

/** RFC 9111 section 1.2.2: larger numbers of seconds mean this one. */
export const longestSeconds = 2_147_483_648;

/** Reads the field. A directive that occurs twice keeps its stricter argument: for seconds the smaller one. */
export function parseCacheControl(value: string | undefined): Directives {
  if (value === undefined || value === "") return none;
  const directives = new Map<string, string | undefined>();
  for (const element of listOf(value)) {
    const equals = element.indexOf("=");
    const name = (equals < 0 ? element : element.slice(0, equals)).trim().toLowerCase();
    if (name === "") continue;
    const argument = equals < 0 ? undefined : unquoted(element.slice(equals + 1).trim());
    if (directives.has(name)) directives.set(name, stricter(directives.get(name), argument));
    else directives.set(name, argument);
  }
  return directives;
}

/**
 * The seconds that a directive names; undefined where it is absent.
 *
 * What is not a number counts as 0: RFC 9111 section 4.2.1 encourages caches to take responses with invalid freshness
 * information for stale.
 */
export function seconds(directives: Directives, name: string): number | undefined {
  if (!directives.has(name)) return undefined;
  return deltaSeconds(directives.get(name)) ?? 0;
}

/** RFC 9111 section 1.2.2: `delta-seconds = 1*DIGIT`. */
export function deltaSeconds(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined;
  return Math.min(Number(text), longestSeconds);
}

function stricter(a: string | undefined, b: string | undefined): string | undefined {
  // Without an argument a directive says more: `private` covers `private="x-user"`.
  if (a === undefined || b === undefined) return undefined;
  const [left, right] = [deltaSeconds(a), deltaSeconds(b)];
  if (left === undefined) return a;
  if (right === undefined) return b;
  return left <= right ? a : b;
}
