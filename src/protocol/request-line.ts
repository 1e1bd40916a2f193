/**
 * One line of the text protocols, cut into words the way memcached cuts it.
 *
 *     line  := word *( SP word ) [ CR ] LF
 *
 * Words are separated by any number of spaces; a zero byte ends the line early, because memcached reads lines as C
 * strings. The words are kept as offsets into the bytes they came from: no string is made.
 */
import { type Halves, readDecimal } from "./u64.ts";

/** The most words that a line is cut into; what follows stays uncut (memcached's MAX_TOKENS - 1). */
export const mostWords = 23;
/** The longest key, in bytes (protocol.txt, "Keys"). */
export const longestKey = 250;

export class RequestLine {
  bytes: Uint8Array = new Uint8Array(0);
  /** Where each word starts and ends. */
  readonly start: Int32Array = new Int32Array(mostWords + 1);
  readonly end: Int32Array = new Int32Array(mostWords + 1);
  /** How many words there are, at most `mostWords`. */
  words = 0;
  /** Whether the line went on after the last word that was cut. */
  hasMore = false;
  /** What `integer`, `unsigned` and `halves` read. */
  number = 0;
  readonly halves: Halves = { high: 0, low: 0 };

  /** Cuts `bytes[start, end)`, which is a line without its LF. */
  cut(bytes: Uint8Array, from: number, to: number): void {
    const { start, end } = this;
    this.bytes = bytes;
    this.hasMore = false;
    let stop = to;
    if (stop - from > 1 && bytes[stop - 1] === 13) stop--;
    let words = 0;
    let at = from;
    while (at < stop) {
      const byte = bytes[at] as number;
      if (byte === 32) {
        at++;
        continue;
      }
      if (byte === 0) break;
      if (words === mostWords) {
        this.hasMore = true;
        break;
      }
      start[words] = at++;
      while (at < stop && (bytes[at] as number) !== 32 && (bytes[at] as number) !== 0) at++;
      end[words++] = at;
    }
    this.words = words;
  }

  length(word: number): number {
    return (this.end[word] as number) - (this.start[word] as number);
  }

  /** The first byte of a word. */
  letter(word: number): number {
    return this.bytes[this.start[word] as number] as number;
  }

  /** Whether a word is exactly `text`, which is ASCII. */
  is(word: number, text: string): boolean {
    const start = this.start[word] as number;
    if (word >= this.words || (this.end[word] as number) - start !== text.length) return false;
    for (let i = 0; i < text.length; i++) if (this.bytes[start + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  /** Reads a word, from its letter `skip` on, as C's strtol into 32 bits; higher bits are lost as they are there. */
  integer(word: number, skip = 0): boolean {
    return this.#integer((this.start[word] as number) + skip, this.end[word] as number);
  }

  /** Reads a word as an unsigned number of 64 bits of which only 32 are kept, as memcached does with client flags. */
  unsigned(word: number, skip = 0): boolean {
    if (!this.unsigned64(word, skip)) return false;
    this.number = this.halves.low >>> 0;
    return true;
  }

  /** Reads a word as an unsigned number of 64 bits. */
  unsigned64(word: number, skip = 0): boolean {
    return readDecimal(this.bytes, (this.start[word] as number) + skip, this.end[word] as number, this.halves);
  }

  /** A word as text, for the rare commands. */
  text(word: number): string {
    let text = "";
    for (let at = this.start[word] as number; at < (this.end[word] as number); at++)
      text += String.fromCharCode(this.bytes[at] as number);
    return text;
  }

  #integer(start: number, end: number): boolean {
    const negative = this.bytes[start] === 45;
    const from = negative ? start + 1 : start;
    if (negative && !(from < end && (this.bytes[from] as number) >= 48)) return false;
    if (!readDecimal(this.bytes, from, end, this.halves)) return false;
    if (this.halves.high >>> 0 > 0x7fff_ffff) return false;
    this.number = negative ? -this.halves.low | 0 : this.halves.low;
    return true;
  }
}
