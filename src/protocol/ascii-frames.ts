/**
 * A stream of chunks cut into lines and the data blocks that some lines announce. Knows no command.
 *
 *     frame := line "\r\n" | "VA " size ... "\r\n" block "\r\n"
 *            | "VALUE " key " " flags " " size [" " cas] "\r\n" block "\r\n" | "CONFIG " name " " n " " size "\r\n" block "\r\n"
 *
 * A frame that lies in one chunk is read where it lies. What a chunk's end cuts off is copied once: a piece of a line
 * into a small buffer, a block into a buffer of exactly its size, which its receiver may then keep. A block over the limit
 * is counted, not kept.
 */
import { EverfreshError } from "../errors.ts";
import { longestValue } from "./reader.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;

/** Where the data block of a frame lies while it is being delivered. */
export interface Block {
  data: Buffer;
  dataStart: number;
  dataEnd: number;
  /** Whether `data` was made for this block alone. */
  owned: boolean;
}

/** Who receives the frames. */
export interface FrameSink {
  /** A line without its end; `hasBlock` when the {@link Block} holds what came with it. */
  frame(buffer: Buffer, start: number, end: number, hasBlock: boolean): void;
  /** A line whose block of `size` bytes was over the limit and has been counted away. */
  oversized(buffer: Buffer, start: number, end: number, size: number): void;
  /** Whether a cut block should get memory of its own, because whoever waits keeps the bytes. */
  keepsBlock(): boolean;
}

/** How much a peer may make us hold. */
export interface FrameLimits {
  /** The longest line, in bytes. Default 8192. */
  readonly lineBytes: number;
  /** The largest data block that is kept, in bytes. */
  readonly valueBytes: number;
}

/** Scratch memory up to this size is kept for the next cut block. */
const keptScratchBytes = 1 << 20;

/** Cuts one connection's bytes into frames. After it has thrown, nothing more may be fed. */
export class AsciiFrames {
  readonly #sink: FrameSink;
  readonly #out: Block;
  readonly #limits: FrameLimits;
  /** The beginning of a line whose end has not come. */
  readonly #line: Buffer;
  #lineLength = 0;
  /** Of a cut block: how many bytes are there, and how many there must be with the CRLF; 0 when none is cut. */
  #have = 0;
  #need = 0;
  #block: Buffer;
  #keeps = false;
  /** Whether the block is only counted. */
  #skips = false;
  #scratch: Buffer = Buffer.alloc(0);

  /** @param block filled in for each frame that has one */
  constructor(sink: FrameSink, block: Block, limits: FrameLimits) {
    this.#sink = sink;
    this.#out = block;
    this.#limits = limits;
    this.#line = Buffer.allocUnsafeSlow(limits.lineBytes + 2);
    this.#block = this.#line;
  }

  feed(chunk: Buffer): void {
    const length = chunk.length;
    let at = 0;
    if (this.#need > 0) at = this.#resumeBlock(chunk);
    else if (this.#lineLength > 0) at = this.#resumeLine(chunk);
    while (at < length) {
      let lf = at;
      while (lf < length && chunk[lf] !== LF) lf++;
      if (lf === length) return this.#keepLine(chunk, at, length);
      at = this.#take(chunk, at, lf, chunk, lf + 1);
    }
  }

  /** One whole line, in `buffer` from `start` to `lf`; its block, if it has one, begins in `chunk` at `at`. */
  #take(buffer: Buffer, start: number, lf: number, chunk: Buffer, at: number): number {
    const end = lf - 1;
    if (end < start || buffer[end] !== CR) throw broken("a line does not end with CRLF");
    if (end - start > this.#limits.lineBytes) throw broken(`a line is longer than ${this.#limits.lineBytes} bytes`);
    const size = blockSize(buffer, start, end);
    if (size < 0) {
      this.#sink.frame(buffer, start, end, false);
      return at;
    }
    const blockEnd = at + size;
    if (blockEnd + 2 > chunk.length || size > this.#limits.valueBytes) {
      this.#openBlock(buffer, start, end, size);
      return this.#resumeBlock(chunk, at);
    }
    if (chunk[blockEnd] !== CR || chunk[blockEnd + 1] !== LF) throw broken("a data block does not end with CRLF");
    const out = this.#out;
    if (out.data !== chunk) out.data = chunk;
    out.dataStart = at;
    out.dataEnd = blockEnd;
    out.owned = false;
    this.#sink.frame(buffer, start, end, true);
    return blockEnd + 2;
  }

  #keepLine(chunk: Buffer, start: number, end: number): void {
    if (this.#lineLength + end - start > this.#limits.lineBytes + 1)
      throw broken(`a line is longer than ${this.#limits.lineBytes} bytes`);
    chunk.copy(this.#line, this.#lineLength, start, end);
    this.#lineLength += end - start;
  }

  #resumeLine(chunk: Buffer): number {
    const lf = chunk.indexOf(LF);
    this.#keepLine(chunk, 0, lf < 0 ? chunk.length : lf + 1);
    if (lf < 0) return chunk.length;
    const length = this.#lineLength;
    this.#lineLength = 0;
    return this.#take(this.#line, 0, length - 1, chunk, lf + 1);
  }

  #openBlock(buffer: Buffer, start: number, end: number, size: number): void {
    if (buffer !== this.#line) buffer.copy(this.#line, 0, start, end);
    this.#lineLength = end - start;
    this.#have = 0;
    this.#need = size + 2;
    if (size > this.#limits.valueBytes) {
      if (size > longestValue) throw broken(`a value of ${size} bytes is more than any server holds`);
      this.#skips = true;
      return;
    }
    this.#keeps = this.#sink.keepsBlock();
    if (this.#keeps) this.#block = Buffer.allocUnsafeSlow(size);
    else {
      if (this.#scratch.length < size) this.#scratch = Buffer.allocUnsafeSlow(Math.max(size, 65_536));
      this.#block = this.#scratch;
    }
  }

  #resumeBlock(chunk: Buffer, from = 0): number {
    const size = this.#need - 2;
    let at = from;
    if (this.#have < size) {
      const part = Math.min(size - this.#have, chunk.length - at);
      if (!this.#skips) chunk.copy(this.#block, this.#have, at, at + part);
      this.#have += part;
      at += part;
    }
    while (this.#have >= size && this.#have < this.#need && at < chunk.length) {
      if (chunk[at] !== (this.#have === size ? CR : LF)) throw broken("a data block does not end with CRLF");
      this.#have++;
      at++;
    }
    if (this.#have === this.#need) {
      if (this.#skips) this.#closeSkipped(size);
      else this.#closeBlock(size);
    }
    return at;
  }

  #closeBlock(size: number): void {
    const lineLength = this.#lineLength;
    const out = this.#out;
    out.data = this.#block;
    out.dataStart = 0;
    out.dataEnd = size;
    out.owned = this.#keeps;
    this.#need = 0;
    this.#lineLength = 0;
    this.#block = this.#line;
    if (this.#scratch.length > keptScratchBytes) this.#scratch = Buffer.alloc(0);
    this.#sink.frame(this.#line, 0, lineLength, true);
    // What was handed out is not held on to.
    out.data = this.#line;
  }

  #closeSkipped(size: number): void {
    const lineLength = this.#lineLength;
    this.#out.dataStart = 0;
    this.#out.dataEnd = 0;
    this.#need = 0;
    this.#lineLength = 0;
    this.#skips = false;
    this.#sink.oversized(this.#line, 0, lineLength, size);
  }
}

/** The size of the block that a line announces, or -1. */
function blockSize(buffer: Buffer, start: number, end: number): number {
  if (buffer[start] === 0x56 /* V */ && buffer[start + 1] === 0x41 /* A */) {
    if (buffer[start + 2] === SPACE) return digits(buffer, start + 3, end);
    // A key, the flags, the size.
    if (startsWith(buffer, start, end, "VALUE ")) return digits(buffer, afterSpaces(buffer, start + 6, end, 2), end);
  } else if (buffer[start] === 0x43 /* C */ && startsWith(buffer, start, end, "CONFIG ")) {
    return digits(buffer, afterSpaces(buffer, start, end, 3), end);
  }
  return -1;
}

function afterSpaces(buffer: Buffer, start: number, end: number, count: number): number {
  let at = start;
  for (let left = count; left > 0; at++) {
    if (at >= end) throw broken("a value line is too short");
    if (buffer[at] === SPACE) left--;
  }
  return at;
}

function digits(buffer: Buffer, start: number, end: number): number {
  let size = 0;
  let at = start;
  for (; at < end; at++) {
    const digit = (buffer[at] ?? 0) - 48;
    if (digit < 0 || digit > 9) break;
    size = size * 10 + digit;
  }
  if (at === start || at - start > 10 || (at < end && buffer[at] !== SPACE))
    throw broken("the size of a value is not a number");
  return size;
}

function startsWith(buffer: Buffer, start: number, end: number, text: string): boolean {
  if (end - start < text.length) return false;
  for (let at = 0; at < text.length; at++) if (buffer[start + at] !== text.charCodeAt(at)) return false;
  return true;
}

function broken(what: string): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", `The server broke the protocol: ${what}.`);
}
