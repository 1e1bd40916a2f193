/**
 * Puts answers together in one buffer and hands them on when it is full or when the round is over.
 *
 * All visitors of a server share one writer, because only one of them is being answered at a time. Whoever takes the
 * bytes says whether it is done with them; if not, the writer goes on in another buffer.
 */
import { copyBytes } from "./copy.ts";
import { writeBase64 } from "./base64-key.ts";
import { writeDecimal, writeNumber } from "./u64.ts";

/** Where finished answers go. */
export interface Outlet {
  /** Takes `bytes`; returns true if they were sent on at once, so that their memory may be used again. */
  send(bytes: Uint8Array): boolean;
}

/** The size of a buffer, and the room in it that each answer may count on without asking. */
export const writerBytes = 64 * 1024;
export const answerRoom = 2 * 1024;

export class ReplyWriter {
  bytes: Uint8Array = Buffer.allocUnsafeSlow(writerBytes);
  length = 0;
  /** Bytes handed on so far, for the statistics and to know whether something can still be taken back. */
  sent = 0;
  outlet: Outlet | undefined;
  readonly #spare: Uint8Array[] = [];

  /** Makes sure that `answerRoom` bytes fit. */
  open(): void {
    if (this.length > writerBytes - answerRoom) this.flush();
  }

  /** Hands on what there is. */
  flush(): void {
    if (this.length === 0) return;
    const { bytes, length } = this;
    this.length = 0;
    this.sent += length;
    if (this.outlet === undefined || this.outlet.send(bytes.subarray(0, length))) return;
    this.bytes = this.#spare.pop() ?? Buffer.allocUnsafeSlow(writerBytes);
  }

  /** A buffer that `send` had kept is free again. */
  giveBack(bytes: Uint8Array): void {
    if (this.#spare.length < 4 && bytes.buffer.byteLength === writerBytes) this.#spare.push(Buffer.from(bytes.buffer));
  }

  /** ASCII text, at most `answerRoom` long. */
  text(text: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  /** One ASCII line. */
  line(text: string): void {
    this.open();
    this.text(text);
    this.end();
  }

  /** A space and a letter, as the flags of meta answers begin. */
  flag(letter: number): void {
    this.bytes[this.length++] = 32;
    this.bytes[this.length++] = letter;
  }

  byte(byte: number): void {
    this.bytes[this.length++] = byte;
  }

  /** The end of a line. */
  end(): void {
    this.bytes[this.length++] = 13;
    this.bytes[this.length++] = 10;
  }

  number(value: number): void {
    this.length = writeNumber(value, this.bytes, this.length);
  }

  decimal(high: number, low: number): void {
    this.length = writeDecimal(high, low, this.bytes, this.length);
  }

  /** Few bytes: a key, an opaque token. */
  piece(source: Uint8Array, start: number, end: number): void {
    copyBytes(source, start, end, this.bytes, this.length);
    this.length += end - start;
  }

  base64(source: Uint8Array, start: number, end: number): void {
    this.length = writeBase64(source, start, end, this.bytes, this.length);
  }

  /** A 32-bit number, big-endian. */
  uint32(value: number): void {
    const { bytes } = this;
    let at = this.length;
    bytes[at++] = value >>> 24;
    bytes[at++] = value >>> 16;
    bytes[at++] = value >>> 8;
    bytes[at++] = value;
    this.length = at;
  }

  /** Any number of bytes. What does not fit the buffer gets one of its own, so that its source may change meanwhile. */
  value(source: Uint8Array, start: number, end: number): void {
    const size = end - start;
    if (this.length + size > writerBytes - answerRoom) {
      this.flush();
      if (size > writerBytes - answerRoom) {
        const own = Buffer.allocUnsafeSlow(size);
        own.set(source.subarray(start, end));
        this.sent += size;
        this.outlet?.send(own);
        return;
      }
    }
    copyBytes(source, start, end, this.bytes, this.length);
    this.length += size;
  }
}
