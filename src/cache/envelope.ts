/**
 * What is around a stored value: when and from what it was made.
 *
 *     byte  0      0xE1: this format
 *     byte  1      bits 0-2 format of the payload, bit 4 has the original key
 *     bytes 2-7    created, milliseconds since 1970 by the writer's clock
 *     bytes 8-13   fresh until, the same; 0 for ever
 *     bytes 14-17  version of the entry, a hash; 0 none
 *     bytes 18-19  length of the provenance
 *     then         the provenance: generation of the namespace (8), and for each tag the length of its text (1), its
 *                  text, its generation (8)
 *     then         if it has the original key: length (2) and text
 *     then         the payload
 *
 * Decoding never throws: what is not an envelope is `undefined`, and its reader misses.
 */
import { copyTree, decode, formats, type Encoded, type Format, type Serializer } from "./serializer.ts";

/** 64 random bits as 8 characters of latin-1. Compared, never ordered. */
export type Generation = string & { readonly brand: "generation" };
export const generationBytes = 8;

const magic = 0xe1;
const fixedBytes = 20;
const formatBits = 0x07;
const hasKey = 0x10;

/** What a value was made from. Equal provenances are one object, as far as they are remembered. */
export interface Provenance {
  readonly space: Generation;
  readonly tags: readonly string[];
  readonly generations: readonly Generation[];
}

/** The same, with the bytes that it was read from. */
export interface KnownProvenance extends Provenance {
  readonly bytes: Buffer;
}

/** What the envelope tells. */
export interface Header extends Provenance {
  /** When it was set, or its computation began. */
  readonly createdAt: number;
  /** Milliseconds since 1970; Infinity for ever. */
  readonly freshUntil: number;
  readonly version: number;
  /** The original key, where the wire key is a digest. */
  readonly key: string | undefined;
}

/**
 * Header and payload in one piece.
 *
 * @param isKept whether it stays in this process. Then it lies in memory of its own: Node cuts small buffers from a pool of
 *   8 KiB, all of which would stay with the first of them.
 */
export function pack(header: Header, payload: Encoded, isKept = false): Buffer {
  const { bytes } = payload;
  const keyBytes = header.key === undefined ? 0 : Buffer.byteLength(header.key);
  let provenanceBytes = generationBytes;
  for (const tag of header.tags) provenanceBytes += 1 + Buffer.byteLength(tag) + generationBytes;
  const size =
    fixedBytes +
    provenanceBytes +
    (header.key === undefined ? 0 : 2 + keyBytes) +
    (typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.length);

  const out = isKept ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size);
  out[0] = magic;
  out[1] = payload.format | (header.key === undefined ? 0 : hasKey);
  out.writeUIntBE(header.createdAt, 2, 6);
  out.writeUIntBE(header.freshUntil === Infinity ? 0 : header.freshUntil, 8, 6);
  out.writeUInt32BE(header.version, 14);
  out.writeUInt16BE(provenanceBytes, 18);
  let at = fixedBytes + out.write(header.space, fixedBytes, generationBytes, "latin1");
  for (const [index, tag] of header.tags.entries()) {
    const length = out.write(tag, at + 1);
    out[at] = length;
    at += 1 + length;
    at += out.write(header.generations[index] ?? "", at, generationBytes, "latin1");
  }
  if (header.key !== undefined) {
    out.writeUInt16BE(keyBytes, at);
    at += 2 + out.write(header.key, at + 2);
  }
  if (typeof bytes === "string") out.write(bytes, at);
  else out.set(bytes, at);
  return out;
}

/** The same bytes, in memory of their own if they lie in a pool; see {@link pack}. */
export function alone(bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength === bytes.length) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

/** What was read, or undefined where the bytes are no envelope of ours. */
export function unpack(bytes: Buffer): Stored | undefined {
  const end = bytes.length;
  if (end < fixedBytes || bytes[0] !== magic) return undefined;
  const marks = bytes[1] ?? 0;
  const format = (marks & formatBits) as Format;
  let at = fixedBytes + bytes.readUInt16BE(18);
  if (at > end || format > formats.custom) return undefined;
  const provenance = provenanceOf(bytes, at);
  if (provenance === undefined) return undefined;
  let key: string | undefined;
  if (marks & hasKey) {
    if (at + 2 > end) return undefined;
    const keyEnd = at + 2 + bytes.readUInt16BE(at);
    if (keyEnd > end) return undefined;
    key = bytes.toString("utf8", at + 2, keyEnd);
    at = keyEnd;
  }
  return new Stored(bytes, 0, at, end, provenance, key, format);
}

/**
 * The same for bytes that are lent, from `start` to `end`, where they have no original key and exactly this provenance;
 * otherwise undefined. What is returned is worth nothing after they were given back.
 */
export function unpackLent(bytes: Buffer, start: number, end: number, provenance: KnownProvenance): Stored | undefined {
  const known = provenance.bytes;
  const from = start + fixedBytes;
  const at = from + known.length;
  if (at > end || bytes[start] !== magic) return undefined;
  const marks = bytes[start + 1] ?? 0;
  const format = (marks & formatBits) as Format;
  if ((marks & hasKey) !== 0 || format > formats.custom) return undefined;
  if ((((bytes[start + 18] ?? 0) << 8) | (bytes[start + 19] ?? 0)) !== known.length) return undefined;
  for (let index = 0; index < known.length; index++) if (bytes[from + index] !== known[index]) return undefined;
  return new Stored(bytes, start, at, end, provenance, undefined, format);
}

/** Most values of an application have the provenance of others; it is taken apart once. */
const remembered = new Map<string, KnownProvenance>();
const limitRemembered = 1_000;

function provenanceOf(bytes: Buffer, end: number): KnownProvenance | undefined {
  const text = bytes.toString("latin1", fixedBytes, end);
  let provenance = remembered.get(text);
  if (provenance === undefined) {
    provenance = takeApart(bytes, end);
    if (provenance === undefined) return undefined;
    if (remembered.size >= limitRemembered) remembered.clear();
    remembered.set(text, provenance);
  }
  return provenance;
}

function takeApart(bytes: Buffer, end: number): KnownProvenance | undefined {
  let at = fixedBytes + generationBytes;
  if (at > end) return undefined;
  const space = bytes.toString("latin1", fixedBytes, at) as Generation;
  const tags: string[] = [];
  const generations: Generation[] = [];
  while (at < end) {
    const start = at + 1;
    const stop = start + (bytes[at] ?? 0);
    if (stop + generationBytes > end) return undefined;
    tags.push(bytes.toString("utf8", start, stop));
    generations.push(bytes.toString("latin1", stop, stop + generationBytes) as Generation);
    at = stop + generationBytes;
  }
  return { space, tags, generations, bytes: Buffer.from(bytes.subarray(fixedBytes, end)) };
}

/** A value as it was read: its header, and its payload until somebody wants it. */
export class Stored implements Header {
  readonly provenance: KnownProvenance;
  readonly freshUntil: number;
  readonly key: string | undefined;
  readonly format: Format;
  readonly #bytes: Buffer;
  /** The envelope begins at `start`, the payload at `at`; both end at `end`. */
  readonly #start: number;
  readonly #at: number;
  readonly #end: number;
  /** Whether the value is decoded and nobody may change it: what a caller was given to keep is decoded anew for others. */
  #opened = false;
  /** Whether somebody may have the decoded value for as long as they like, as what nobody changes. */
  #isShared = false;
  #value: unknown;
  #serializer: Serializer | undefined;

  constructor(
    bytes: Buffer,
    start: number,
    at: number,
    end: number,
    provenance: KnownProvenance,
    key: string | undefined,
    format: Format,
  ) {
    this.provenance = provenance;
    this.key = key;
    this.format = format;
    this.#bytes = bytes;
    this.#start = start;
    this.#at = at;
    this.#end = end;
    const freshUntil = bytes.readUIntBE(start + 8, 6);
    this.freshUntil = freshUntil === 0 ? Infinity : freshUntil;
  }

  get createdAt(): number {
    return this.#bytes.readUIntBE(this.#start + 2, 6);
  }

  get version(): number {
    return this.#bytes.readUInt32BE(this.#start + 14);
  }

  get space(): Generation {
    return this.provenance.space;
  }

  get tags(): readonly string[] {
    return this.provenance.tags;
  }

  get generations(): readonly Generation[] {
    return this.provenance.generations;
  }

  get payload(): Buffer {
    return this.#bytes.subarray(this.#at, this.#end);
  }

  get sizeBytes(): number {
    return this.#end - this.#start;
  }

  /** Decodes the payload, if that is not done. False when it cannot be decoded: its reader misses. */
  open(serializer: Serializer | undefined): boolean {
    if (this.#opened) return true;
    // Bytes are what they are; each taker makes a copy of its own.
    if (this.format === formats.buffer) {
      this.#opened = true;
      return true;
    }
    try {
      this.#value = this.#decode(serializer);
    } catch {
      return false;
    }
    this.#opened = true;
    return true;
  }

  /** The decoded value, for looking at only: it may be everybody's. Open it first. */
  get shared(): unknown {
    if (this.format === formats.buffer) return (this.#value ??= this.payload);
    if (!this.#opened) {
      this.#value = this.#decode(this.#serializer);
      this.#opened = true;
    }
    this.#isShared = true;
    return this.#value;
  }

  /** The value for one caller, who may change it without changing anybody else's. Open it first. */
  take(serializer: Serializer | undefined): unknown {
    if (this.format === formats.buffer || !this.#opened) return this.#decode(serializer);
    if (typeof this.#value !== "object" || this.#value === null) return this.#value;
    if (this.format === formats.json) return copyTree(this.#value);
    return this.#isShared ? this.#decode(serializer) : this.#give(serializer);
  }

  /** Like {@link take}, for the only caller of a value that is not kept: there is nobody to copy it for. */
  takeLast(serializer: Serializer | undefined): unknown {
    return this.format === formats.json && this.#opened && !this.#isShared
      ? this.#give(serializer)
      : this.take(serializer);
  }

  /** Gives the decoded value away. */
  #give(serializer: Serializer | undefined): unknown {
    const value = this.#value;
    this.#opened = false;
    this.#value = undefined;
    this.#serializer = serializer;
    return value;
  }

  #decode(serializer: Serializer | undefined): unknown {
    return decode(this.format, this.#bytes, this.#at, this.#end, serializer);
  }
}
