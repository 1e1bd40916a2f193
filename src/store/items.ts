/**
 * The items of one memory: which there are, which still live, what they cost, and how they are forgotten. `Store` stores them.
 *
 * It works on ranges of bytes and on items (the index of their first word, see `layout.ts`), and answers with numbers, so
 * that a request costs no object. An item is valid until the next call that stores something.
 */
import { Arena } from "./arena.ts";
import { memcachedSize } from "./draft.ts";
import { hashOf } from "./hash.ts";
import * as at from "./layout.ts";
import { type ResolvedStoreOptions, type StoreOptions, resolveStoreOptions } from "./options.ts";
import { type Departure, Reclaimer } from "./reclaimer.ts";
import { Seconds } from "./seconds.ts";
import { Table } from "./table.ts";

export class Items {
  readonly options: ResolvedStoreOptions;
  readonly seconds: Seconds;
  /** The memory of all items; see `layout.ts`. */
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** Why the last `find` found nothing: it was never there, expired or flushed. */
  missed: "absent" | "expired" | "flushed" = "absent";
  /** Is told of every item that leaves without being asked to, while it can still be read. */
  onDeparture: ((item: number, why: Departure) => void) | undefined;

  /** Bytes of all items as memcached counts them. */
  bytesStored = 0;
  totalItems = 0;
  evictions = 0;
  evictedUnfetched = 0;
  evictedActive = 0;
  expiredUnfetched = 0;
  reclaimed = 0;

  protected readonly arena: Arena;
  protected readonly table: Table;
  protected readonly reclaimer: Reclaimer;
  /** The CAS that was given last. */
  protected givenCas = 0;
  #crawled = 0;
  /** The second up to which a delayed flush takes everything, or 0. */
  #flushAt = 0;

  constructor(options: StoreOptions) {
    this.options = resolveStoreOptions(options);
    this.seconds = new Seconds(this.options.clock);
    this.arena = new Arena(this.options.limitBytes);
    this.words = this.arena.words;
    this.bytes = this.arena.bytes;
    // Divided, not shifted: 4 GiB are 0 in 32 bits.
    this.table = new Table(this.words, Math.floor(this.arena.limitBytes / 64));
    this.reclaimer = new Reclaimer(this.arena, this.table, this.options.evicts, (item, why) => this.#left(item, why));
  }

  /** How many items there are, those included that expired unnoticed. */
  get count(): number {
    return this.table.count;
  }

  get buckets(): number {
    return this.table.buckets;
  }

  /** The memory for items, in bytes, and how much of it has been written to. */
  get limitBytes(): number {
    return this.arena.limitBytes;
  }
  get usedBytes(): number {
    return (this.arena.segments - this.arena.freeSegments) * this.arena.segmentWords * 4;
  }

  /** Reads the clock. Call it before a group of commands that belong to one moment. */
  tick(): void {
    if (!this.seconds.tick()) return;
    this.reclaimer.now = this.seconds.now;
    if (this.#flushAt !== 0 && this.seconds.now > this.#flushAt) this.clear();
    const batch = Math.min(64, 1 + Math.ceil(this.arena.segments / 60));
    for (let segments = 0; segments < batch; segments++) this.reclaimer.crawl(this.#crawled++);
  }

  /** The item of a key, or 0. Counts as no use: see `use`. */
  find(key: Uint8Array, start: number, end: number): number {
    return this.findHashed(key, start, end, hashOf(key, start, end, this.options.seed));
  }

  /** The item was read: it is fresh, and less likely to be dropped. */
  use(item: number): void {
    const words = this.words;
    let state = (words[item + at.STATE] as number) | at.FETCHED;
    if ((state & at.USES) !== at.USES) state += at.ONE_USE;
    words[item + at.STATE] = state;
    words[item + at.TIME] = this.seconds.now;
  }

  /** Where the value of an item begins in `bytes`; it is `words[item + LENGTH]` long. */
  valueStart(item: number): number {
    return item * 4 + at.headerBytes + ((this.words[item + at.STATE] as number) & at.KEY_LENGTH);
  }

  /** The size of an item as memcached counts it: header, CAS, key and zero, flags if any, value and line end. */
  sizeOf(item: number): number {
    const words = this.words;
    const keyLength = (words[item + at.STATE] as number) & at.KEY_LENGTH;
    return memcachedSize(keyLength, words[item + at.FLAGS] as number, words[item + at.LENGTH] as number);
  }

  /** Removes an item. */
  remove(item: number): void {
    this.bytesStored -= this.sizeOf(item);
    this.table.remove(item);
    this.arena.release(item);
  }

  /** The Unix time of the flush that is waiting, or 0. */
  get flushTime(): number {
    return this.#flushAt === 0 ? 0 : this.#flushAt + this.seconds.epoch;
  }
  set flushTime(time: number) {
    this.#flushAt = time === 0 ? 0 : Math.max(1, time - this.seconds.epoch);
  }

  /** The CAS that was given last; items with chosen ones may have higher. */
  get lastCas(): number {
    return this.givenCas;
  }

  /** CAS values go on above `cas`, so that none of before a restart is given again. */
  continueCas(cas: number): void {
    this.givenCas = Math.max(this.givenCas, cas);
  }

  /**
   * Forgets everything: at once, or in `delay` seconds. As memcached does it, a delayed flush comes a second early and
   * takes what is stored until then.
   */
  flush(delay: number): void {
    this.givenCas++;
    if (delay <= 0) this.clear();
    else {
      this.#flushAt = this.seconds.expiry(delay) - 1;
      if (this.#flushAt < this.seconds.now) this.clear();
    }
  }

  clear(): void {
    this.#flushAt = 0;
    this.arena.clear();
    this.table.clear();
    this.reclaimer.clear();
    this.bytesStored = 0;
  }

  /** Every living item, segment by segment; `visit` may read but not store. Resumable: returns where to go on, or -1. */
  walk(segment: number, visit: (item: number) => void): number {
    const arena = this.arena;
    if (segment >= arena.segments) return -1;
    const end = (segment << arena.shift) + (arena.used[segment] as number);
    for (let item = arena.startOf(segment); item < end;) {
      const state = this.words[item + at.STATE] as number;
      const expires = (this.words[item + at.EXPIRES] as number) >>> 0;
      const size = at.wordsOf(state & at.KEY_LENGTH, this.words[item + at.LENGTH] as number);
      if ((state & at.LIVE) !== 0 && (expires === 0 || expires > this.seconds.now)) visit(item);
      item += size;
    }
    return segment + 1 < arena.segments ? segment + 1 : -1;
  }

  /** {@link find} with the hash of the key. */
  protected findHashed(key: Uint8Array, start: number, end: number, hash: number): number {
    const { words, bytes } = this;
    const length = end - start;
    for (let item = this.table.first(hash); item !== 0; item = words[item + at.NEXT] as number) {
      if (words[item + at.HASH] !== hash) continue;
      if (((words[item + at.STATE] as number) & at.KEY_LENGTH) !== length) continue;
      let mine = item * 4 + at.headerBytes;
      let theirs = start;
      while (theirs < end && bytes[mine] === key[theirs]) {
        mine++;
        theirs++;
      }
      if (theirs === end) return this.#alive(item);
    }
    this.missed = "absent";
    return 0;
  }

  #alive(item: number): number {
    const expires = (this.words[item + at.EXPIRES] as number) >>> 0;
    const flushed = this.#flushAt !== 0 && this.seconds.now >= this.#flushAt;
    if (!flushed && (expires === 0 || expires > this.seconds.now)) return item;
    this.missed = flushed ? "flushed" : "expired";
    this.remove(item);
    return 0;
  }

  #left(item: number, why: Departure): void {
    const state = this.words[item + at.STATE] as number;
    const unfetched = (state & at.FETCHED) === 0;
    this.bytesStored -= this.sizeOf(item);
    if (why === "evicted") {
      this.evictions++;
      if (unfetched) this.evictedUnfetched++;
      else this.evictedActive++;
    } else {
      this.reclaimed++;
      if (unfetched) this.expiredUnfetched++;
    }
    this.onDeparture?.(item, why);
  }
}
