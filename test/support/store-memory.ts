/**
 * The store with a friendlier face for its tests: whole keys and values in, objects out. A read copies the value, so
 * nobody can change what is stored.
 *
 * @example
 * const memory = new Memory({ limitBytes: 8 * 1024 * 1024 });
 * memory.set(Buffer.from("k"), Buffer.from("v"), { ttlSeconds: 60 }); // "stored"
 * memory.get(Buffer.from("k"))?.value; // <Buffer 76>
 */
import { longestKey, toBigInt } from "#src/protocol/index.ts";
import * as at from "#src/store/layout.ts";
import type { StoreOptions } from "#src/store/options.ts";
import { type Mode, type Outcome, mode, outcome } from "#src/store/draft.ts";
import { Store } from "#src/store/store.ts";

/** What was found under a key. */
export interface Found {
  /** A copy. */
  readonly value: Buffer;
  readonly flags: number;
  /** Names this version of the item: carry it and compare it, never calculate with it. */
  readonly cas: bigint;
  /** Seconds left, undefined for ever. */
  readonly ttlSeconds: number | undefined;
}

/** How an item is to be kept. */
export interface Keep {
  /** A number of 32 bits of the caller's own. Default: 0. */
  readonly flags?: number;
  /** Default: for ever. Whole seconds; 0 or less is expired at once. */
  readonly ttlSeconds?: number;
}

/**
 * What came of storing: `stored`; `notStored`, because there is (add) or is not (replace) such an item; `exists`: the
 * item has changed; `notFound`; `tooLarge` for this memory; `noMemory`, only where nothing may be dropped.
 */
export type Stored = "stored" | "notStored" | "exists" | "notFound" | "tooLarge" | "noMemory";

/** What came of counting. */
export type Counted =
  | { readonly kind: "counted"; readonly number: bigint; readonly cas: bigint }
  | { readonly kind: "notFound" | "nonNumeric" | "noMemory" };

const results: Readonly<Record<Outcome, Stored>> = {
  [outcome.stored]: "stored",
  [outcome.notStored]: "notStored",
  [outcome.exists]: "exists",
  [outcome.notFound]: "notFound",
  [outcome.tooLarge]: "tooLarge",
  [outcome.noMemory]: "noMemory",
  [outcome.nonNumeric]: "notStored",
};
const largest = 0xffff_ffff_ffff_ffffn;

export class Memory {
  /** The store beneath, for its numbers. */
  readonly store: Store;

  constructor(options: StoreOptions) {
    this.store = new Store(options);
  }

  /** The item of a key of 1 to 250 bytes. */
  get(key: Uint8Array): Found | undefined {
    const item = this.#find(key);
    if (item === 0) return undefined;
    const { store } = this;
    const { words } = store;
    const start = store.valueStart(item);
    const expires = (words[item + at.EXPIRES] as number) >>> 0;
    store.use(item);
    return {
      value: Buffer.from(store.bytes.subarray(start, start + (words[item + at.LENGTH] as number))),
      flags: (words[item + at.FLAGS] as number) >>> 0,
      cas: this.#cas(item),
      ttlSeconds: expires === 0 ? undefined : expires - store.seconds.now,
    };
  }

  set(key: Uint8Array, value: Uint8Array, keep: Keep = {}): Stored {
    return this.#put(mode.set, key, value, keep);
  }

  /** Stores only what is not there. */
  add(key: Uint8Array, value: Uint8Array, keep: Keep = {}): Stored {
    return this.#put(mode.add, key, value, keep);
  }

  /** Stores only over the version that `cas` names. */
  compareAndSet(key: Uint8Array, value: Uint8Array, cas: bigint, keep: Keep = {}): Stored {
    return this.#put(mode.set, key, value, keep, cas);
  }

  /** The CAS of the item that the last `set`, `add` or `compareAndSet` stored. */
  get lastCas(): bigint {
    return this.store.last === 0 ? 0n : this.#cas(this.store.last);
  }

  /** Removes an item, or only the version that `cas` names. */
  delete(key: Uint8Array, cas?: bigint): "deleted" | "exists" | "notFound" {
    const item = this.#find(key);
    if (item === 0) return "notFound";
    if (cas !== undefined && this.#cas(item) !== cas) return "exists";
    this.store.remove(item);
    return "deleted";
  }

  /** Gives an item another time to live; undefined for ever. */
  touch(key: Uint8Array, ttlSeconds: number | undefined): boolean {
    const item = this.#find(key);
    if (item === 0) return false;
    this.store.words[item + at.EXPIRES] = this.#expires(ttlSeconds);
    this.store.use(item);
    return true;
  }

  /** Adds to a number that is stored as decimal text, modulo 2^64; below zero it stops at 0. */
  increment(key: Uint8Array, by: bigint): Counted {
    const { store } = this;
    const item = this.#find(key);
    if (item === 0) return { kind: "notFound" };
    const amount = (by < 0n ? -by : by) & largest;
    store.draft.chooses = false;
    const result = store.count64(item, by >= 0n, Number(amount >> 32n) | 0, Number(amount & 0xffff_ffffn) | 0);
    if (result === outcome.nonNumeric) return { kind: "nonNumeric" };
    if (result !== outcome.stored) return { kind: "noMemory" };
    return { kind: "counted", number: toBigInt(store.counted.high, store.counted.low), cas: this.#cas(store.last) };
  }

  clear(): void {
    this.store.clear();
  }

  #find(key: Uint8Array): number {
    this.store.tick();
    return this.store.find(key, 0, key.length);
  }

  #put(how: Mode, key: Uint8Array, value: Uint8Array, keep: Keep, cas?: bigint): Stored {
    if (key.length === 0 || key.length > longestKey) return "tooLarge";
    const { store } = this;
    store.tick();
    const { draft } = store;
    draft.key = key;
    draft.keyStart = 0;
    draft.keyEnd = key.length;
    draft.value = value;
    draft.valueStart = 0;
    draft.valueEnd = value.length;
    draft.flags = (keep.flags ?? 0) | 0;
    draft.expires = this.#expires(keep.ttlSeconds);
    draft.compares = cas !== undefined;
    if (cas !== undefined) {
      draft.cas.high = Number(cas >> 32n) | 0;
      draft.cas.low = Number(cas & 0xffff_ffffn) | 0;
    }
    draft.allowsStale = draft.chooses = draft.vivifies = draft.binaryKey = false;
    return results[store.put(how)];
  }

  /** Spans longer than 30 days are spans here, not dates. */
  #expires(ttlSeconds: number | undefined): number {
    if (ttlSeconds === undefined) return 0;
    return ttlSeconds <= 0 ? 1 : Math.min(this.store.seconds.now + Math.ceil(ttlSeconds), 0xffff_ffff);
  }

  #cas(item: number): bigint {
    const { words } = this.store;
    return toBigInt(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
  }
}
