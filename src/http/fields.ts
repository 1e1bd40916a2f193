/**
 * HTTP fields as this folder carries them, and the grammar that most of them share (RFC 9110 section 5.6).
 *
 *     token         = 1*tchar
 *     quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE
 *     #element      = [ element ] *( OWS "," OWS [ element ] )     empty elements are ignored by recipients
 *
 * Names are in lower case. Parsing is lenient and never throws: a field comes from somebody else.
 */

/** Fields by their name in lower case; a list where a name occurred several times. */
export type Fields = Readonly<Record<string, string | readonly string[]>>;

/** The value of a field; several lines become one, as RFC 9110 section 5.3 allows. Undefined where it is absent. */
export function field(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (typeof value === "string") return value;
  // A name out of `Vary` may be one that every object has (`constructor`).
  return Array.isArray(value) ? value.join(", ") : undefined;
}

/** Cuts a list at its commas, but not at commas inside of quoted strings; trims, and drops empty elements. */
export function listOf(value: string): string[] {
  return cut(value, ",");
}

/** The elements of `value` between `separator`s that stand outside of quoted strings. */
export function cut(value: string, separator: "," | ";"): string[] {
  if (!value.includes('"')) return trimmed(value.split(separator));
  const parts: string[] = [];
  let start = 0;
  let quoted = false;
  for (let at = 0; at < value.length; at++) {
    const char = value[at];
    if (quoted && char === "\\") at++;
    else if (char === '"') quoted = !quoted;
    else if (char === separator && !quoted) {
      parts.push(value.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(value.slice(start));
  return trimmed(parts);
}

/** What a quoted string says; any other text as it is. */
export function unquoted(text: string): string {
  if (text.length < 2 || !text.startsWith('"') || !text.endsWith('"')) return text;
  return text.slice(1, -1).replaceAll(/\\(.)/g, "$1");
}

/** Whether `text` is a token (RFC 9110 section 5.6.2), as every field name must be. */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);
}

function trimmed(parts: readonly string[]): string[] {
  // OWS is spaces and tabs only (RFC 9110 section 5.6.3), but line breaks cannot occur inside of a field anyway.
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}
