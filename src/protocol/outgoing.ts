/**
 * What one tick has to say to one server, gathered so that it leaves in one write.
 *
 *     text of commands | memory: commands and text values as bytes | pieces: what is too large to be copied
 *
 * Commands are joined into one latin1 text: of the ways tried that was the fastest by far. A text value is written as
 * UTF-8 into memory that is used again and again, which also tells how many bytes it has. Large values stay what they are.
 */
import { writeLatin1, writeUtf8 } from "./bytes-as-text.ts";
import { writeNumber } from "./u64.ts";

/** Bytes from this size on are not copied. */
const ownPieceBytes = 8192;

/** How much is gathered in memory at most; a text whose bytes may not fit becomes a piece. */
const memoryBytes = 128 * 1024;

/** The bytes to send, in order. Encoders add to `text` for anything short. */
export class Outgoing {
  /** What is being gathered; each character is one byte. */
  text = "";
  /** What comes before `text`. */
  pieces: (string | Uint8Array)[] = [];
  /** Where commands end, in bytes from the beginning, where that is noted. */
  ends: number[] = [];
  readonly #notesEnds: boolean;
  #pieceBytes = 0;
  #memory: Buffer | undefined = undefined;
  /** What of the memory is not in `pieces` yet. */
  #start = 0;
  #end = 0;

  /** @param notesEnds whether {@link ends} is asked for */
  constructor(notesEnds = false) {
    this.#notesEnds = notesEnds;
  }

  /** Says that a command ends here. */
  mark(): void {
    if (this.#notesEnds) this.ends.push(this.size());
  }

  /**
   * Adds a value and the line before it: `name`, `key`, `more`, how many bytes the value has, `end`. Texts are flat: what
   * was put together with `+` is slow to read here.
   */
  block(name: string, key: string, more: string, value: string | Uint8Array, end: string): void {
    if (typeof value !== "string") {
      this.text += `${name}${key}${more}${value.length}${end}`;
      this.data(value);
      this.text += "\r\n";
      return;
    }
    const room = memoryBytes - this.#end - this.text.length;
    if (name.length + key.length + more.length + end.length + value.length * 3 + 16 > room)
      return this.block(name, key, more, Buffer.from(value, "utf8"), end);
    const memory = (this.#memory ??= Buffer.allocUnsafeSlow(memoryBytes));
    if (this.text !== "") this.#writeText();
    let at = put(put(put(this.#end, name, memory), key, memory), more, memory);
    const sizeAt = at;
    // Most texts are ASCII, so the line is as long as it would be for one.
    at = put(writeNumber(value.length, memory, at), end, memory);
    const size = writeUtf8(memory, value, at);
    if (size !== value.length) {
      const from = at;
      at = sizeAt + decimals(size) + end.length;
      memory.copyWithin(at, from, from + size);
      put(writeNumber(size, memory, sizeAt), end, memory);
    }
    at += size;
    memory[at] = 13;
    memory[at + 1] = 10;
    this.#end = at + 2;
  }

  /** Adds bytes. */
  data(value: Uint8Array): void {
    if (value.length < ownPieceBytes) {
      this.text += latin1(value);
      return;
    }
    this.#closeMemory();
    if (this.text !== "") this.#push(this.text);
    this.text = "";
    this.#push(value);
  }

  /** Makes `pieces` and `text` all that there is to send. */
  finish(): void {
    if (this.#end === this.#start) return;
    if (this.text.length <= memoryBytes - this.#end) this.#writeText();
    this.#closeMemory();
  }

  /** How many bytes were gathered. */
  size(): number {
    return this.#pieceBytes + this.text.length + this.#end - this.#start;
  }

  /** All of it, as one piece of its own. */
  bytes(): Buffer {
    this.finish();
    const all = Buffer.allocUnsafe(this.size());
    let at = 0;
    for (const piece of [...this.pieces, this.text])
      if (typeof piece === "string") at += writeLatin1(all, piece, at);
      else {
        all.set(piece, at);
        at += piece.length;
      }
    return all;
  }

  /**
   * Forgets what was sent.
   *
   * @param taken whether its bytes were taken, so that their memory may be used again
   */
  clear(taken: boolean): void {
    this.text = "";
    if (this.pieces.length > 0) this.pieces = [];
    if (this.ends.length > 0) this.ends = [];
    this.#pieceBytes = 0;
    if (!taken) this.#memory = undefined;
    this.#start = 0;
    this.#end = 0;
  }

  #writeText(): void {
    this.#end += writeLatin1(this.#memory as Buffer, this.text, this.#end);
    this.text = "";
  }

  #closeMemory(): void {
    if (this.#end > this.#start) this.#push((this.#memory as Buffer).subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #push(piece: string | Uint8Array): void {
    this.pieces.push(piece);
    this.#pieceBytes += piece.length;
  }
}

/** Writes `text`, each character one byte, to `memory` at `at`; returns where it ends. */
function put(at: number, text: string, memory: Buffer): number {
  const { length } = text;
  // For a few characters a loop is cheaper than any call.
  if (length > 48) return at + writeLatin1(memory, text, at);
  for (let index = 0; index < length; index++) memory[at + index] = text.charCodeAt(index);
  return at + length;
}

/** How many digits a size has. */
function decimals(size: number): number {
  let digits = 1;
  for (let left = size; left >= 10; left /= 10) digits++;
  return digits;
}

function latin1(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString("latin1");
}
