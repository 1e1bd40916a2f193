/**
 * Ranges of a page that is at hand (RFC 9110 section 14).
 *
 *     Range = "bytes=" ( first "-" [ last ] / "-" suffix-length )
 *
 * One range is answered with 206. Several are answered with the whole page: section 14.2 lets a server ignore the field,
 * and many small or overlapping ranges are a known way to hurt one.
 */

/** What a Range field asks of a body of a known length. */
export type RangeOutcome =
  | { readonly kind: "whole" }
  | { readonly kind: "part"; readonly first: number; readonly last: number }
  | { readonly kind: "unsatisfiable" };

const whole: RangeOutcome = { kind: "whole" };

/** Reads a Range field. Units that are not known and fields that are malformed are ignored (section 14.2). */
export function rangeOf(value: string | undefined, length: number): RangeOutcome {
  if (value === undefined) return whole;
  const match = /^bytes\s*=\s*(\d*)\s*-\s*(\d*)$/i.exec(value.trim());
  if (!match) return whole;
  const [firstText = "", lastText = ""] = [match[1], match[2]];
  if (firstText === "") {
    if (lastText === "") return whole;
    const suffix = Number(lastText);
    // Section 14.1.2: a suffix of 0 bytes cannot be satisfied; one longer than the page is the whole page.
    if (suffix === 0 || length === 0) return { kind: "unsatisfiable" };
    return { kind: "part", first: Math.max(0, length - suffix), last: length - 1 };
  }
  const first = Number(firstText);
  const last = lastText === "" ? length - 1 : Number(lastText);
  // Section 14.1.1: last before first makes the set invalid, so the field is ignored.
  if (lastText !== "" && last < first) return whole;
  if (first >= length) return { kind: "unsatisfiable" };
  return { kind: "part", first, last: Math.min(last, length - 1) };
}
