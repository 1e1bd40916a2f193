/**
 * Bytes as text, by the shortest way that Node has.
 *
 * `toString` looks up its encoding on every call, which costs short values as much as the decoding. The methods that it
 * calls in the end are not documented, though other drivers rely on them; where they are missing, `toString` does.
 */
interface Slicing {
  utf8Slice?: (start: number, end: number) => string;
  latin1Slice?: (start: number, end: number) => string;
}

const direct =
  typeof (Buffer.prototype as Slicing).utf8Slice === "function" &&
  typeof (Buffer.prototype as Slicing).latin1Slice === "function";

type Direct = Required<Slicing>;

/** `bytes[start, end)` as UTF-8; bytes that are not UTF-8 become U+FFFD. */
export function utf8Text(bytes: Buffer, start: number, end: number): string {
  return direct ? (bytes as unknown as Direct).utf8Slice(start, end) : bytes.toString("utf8", start, end);
}

/** `bytes[start, end)`, each byte one character. */
export function latin1Text(bytes: Buffer, start: number, end: number): string {
  return direct ? (bytes as unknown as Direct).latin1Slice(start, end) : bytes.toString("latin1", start, end);
}
