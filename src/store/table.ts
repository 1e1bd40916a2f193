/**
 * Finds items by the hash of their key: buckets of chains, grown one bucket at a time.
 *
 * Linear hashing (Litwin, 1980): with 2^n + s buckets, the first s have been split already and are addressed by n + 1
 * bits of the hash, the others by n. Each insertion splits at most one bucket, so no insertion ever pays for a
 * rehash of millions. The array of buckets is as long as it can get from the start; the system gives it real memory
 * only where it has been touched.
 */
import { HASH, NEXT } from "./layout.ts";

const firstBuckets = 1024;

export class Table {
  readonly #words: Int32Array;
  readonly #heads: Int32Array;
  #buckets = firstBuckets;
  /** 2^(n+1) - 1. */
  #mask = 2 * firstBuckets - 1;
  /** How many items it holds. */
  count = 0;

  constructor(words: Int32Array, maxItems: number) {
    this.#words = words;
    this.#heads = new Int32Array(Math.max(firstBuckets, maxItems));
  }

  /** How many buckets are in use, for the statistics. */
  get buckets(): number {
    return this.#buckets;
  }

  /** The first item of the chain in which an item of this hash must be; 0 when there is none. */
  first(hash: number): number {
    return this.#heads[this.#bucket(hash)] as number;
  }

  add(item: number): void {
    const words = this.#words;
    const bucket = this.#bucket(words[item + HASH] as number);
    words[item + NEXT] = this.#heads[bucket] as number;
    this.#heads[bucket] = item;
    if (++this.count > this.#buckets && this.#buckets < this.#heads.length) this.#split();
  }

  remove(item: number): void {
    this.#relink(item, this.#words[item + NEXT] as number);
    this.count--;
  }

  /** `item` has been copied to `moved`, header and all; the chain must lead there. */
  move(item: number, moved: number): void {
    this.#relink(item, moved);
  }

  clear(): void {
    this.#heads.fill(0, 0, this.#buckets);
    this.#buckets = firstBuckets;
    this.#mask = 2 * firstBuckets - 1;
    this.count = 0;
  }

  #bucket(hash: number): number {
    const bucket = hash & this.#mask;
    return bucket < this.#buckets ? bucket : bucket & (this.#mask >>> 1);
  }

  #relink(item: number, to: number): void {
    const words = this.#words;
    const bucket = this.#bucket(words[item + HASH] as number);
    let at = this.#heads[bucket] as number;
    if (at === item) {
      this.#heads[bucket] = to;
      return;
    }
    while (at !== 0) {
      const next = words[at + NEXT] as number;
      if (next === item) {
        words[at + NEXT] = to;
        return;
      }
      at = next;
    }
  }

  #split(): void {
    const words = this.#words;
    const heads = this.#heads;
    const half = (this.#mask + 1) >>> 1;
    const bucket = this.#buckets - half;
    const twin = this.#buckets++;
    let at = heads[bucket] as number;
    let stay = 0;
    let go = 0;
    while (at !== 0) {
      const next = words[at + NEXT] as number;
      if (((words[at + HASH] as number) & this.#mask) === twin) {
        words[at + NEXT] = go;
        go = at;
      } else {
        words[at + NEXT] = stay;
        stay = at;
      }
      at = next;
    }
    heads[bucket] = stay;
    heads[twin] = go;
    if (this.#buckets > this.#mask) this.#mask = 2 * this.#mask + 1;
  }
}
