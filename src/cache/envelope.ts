/**
 * What is around a stored value: when and from what it was made.
 *
 *     byte  0      0xE1: this format
 *     byte  1      bits 0-2 format of the payload, bit 3 has tags, bit 4 has the original key, bit 5 is in chunks
 *     bytes 2-7    created, milliseconds since 1970 by the writer's clock
 *     bytes 8-13   fresh until, the same; 0 for ever
 *     bytes 14-17  version of the entry, a hash; 0 none
 *     bytes 18-25  generation of the namespace
 *     then         if it has tags: their number (1 byte), and for each its length (1), its text, its generation (8)
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
const fixedBytes = 26;
const hasTags = 0x08;
const hasKey = 0x10;
const isChunked = 0x20;

/** What the envelope tells. */
export interface Header {
  readonly createdAt: number;
  /** Milliseconds since 1970; Infinity for ever. */
  readonly freshUntil: number;
  readonly version: number;
  readonly space: Generation;
  readonly tags: readonly string[];
  readonly generations: readonly Generation[];
  /** The original key, where the wire key is a digest. */
  readonly key: string | undefined;
}

/** Header and payload in one piece. */
export function pack(header: Header, payload: Encoded, chunked = false): Buffer {
  const { bytes } = payload;
  const keyBytes = header.key === undefined ? 0 : Buffer.byteLength(header.key);
  let size = fixedBytes + (typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.length);
  if (header.tags.length > 0) size += 1;
  for (const tag of header.tags) size += 1 + Buffer.byteLength(tag) + generationBytes;
  if (header.key !== undefined) size += 2 + keyBytes;

  const out = Buffer.allocUnsafe(size);
  out[0] = magic;
  out[1] =
    payload.format |
    (header.tags.length > 0 ? hasTags : 0) |
    (header.key === undefined ? 0 : hasKey) |
    (chunked ? isChunked : 0);
  out.writeUIntBE(header.createdAt, 2, 6);
  out.writeUIntBE(header.freshUntil === Infinity ? 0 : header.freshUntil, 8, 6);
  out.writeUInt32BE(header.version, 14);
  out.write(header.space, 18, generationBytes, "latin1");
  let at = fixedBytes;
  if (header.tags.length > 0) out[at++] = header.tags.length;
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
  const freshUntil = bytes.readUIntBE(8, 6);
  let at = fixedBytes;
  let tags = noTags;
  let generations = noGenerations;
  if (marks & hasTags) {
    const read = unpackTags(bytes);
    if (read === undefined) return undefined;
    ({ tags, generations, at } = read);
  }
  let key: string | undefined;
  if (marks & hasKey) {
    if (at + 2 > bytes.length) return undefined;
    const end = at + 2 + bytes.readUInt16BE(at);
    if (end > bytes.length) return undefined;
    key = bytes.toString("utf8", at + 2, end);
    at = end;
  }
  const format = (marks & 0x07) as Format;
  if (format > formats.custom) return undefined;
  return new Stored(
    bytes.readUIntBE(2, 6),
    freshUntil === 0 ? Infinity : freshUntil,
    bytes.readUInt32BE(14),
    bytes.toString("latin1", 18, fixedBytes) as Generation,
    tags,
    generations,
    key,
    format,
    (marks & isChunked) !== 0,
    bytes,
    at,
  );
}

const noTags: readonly string[] = [];
const noGenerations: readonly Generation[] = [];

function unpackTags(
  bytes: Buffer,
): { tags: readonly string[]; generations: readonly Generation[]; at: number } | undefined {
  const tags: string[] = [];
  const generations: Generation[] = [];
  let at = fixedBytes + 1;
  for (let left = bytes[fixedBytes] ?? 0; left > 0; left--) {
    const start = at + 1;
    const end = start + (bytes[at] ?? 0);
    if (end + generationBytes > bytes.length) return undefined;
    tags.push(bytes.toString("utf8", start, end));
    generations.push(bytes.toString("latin1", end, end + generationBytes) as Generation);
    at = end + generationBytes;
  }
  return { tags, generations, at };
}

/** A value as it was read: its header, and its payload until somebody wants it. */
export class Stored implements Header {
  readonly createdAt: number;
  readonly freshUntil: number;
  readonly version: number;
  readonly space: Generation;
  readonly tags: readonly string[];
  readonly generations: readonly Generation[];
  readonly key: string | undefined;
  readonly format: Format;
  readonly chunked: boolean;
  readonly #bytes: Buffer;
  readonly #at: number;
  #opened = false;
  #fresh = false;
  #value: unknown;

  constructor(
    createdAt: number,
    freshUntil: number,
    version: number,
    space: Generation,
    tags: readonly string[],
    generations: readonly Generation[],
    key: string | undefined,
    format: Format,
    chunked: boolean,
    bytes: Buffer,
    at: number,
  ) {
    this.createdAt = createdAt;
    this.freshUntil = freshUntil;
    this.version = version;
    this.space = space;
    this.tags = tags;
    this.generations = generations;
    this.key = key;
    this.format = format;
    this.chunked = chunked;
    this.#bytes = bytes;
    this.#at = at;
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
    return this.#value;
  }

  /** The value for one caller, who may change it without changing anybody else's. Open it first. */
  take(serializer: Serializer | undefined): unknown {
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
