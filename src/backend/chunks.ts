/**
 * Values over the server's item limit, cut into chunks that are read back whole or not at all.
 *
 * The chunks lie under keys that nobody else draws; the item under the value's own key only says where they are. It is
 * stored last, by the fill of the lease like any other value, so the promise does not depend on the chunks: a chunk
 * that is missing, or is not the one that was stored, makes the value a miss.
 *
 *     manifest   id (16 characters), number of chunks (4 bytes), bytes in all (4 bytes)
 *     chunk      id, its number (4 bytes), its part of the bytes
 */
import type { Item } from "./backend.ts";

/** In the flags: this item is a manifest. */
export const manifestMark = 0x1ea60;

const idBytes = 16;
const manifestBytes = idBytes + 8;
const chunkHeadBytes = idBytes + 4;
/** Larger values are not stored. */
const limitChunks = 256;

export interface Manifest {
  readonly id: string;
  readonly count: number;
  readonly bytes: number;
}

export interface Cut {
  readonly manifest: Item;
  readonly chunks: readonly { readonly key: string; readonly item: Item }[];
}

/** Cuts `item` into chunks of at most `limitBytes`. Undefined when there would be too many. */
export function cut(item: Item, limitBytes: number, id: string): Cut | undefined {
  const step = limitBytes - chunkHeadBytes;
  const count = Math.ceil(item.bytes.length / step);
  if (step <= 0 || count > limitChunks) return undefined;
  const chunks = Array.from({ length: count }, (_, index) => {
    const head = Buffer.alloc(chunkHeadBytes);
    head.write(id, "latin1");
    head.writeUInt32BE(index, idBytes);
    const part = item.bytes.subarray(index * step, (index + 1) * step);
    return { key: chunkKey(id, index), item: { bytes: Buffer.concat([head, part]), flags: 0 } };
  });
  const manifest = Buffer.alloc(manifestBytes);
  manifest.write(id, "latin1");
  manifest.writeUInt32BE(count, idBytes);
  manifest.writeUInt32BE(item.bytes.length, idBytes + 4);
  return { manifest: { bytes: manifest, flags: manifestMark }, chunks };
}

export function readManifest(bytes: Buffer): Manifest | undefined {
  if (bytes.length !== manifestBytes) return undefined;
  const count = bytes.readUInt32BE(idBytes);
  if (count > limitChunks) return undefined;
  return { id: bytes.toString("latin1", 0, idBytes), count, bytes: bytes.readUInt32BE(idBytes + 4) };
}

export function chunkKeys({ id, count }: Manifest): string[] {
  return Array.from({ length: count }, (_, index) => chunkKey(id, index));
}

/** The bytes of the value; undefined unless every chunk is there and is the one that the manifest means. */
export function join({ id, bytes }: Manifest, chunks: readonly (Buffer | undefined)[]): Buffer | undefined {
  const parts: Buffer[] = [];
  for (const [index, chunk] of chunks.entries()) {
    if (chunk === undefined || chunk.length < chunkHeadBytes) return undefined;
    if (chunk.toString("latin1", 0, idBytes) !== id || chunk.readUInt32BE(idBytes) !== index) return undefined;
    parts.push(chunk.subarray(chunkHeadBytes));
  }
  const whole = Buffer.concat(parts);
  return whole.length === bytes ? whole : undefined;
}

function chunkKey(id: string, index: number): string {
  return `everfresh-chunk!${id}.${index}`;
}
