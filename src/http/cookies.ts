/**
 * The `Cookie` field of requests (RFC 6265 section 4.2.1), as far as the cache must know it: to let a handler see only the
 * cookies that are part of the key.
 *
 *     cookie-string = cookie-pair *( ";" SP cookie-pair )        cookie-pair = cookie-name "=" cookie-value
 */

/** Names and raw values in the order in which they were sent; a part without a name is left out. */
export function parseCookies(value: string | undefined): [name: string, value: string][] {
  if (value === undefined || value === "") return [];
  const cookies: [string, string][] = [];
  for (const part of value.split(";")) {
    const equals = part.indexOf("=");
    const name = part.slice(0, Math.max(0, equals)).trim();
    if (name !== "") cookies.push([name, part.slice(equals + 1).trim()]);
  }
  return cookies;
}

/** The field with only the cookies in `names`, in the order of `names`; undefined when none of them was sent. */
export function onlyCookies(value: string | undefined, names: readonly string[]): string | undefined {
  if (value === undefined || names.length === 0) return undefined;
  const cookies = parseCookies(value);
  const kept = names.flatMap((name) => cookies.filter(([sent]) => sent === name).map((pair) => pair.join("=")));
  return kept.length === 0 ? undefined : kept.join("; ");
}
