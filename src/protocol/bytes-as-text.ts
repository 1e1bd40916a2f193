/**
 * Bytes as text and text as bytes, by the shortest way that Node has.
 *
 * `toString` and `write` look up their encoding on every call, which costs short values as much as the rest. The methods that it
 * calls in the end are not documented, though other drivers rely on them; where they are missing, the documented ones do.
 */
interface Direct {
  utf8Slice(start: number, end: number): string;
  latin1Slice(start: number, end: number): string;
  utf8Write(text: string, at: number): number;
  latin1Write(text: string, at: number): number;
}

const methods = ["utf8Slice", "latin1Slice", "utf8Write", "latin1Write"] as const;
const direct = methods.every((name) => typeof (Buffer.prototype as Partial<Direct>)[name] === "function");

/** `bytes[start, end)` as UTF-8; bytes that are not UTF-8 become U+FFFD. */
export function utf8Text(bytes: Buffer, start: number, end: number): string {
  return direct ? (bytes as unknown as Direct).utf8Slice(start, end) : bytes.toString("utf8", start, end);
}

/** `bytes[start, end)`, each byte one character. */
export function latin1Text(bytes: Buffer, start: number, end: number): string {
  return direct ? (bytes as unknown as Direct).latin1Slice(start, end) : bytes.toString("latin1", start, end);
}

/** Writes `text` as UTF-8 to `bytes` at `at`, where there must be room; returns how many bytes it has. */
export function writeUtf8(bytes: Buffer, text: string, at: number): number {
  return direct ? (bytes as unknown as Direct).utf8Write(text, at) : bytes.write(text, at, "utf8");
}

/** Writes `text`, each character one byte, to `bytes` at `at`, where there must be room; returns how many they are. */
export function writeLatin1(bytes: Buffer, text: string, at: number): number {
  return direct ? (bytes as unknown as Direct).latin1Write(text, at) : bytes.write(text, at, "latin1");
}
