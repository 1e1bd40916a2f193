/**
 * What a client prefers (RFC 9110 section 12): content codings for compressed pages, languages for keys.
 *
 *     Accept-Encoding = #( codings [ weight ] )        weight = OWS ";" OWS "q=" qvalue
 */
import { cut, listOf } from "./fields.ts";

/** The content codings that pages are stored in, besides none at all. */
export type Coding = "br" | "gzip" | "zstd";

/**
 * The first of `offered` that the client takes with the highest weight; undefined means none: send the bytes as they are.
 *
 * RFC 9110 section 12.5.3: without the field anything is acceptable, but nobody asked for a coding, so none is used;
 * `q=0` refuses; `*` speaks for those that are not named; `x-gzip` is gzip (section 8.4.1.3).
 */
export function preferredCoding(accept: string | undefined, offered: readonly Coding[]): Coding | undefined {
  if (accept === undefined || accept === "" || offered.length === 0) return undefined;
  const weights = parseWeights(accept);
  let best: Coding | undefined;
  let bestWeight = 0;
  for (const coding of offered) {
    const weight = weights.get(coding) ?? (coding === "gzip" ? weights.get("x-gzip") : undefined) ?? weights.get("*");
    if (weight !== undefined && weight > bestWeight) {
      best = coding;
      bestWeight = weight;
    }
  }
  // A client that prefers the plain bytes gets them.
  return bestWeight >= (weights.get("identity") ?? 0) ? best : undefined;
}

/**
 * A rule for `vary` that turns `Accept-Language` into one of the languages a site has, so that its thousand spellings
 * share a few pages. A range matches a language that it is, or that begins with it (RFC 4647 section 3.4, lookup).
 *
 * @param languages what the site has; the first one is used where nothing matches
 */
export function preferredLanguage(
  ...languages: readonly [string, ...string[]]
): (accept: string | undefined) => string {
  return (accept) => {
    if (accept === undefined) return languages[0];
    const ranges = [...parseWeights(accept)].filter(([, weight]) => weight > 0).toSorted((a, b) => b[1] - a[1]);
    for (const [range] of ranges) {
      for (let tag = range; tag !== ""; tag = tag.slice(0, Math.max(0, tag.lastIndexOf("-")))) {
        const found = languages.find((language) => language.toLowerCase() === tag);
        if (found !== undefined) return found;
      }
    }
    return languages[0];
  };
}

/** Names in lower case with their weights, in the order in which they were sent. A weight that is none counts as 0. */
export function parseWeights(value: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const element of listOf(value)) {
    const [name = "", ...parameters] = cut(element, ";");
    const q = parameters.find((parameter) => /^q\s*=/i.test(parameter));
    weights.set(name.toLowerCase(), q === undefined ? 1 : qvalue(q.slice(q.indexOf("=") + 1).trim()));
  }
  return weights;
}

/** RFC 9110 section 12.4.2: 0 to 1 with at most three decimals. */
function qvalue(text: string): number {
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(text) ? Number(text) : 0;
}
