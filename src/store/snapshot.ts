/**
 * What a store holds, written to a file and read back: for a restart that forgets nothing.
 *
 *     "everfresh items 1\n"  last CAS (8)  pending flush (6)  then for each item:
 *     key length (1, never 0)  state bits (2)  value length (4)  flags (4)  CAS (8)  expiry (6)  key  value
 *     a zero byte, and the number of items (6)
 *
 * All numbers are big-endian; expiry is a Unix time in seconds, 0 for never. A file without its end is no snapshot.
 */
import { closeSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { EverfreshError } from "../errors.ts";
import * as at from "./layout.ts";
import { mode, outcome } from "./draft.ts";
import type { Store } from "./store.ts";

const title = Buffer.from("everfresh items 1\n");
const recordBytes = 1 + 2 + 4 + 4 + 8 + 6;
const bufferBytes = 1024 * 1024;
/** What is kept of an item's state: whether it is stale, leased, read, or has a binary key. */
const keptState = at.FETCHED | at.STALE | at.WON | at.BINARY_KEY;

/** Writes all items that have not expired to `file`, by way of a file beside it; returns how many. */
export function saveItems(store: Store, file: string): number {
  const unfinished = `${file}.unfinished`;
  const descriptor = openSync(unfinished, "w", 0o600);
  let buffer: Buffer = Buffer.allocUnsafe(bufferBytes);
  let used = title.copy(buffer);
  let items = 0;
  const need = (bytes: number): void => {
    if (used + bytes <= buffer.length) return;
    writeSync(descriptor, buffer, 0, used);
    used = 0;
    if (bytes > buffer.length) buffer = Buffer.allocUnsafe(bytes);
  };
  try {
    store.tick();
    used = buffer.writeBigUInt64BE(BigInt(store.lastCas), used);
    used = buffer.writeUIntBE(store.flushTime, used, 6);
    for (let segment = 0; segment >= 0;)
      segment = store.walk(segment, (item) => {
        const { words } = store;
        const state = words[item + at.STATE] as number;
        const keyLength = state & at.KEY_LENGTH;
        const length = words[item + at.LENGTH] as number;
        const expires = (words[item + at.EXPIRES] as number) >>> 0;
        const start = item * 4 + at.headerBytes;
        need(recordBytes + keyLength + length);
        used = buffer.writeUInt8(keyLength, used);
        used = buffer.writeUInt16BE(state & keptState, used);
        used = buffer.writeUInt32BE(length, used);
        used = buffer.writeInt32BE(words[item + at.FLAGS] as number, used);
        used = buffer.writeInt32BE(words[item + at.CAS_HIGH] as number, used);
        used = buffer.writeInt32BE(words[item + at.CAS_LOW] as number, used);
        used = buffer.writeUIntBE(expires === 0 ? 0 : expires + store.seconds.epoch, used, 6);
        buffer.set(store.bytes.subarray(start, start + keyLength + length), used);
        used += keyLength + length;
        items++;
      });
    need(7);
    used = buffer.writeUInt8(0, used);
    used = buffer.writeUIntBE(items, used, 6);
    writeSync(descriptor, buffer, 0, used);
  } finally {
    closeSync(descriptor);
  }
  renameSync(unfinished, file);
  return items;
}

/**
 * Stores what `file` holds and removes the file, so that no later start can bring the same items back when they are
 * old. Returns how many items were stored; items that expired meanwhile are not.
 *
 * @throws EverfreshError `EF_SNAPSHOT` for a file that is no complete snapshot; the store is empty then
 */
export function loadItems(store: Store, file: string): number {
  const descriptor = openSync(file, "r");
  try {
    return readItems(store, new Reader(descriptor, file));
  } catch (error) {
    store.clear();
    throw error;
  } finally {
    closeSync(descriptor);
    rmSync(file);
  }
}

function readItems(store: Store, reader: Reader): number {
  if (!reader.take(title.length).equals(title)) throw reader.broken();
  const lastCas = Number(reader.take(8).readBigUInt64BE());
  const flushTime = reader.take(6).readUIntBE(0, 6);
  const { draft, seconds } = store;
  let seen = 0;
  let stored = 0;
  for (;;) {
    const keyLength = reader.take(1).readUInt8();
    if (keyLength === 0) break;
    seen++;
    const record = reader.take(recordBytes - 1);
    const state = record.readUInt16BE(0);
    const length = record.readUInt32BE(2);
    draft.flags = record.readInt32BE(6);
    draft.newCas.high = record.readInt32BE(10);
    draft.newCas.low = record.readInt32BE(14);
    const expires = record.readUIntBE(18, 6);
    draft.expires = expires === 0 ? 0 : Math.max(1, expires - seconds.epoch);
    const body = reader.take(keyLength + length);
    draft.key = draft.value = body;
    draft.keyStart = 0;
    draft.keyEnd = draft.valueStart = keyLength;
    draft.valueEnd = body.length;
    draft.compares = draft.allowsStale = draft.vivifies = draft.binaryKey = false;
    draft.chooses = true;
    if (draft.expires !== 0 && draft.expires <= seconds.now) continue;
    if (store.put(mode.set) !== outcome.stored) continue;
    store.words[store.last + at.STATE] = (store.words[store.last + at.STATE] as number) | (state & keptState);
    stored++;
  }
  if (reader.take(6).readUIntBE(0, 6) !== seen) throw reader.broken();
  store.continueCas(lastCas);
  if (flushTime !== 0) store.flushTime = flushTime;
  return stored;
}

/** Takes a file piece by piece. */
class Reader {
  readonly #descriptor: number;
  readonly #file: string;
  #buffer = Buffer.alloc(0);

  constructor(descriptor: number, file: string) {
    this.#descriptor = descriptor;
    this.#file = file;
  }

  /** The next `length` bytes; valid until the next call. */
  take(length: number): Buffer {
    while (this.#buffer.length < length) {
      const more = Buffer.allocUnsafe(Math.max(bufferBytes, length));
      const read = readSync(this.#descriptor, more, 0, more.length, null);
      if (read === 0) throw this.broken();
      this.#buffer = Buffer.concat([this.#buffer, more.subarray(0, read)]);
    }
    const taken = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  broken(): EverfreshError {
    return new EverfreshError("EF_SNAPSHOT", `${this.#file} is not a complete file of items`);
  }
}
