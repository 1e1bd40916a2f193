/**
 * One memory: what is stored under which key, until when, and who must go. Knows no socket and no protocol.
 *
 * `Items` are found, counted and forgotten; this is how they come to be: a draft is put, replaces, extends or counts. The
 * numbers of `draft.ts` say what came of it.
 */
import { type Halves, add, copyBytes, highOf, lowOf, readDecimal, subtract, writeDecimal } from "../protocol/index.ts";
import { type Draft, type Mode, type Outcome, emptyDraft, memcachedSize, mode, nothing, outcome } from "./draft.ts";
import { hashOf } from "./hash.ts";
import { Items } from "./items.ts";
import * as at from "./layout.ts";

/** Digits of the largest counter. */
const longestNumber = 20;

export class Store extends Items {
  /** What the next `put` stores. */
  readonly draft: Draft = emptyDraft();
  /** The item that the last `put` or `count` left behind, or 0. */
  last = 0;
  /** The number that the last `count` arrived at. */
  readonly counted: Halves = { high: 0, low: 0 };
  readonly #digits = new Uint8Array(longestNumber);

  /** Whether an item of these lengths may be stored at all. */
  fits(keyLength: number, flags: number, valueLength: number): boolean {
    return memcachedSize(keyLength, flags, valueLength) <= this.options.itemBytes;
  }

  /** Stores the draft. What is refused changes nothing, except that a `set` that fails drops the old value. */
  put(how: Mode): Outcome {
    const draft = this.draft;
    const { key, keyStart, keyEnd } = draft;
    const hash = hashOf(key, keyStart, keyEnd, this.options.seed);
    const length = draft.valueEnd - draft.valueStart;
    const old = this.findHashed(key, keyStart, keyEnd, hash);
    this.last = 0;
    if (!this.fits(keyEnd - keyStart, draft.flags, length)) return this.#refuse(outcome.tooLarge, how, old);
    if (old === 0) {
      const creates = how <= mode.add || (how >= mode.append && draft.vivifies);
      if (draft.compares && how !== mode.add && how <= mode.replace) return outcome.notFound;
      return creates ? this.#create(hash, 0) : outcome.notStored;
    }
    if (how === mode.add) {
      this.words[old + at.TIME] = this.seconds.now;
      return outcome.notStored;
    }
    let stale = false;
    if (draft.compares) {
      const high = this.words[old + at.CAS_HIGH] as number;
      const low = this.words[old + at.CAS_LOW] as number;
      if (high !== draft.cas.high || low !== draft.cas.low) {
        const { cas } = draft;
        const older = cas.high >>> 0 < high >>> 0 || (cas.high === high && cas.low >>> 0 < low >>> 0);
        const none = cas.high === 0 && cas.low === 0;
        if (how >= mode.append ? !none : !(draft.allowsStale && older && !none)) return outcome.exists;
        stale = how < mode.append;
      }
    }
    if (how >= mode.append) return this.#extend(old, how === mode.append);
    const kept = stale ? ((this.words[old + at.STATE] as number) & at.WON) | at.STALE : 0;
    // As memcached: a value that is stored stale lives as long as the one whose place it takes would have.
    if (stale) draft.expires = this.words[old + at.EXPIRES] as number;
    return this.#replace(old, hash, kept);
  }

  /** Marks an item as stale, to be renewed by whoever reads it next. */
  invalidate(item: number): void {
    const words = this.words;
    words[item + at.STATE] = ((words[item + at.STATE] as number) | at.STALE) & ~at.WON;
    this.renewCas(item);
  }

  /** Leaves an item without a value in the place of `item`, with other flags and another expiry; it is `last` then. */
  dropValue(item: number, flags: number, expires: number): void {
    const { words, draft } = this;
    const state = words[item + at.STATE] as number;
    const key = item * 4 + at.headerBytes;
    draft.key = this.bytes.slice(key, key + (state & at.KEY_LENGTH));
    draft.keyStart = 0;
    draft.keyEnd = draft.key.length;
    draft.value = nothing;
    draft.valueStart = draft.valueEnd = 0;
    draft.flags = flags;
    draft.expires = expires;
    draft.binaryKey = (state & at.BINARY_KEY) !== 0;
    this.last = 0;
    this.#replace(item, words[item + at.HASH] as number, 0);
  }

  override clear(): void {
    super.clear();
    this.last = 0;
  }

  /** Gives an item the next CAS, or the one that the draft chooses. */
  renewCas(item: number): void {
    const { draft, words } = this;
    if (draft.chooses) {
      words[item + at.CAS_HIGH] = draft.newCas.high;
      words[item + at.CAS_LOW] = draft.newCas.low;
      return;
    }
    const cas = ++this.givenCas;
    words[item + at.CAS_HIGH] = highOf(cas);
    words[item + at.CAS_LOW] = lowOf(cas);
  }

  /** Adds to or subtracts from the number that an item holds as text; the result is in `counted`, the item in `last`. */
  count64(item: number, up: boolean, high: number, low: number): Outcome {
    const length = this.words[item + at.LENGTH] as number;
    const start = this.valueStart(item);
    const number = this.counted;
    if (length === 0 || !readDecimal(this.bytes, start, start + length, number)) return outcome.nonNumeric;
    if (up) add(number, high, low);
    else subtract(number, high, low);
    const digits = writeDecimal(number.high, number.low, this.#digits, 0);
    if (digits <= length) {
      copyBytes(this.#digits, 0, digits, this.bytes, start);
      this.bytes.fill(32, start + digits, start + length);
      this.renewCas(item);
      this.last = item;
      return outcome.stored;
    }
    return this.#rewrite(item, this.#digits, digits);
  }

  #refuse(why: Outcome, how: Mode, old: number): Outcome {
    if (how === mode.set && !this.draft.compares && old !== 0) this.remove(old);
    return why;
  }

  /** A new item of the draft; `kept` are bits of its state. */
  #create(hash: number, kept: number): Outcome {
    const { draft } = this;
    const keyLength = draft.keyEnd - draft.keyStart;
    const length = draft.valueEnd - draft.valueStart;
    while (this.table.count >= this.options.limitItems) {
      if (!this.options.evicts) return outcome.noMemory;
      this.reclaimer.evictOne();
    }
    const item = this.reclaimer.allocate(at.wordsOf(keyLength, length), hash);
    if (item === 0) return outcome.noMemory;
    this.words[item + at.HASH] = hash;
    this.#fill(item, kept);
    this.table.add(item);
    copyBytes(draft.key, draft.keyStart, draft.keyEnd, this.bytes, item * 4 + at.headerBytes);
    this.#finish(item, length);
    return outcome.stored;
  }

  #fill(item: number, kept: number): void {
    const { draft, words } = this;
    words[item + at.EXPIRES] = draft.expires;
    words[item + at.FLAGS] = draft.flags;
    words[item + at.LENGTH] = draft.valueEnd - draft.valueStart;
    words[item + at.STATE] = (draft.keyEnd - draft.keyStart) | at.LIVE | kept | (draft.binaryKey ? at.BINARY_KEY : 0);
    words[item + at.TIME] = this.seconds.now;
  }

  #finish(item: number, length: number): void {
    const { draft } = this;
    this.renewCas(item);
    if (length > 0) copyBytes(draft.value, draft.valueStart, draft.valueEnd, this.bytes, this.valueStart(item));
    this.bytesStored += this.sizeOf(item);
    this.totalItems++;
    this.last = item;
  }

  /** The draft takes the place of `old`, in its very memory if it has the same size. */
  #replace(old: number, hash: number, kept: number): Outcome {
    const { draft, words } = this;
    const keyLength = draft.keyEnd - draft.keyStart;
    const length = draft.valueEnd - draft.valueStart;
    const size = at.wordsOf(keyLength, length);
    const uses = Math.min(at.USES, ((words[old + at.STATE] as number) & at.USES) + at.ONE_USE);
    if (size === at.wordsOf(keyLength, words[old + at.LENGTH] as number)) {
      this.bytesStored -= this.sizeOf(old);
      this.#fill(old, kept | uses);
      this.#finish(old, length);
      return outcome.stored;
    }
    // The old item may be moved or dropped to make room; pinned, it is at least found again.
    this.reclaimer.pinned = old;
    const item = this.reclaimer.allocate(size, hash);
    const moved = this.reclaimer.pinned;
    this.reclaimer.pinned = 0;
    if (moved !== 0) this.remove(moved);
    if (item === 0) return outcome.noMemory;
    words[item + at.HASH] = hash;
    this.#fill(item, kept | uses);
    this.table.add(item);
    copyBytes(draft.key, draft.keyStart, draft.keyEnd, this.bytes, item * 4 + at.headerBytes);
    this.#finish(item, length);
    return outcome.stored;
  }

  /** Append and prepend: flags and expiry of the old item stay; whether it was stale or won does not, as in memcached. */
  #extend(old: number, after: boolean): Outcome {
    const { draft, words } = this;
    const oldLength = words[old + at.LENGTH] as number;
    const length = draft.valueEnd - draft.valueStart;
    const keyLength = (words[old + at.STATE] as number) & at.KEY_LENGTH;
    if (!this.fits(keyLength, words[old + at.FLAGS] as number, oldLength + length)) return outcome.notStored;
    const item = this.#grow(old, oldLength + length);
    if (item === 0) return outcome.notStored;
    const from = this.valueStart(this.last);
    const to = this.valueStart(item);
    this.bytes.copyWithin(after ? to : to + length, from, from + oldLength);
    copyBytes(draft.value, draft.valueStart, draft.valueEnd, this.bytes, after ? to + oldLength : to);
    this.#swap(this.last, item);
    return outcome.stored;
  }

  /** A number that became longer than its item. */
  #rewrite(old: number, value: Uint8Array, length: number): Outcome {
    const item = this.#grow(old, length);
    if (item === 0) return outcome.noMemory;
    copyBytes(value, 0, length, this.bytes, this.valueStart(item));
    this.#swap(this.last, item);
    return outcome.stored;
  }

  /** Room for `old` with a value of another length, header and key copied; `last` is where `old` is now. */
  #grow(old: number, length: number): number {
    const words = this.words;
    const keyLength = (words[old + at.STATE] as number) & at.KEY_LENGTH;
    this.reclaimer.pinned = old;
    const item = this.reclaimer.allocate(at.wordsOf(keyLength, length), words[old + at.HASH] as number);
    const from = (this.last = this.reclaimer.pinned);
    this.reclaimer.pinned = 0;
    if (item === 0) return 0;
    words.copyWithin(item, from, from + at.headerWords);
    words[item + at.LENGTH] = length;
    words[item + at.STATE] = (words[item + at.STATE] as number) & ~(at.FETCHED | at.STALE | at.WON);
    words[item + at.TIME] = this.seconds.now;
    const key = from * 4 + at.headerBytes;
    this.bytes.copyWithin(item * 4 + at.headerBytes, key, key + keyLength);
    return item;
  }

  #swap(old: number, item: number): void {
    this.remove(old);
    this.table.add(item);
    this.renewCas(item);
    this.bytesStored += this.sizeOf(item);
    this.totalItems++;
    this.last = item;
  }
}
