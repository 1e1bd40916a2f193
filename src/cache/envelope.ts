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
const hasKey = 0x10;

/** What a value was made from. Equal provenances are one object, as far as they are remembered. */
export interface Provenance {
  readonly space: Generation;
  readonly tags: readonly string[];
  readonly generations: readonly Generation[];
}

/** What the envelope tells. */
export interface Header extends Provenance {
  readonly createdAt: number;
  /** Milliseconds since 1970; Infinity for ever. */
  readonly freshUntil: number;
  readonly version: number;
  /** The original key, where the wire key is a digest. */
  readonly key: string | undefined;
}

/** Header and payload in one piece. */
export function pack(header: Header, payload: Encoded): Buffer {
  const { bytes } = payload;
  const keyBytes = header.key === undefined ? 0 : Buffer.byteLength(header.key);
  let provenanceBytes = generationBytes;
  for (const tag of header.tags) provenanceBytes += 1 + Buffer.byteLength(tag) + generationBytes;
  const size =
    fixedBytes +
    provenanceBytes +
    (header.key === undefined ? 0 : 2 + keyBytes) +
    (typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.length);

  const out = Buffer.allocUnsafe(size);
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

/** What was read, or undefined where the bytes are no envelope of ours. */
export function unpack(bytes: Buffer): Stored | undefined {
  if (bytes.length < fixedBytes || bytes[0] !== magic) return undefined;
  const marks = bytes[1] ?? 0;
  const format = (marks & 0x07) as Format;
  let at = fixedBytes + bytes.readUInt16BE(18);
  if (at > bytes.length || format > formats.custom) return undefined;
  const provenance = provenanceOf(bytes, at);
  if (provenance === undefined) return undefined;
  let key: string | undefined;
  if (marks & hasKey) {
    if (at + 2 > bytes.length) return undefined;
    const end = at + 2 + bytes.readUInt16BE(at);
    if (end > bytes.length) return undefined;
    key = bytes.toString("utf8", at + 2, end);
    at = end;
  }
  return new Stored(bytes, at, provenance, key, format);
}

/** Most values of an application have the provenance of others; it is taken apart once. */
const remembered = new Map<string, Provenance>();
const limitRemembered = 1_000;

function provenanceOf(bytes: Buffer, end: number): Provenance | undefined {
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

function takeApart(bytes: Buffer, end: number): Provenance | undefined {
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
  return { space, tags, generations };
}

/** A value as it was read: its header, and its payload until somebody wants it. */
export class Stored implements Header {
  readonly provenance: Provenance;
  readonly freshUntil: number;
  readonly key: string | undefined;
  readonly format: Format;
  readonly #bytes: Buffer;
  readonly #at: number;
  #opened = false;
  #fresh = false;
  #value: unknown;

  constructor(bytes: Buffer, at: number, provenance: Provenance, key: string | undefined, format: Format) {
    this.provenance = provenance;
    this.key = key;
    this.format = format;
    this.#bytes = bytes;
    this.#at = at;
    const freshUntil = bytes.readUIntBE(8, 6);
    this.freshUntil = freshUntil === 0 ? Infinity : freshUntil;
  }

  get createdAt(): number {
    return this.#bytes.readUIntBE(2, 6);
  }

  get version(): number {
    return this.#bytes.readUInt32BE(14);
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
    return this.#bytes.subarray(this.#at);
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  /** Decodes the payload, once. False when it cannot be decoded: its reader misses. */
  open(serializer: Serializer | undefined): boolean {
    if (this.#opened) return true;
    // Bytes are what they are; each taker makes a copy of its own.
    if (this.format === formats.buffer) {
      this.#opened = true;
      return true;
    }
    try {
      this.#value = decode(this.format, this.payload, serializer);
    } catch {
      return false;
    }
    this.#opened = true;
    this.#fresh = true;
    return true;
  }

  /** The decoded value, for looking at only: it may be everybody's. Open it first. */
  get shared(): unknown {
    return this.format === formats.buffer ? (this.#value ??= this.payload) : this.#value;
  }

  /** The value for one caller, who may change it without changing anybody else's. Open it first. */
  take(serializer: Serializer | undefined): unknown {
    if (this.format === formats.buffer) return decode(this.format, this.payload, serializer);
    if (typeof this.#value !== "object" || this.#value === null) return this.#value;
    if (this.format === formats.json) return copyTree(this.#value);
    if (this.#fresh) {
      this.#fresh = false;
      return this.#value;
    }
    return decode(this.format, this.payload, serializer);
  }

  /** Like {@link take}, for the only caller of a value that is not kept: there is nobody to copy it for. */
  takeLast(serializer: Serializer | undefined): unknown {
    return this.format === formats.json ? this.#value : this.take(serializer);
  }
}
