/**
 * Who must go when there is no room.
 *
 * S3-FIFO (Yang et al., SOSP 2023) on the segments of the arena. New items enter the small queue, a tenth of the
 * memory; those that were used there move on to the main queue when their segment comes up, the others leave and are
 * remembered by their hash alone, so that they enter the main queue at once if they come back. In the main queue an
 * item is carried on as often as it was used, up to three times. A read therefore moves nothing: it adds one to two bits.
 *
 * Before anything living is dropped, segments that are mostly dead (overwritten, deleted, expired) are emptied by
 * carrying the living along.
 *
 * Every step frees part of one segment, and copies at most one segment: that is the longest pause.
 */
import { type Arena, FREE, HELD, MAIN, SMALL, TAIL } from "./arena.ts";
import { EXPIRES, HASH, KEY_LENGTH, LENGTH, LIVE, ONE_USE, STATE, USES, wordsOf } from "./layout.ts";
import type { Table } from "./table.ts";

/** Why an item left without being asked to. */
export type Departure = "evicted" | "expired";

/** The share of the segments that new items may hold before older ones are looked at. */
const smallShare = 0.1;
/** A segment is emptied for its dead when at most this share of it lives. */
const worthEmptying = 0.75;
/** The share of a segment of the main queue that is carried on at most, so that every step frees something. */
const carriedShare = 0.75;

export class Reclaimer {
  readonly #arena: Arena;
  readonly #table: Table;
  readonly #evicts: boolean;
  readonly #gone: (item: number, why: Departure) => void;
  /** Hashes of items that left the small queue unused, one per slot. */
  #ghosts: Int32Array | undefined;
  /** Where `evictOne` goes on: an item, its segment, and when that segment had been opened. */
  #hand = 0;
  #handSegment = 0;
  #handBorn = -1;
  /** The item that must survive: somebody still reads it. It follows the item when that is moved. */
  pinned = 0;
  now = 0;

  constructor(arena: Arena, table: Table, evicts: boolean, gone: (item: number, why: Departure) => void) {
    this.#arena = arena;
    this.#table = table;
    this.#evicts = evicts;
    this.#gone = gone;
  }

  /** Room for an item of `words` whose key has this hash, or 0 when nothing may be dropped for it. */
  allocate(words: number, hash: number): number {
    if (words > this.#arena.segmentWords - 16) return this.#allocateRun(words);
    const queue = this.#remembers(hash) ? MAIN : SMALL;
    const at = this.#arena.bump(queue, words);
    if (at !== 0) return at;
    if (!this.#reclaimUntil(2)) return 0;
    const beside = this.#arena.bump(queue, words);
    if (beside !== 0) return beside;
    this.#arena.openSegment(queue);
    return this.#arena.bump(queue, words);
  }

  /** Drops one item: the next, in the order of the segments, that was not used since the hand last passed. */
  evictOne(): void {
    const { words, segments, shift, used, born } = this.#arena;
    for (let visits = 0; visits < 8 * segments + 8;) {
      const segment = this.#handSegment;
      if (born[segment] !== this.#handBorn) {
        this.#handBorn = born[segment] as number;
        this.#hand = this.#arena.startOf(segment);
      }
      if (this.#hand >= (segment << shift) + (used[segment] as number)) {
        visits++;
        this.#handSegment = segment + 1 < segments ? segment + 1 : 0;
        this.#handBorn = -1;
        continue;
      }
      const item = this.#hand;
      const state = words[item + STATE] as number;
      this.#hand += wordsOf(state & KEY_LENGTH, words[item + LENGTH] as number);
      if ((state & LIVE) === 0 || item === this.pinned) continue;
      if ((state & USES) !== 0) words[item + STATE] = state - ONE_USE;
      else return this.#drop(item, "evicted");
    }
  }

  /** Drops what has expired in one segment; `segment` counts on forever. */
  crawl(segment: number): void {
    const at = segment % this.#arena.segments;
    const state = this.#arena.state[at];
    if (state !== SMALL && state !== MAIN) return;
    const { words } = this.#arena;
    const end = (at << this.#arena.shift) + (this.#arena.used[at] as number);
    for (let item = this.#arena.startOf(at); item < end;) {
      const bits = words[item + STATE] as number;
      const size = wordsOf(bits & KEY_LENGTH, words[item + LENGTH] as number);
      if ((bits & LIVE) !== 0 && this.#expired(item)) this.#drop(item, "expired");
      item += size;
    }
  }

  clear(): void {
    this.#ghosts?.fill(0);
    this.#handSegment = 0;
    this.#handBorn = -1;
    this.pinned = 0;
  }

  #expired(item: number): boolean {
    const expires = (this.#arena.words[item + EXPIRES] as number) >>> 0;
    return expires !== 0 && expires <= this.now;
  }

  #drop(item: number, why: Departure): void {
    this.#gone(item, why);
    this.#table.remove(item);
    this.#arena.release(item);
  }

  /** Reclaims until `count` segments are free; false when that cannot be had. */
  #reclaimUntil(count: number): boolean {
    for (let steps = 8 * this.#arena.segments; this.#arena.freeSegments < count; steps--)
      if (steps === 0 || !this.#reclaim()) return false;
    return true;
  }

  /** One step towards a free segment; false when none is possible. */
  #reclaim(): boolean {
    const { state, used, live, born, span, segments, open, segmentWords } = this.#arena;
    let emptiest = -1;
    let emptiestLive = segmentWords * worthEmptying;
    let oldSmall = -1;
    let oldMain = -1;
    let smalls = 0;
    for (let at = 0; at < segments; at++) {
      const kind = state[at] as number;
      if (kind !== SMALL && kind !== MAIN) continue;
      if (kind === SMALL) smalls += span[at] as number;
      if (at === open[SMALL] || at === open[MAIN]) continue;
      if (kind === SMALL) {
        if (oldSmall < 0 || (born[at] as number) < (born[oldSmall] as number)) oldSmall = at;
      } else if (oldMain < 0 || (born[at] as number) < (born[oldMain] as number)) oldMain = at;
      if (span[at] === 1 && (live[at] as number) < emptiestLive && (live[at] as number) < (used[at] as number)) {
        emptiest = at;
        emptiestLive = live[at] as number;
      }
    }
    if (emptiest >= 0) {
      this.#empty(emptiest, state[emptiest] === SMALL ? SMALL : MAIN, 0, segmentWords);
      return true;
    }
    if (!this.#evicts) return false;
    const victim = oldSmall >= 0 && (smalls > segments * smallShare || oldMain < 0) ? oldSmall : oldMain;
    if (victim < 0) return this.#sealOne();
    if ((span[victim] as number) > 1) this.#passRun(victim);
    else this.#empty(victim, MAIN, 1, segmentWords * carriedShare);
    return true;
  }

  /** All that is left are open segments: the fuller one is sealed, so that it can be looked at. */
  #sealOne(): boolean {
    const { open } = this.#arena;
    if (open[SMALL] >= 0) this.#arena.seal(SMALL);
    else if (open[MAIN] >= 0) this.#arena.seal(MAIN);
    else return false;
    return true;
  }

  /** A run comes up: used, it stays and is asked again later; unused, it goes. */
  #passRun(segment: number): void {
    const item = this.#arena.startOf(segment);
    const state = this.#arena.words[item + STATE] as number;
    if (item !== this.pinned && ((state & USES) === 0 || this.#expired(item))) {
      this.#drop(item, this.#expired(item) ? "expired" : "evicted");
      return;
    }
    if ((state & USES) !== 0) this.#arena.words[item + STATE] = state - ONE_USE;
    this.#arena.renew(segment);
  }

  /**
   * Carries what lives in `segment` and was used at least `uses` times to `queue`, at most `most` words of it, and
   * drops the rest. The segment is free afterwards.
   */
  #empty(segment: number, queue: typeof SMALL | typeof MAIN, uses: 0 | 1, most: number): void {
    const arena = this.#arena;
    const { words } = arena;
    const fromSmall = arena.state[segment] === SMALL;
    const end = (segment << arena.shift) + (arena.used[segment] as number);
    let left = most;
    for (let item = arena.startOf(segment); item < end;) {
      const state = words[item + STATE] as number;
      const size = wordsOf(state & KEY_LENGTH, words[item + LENGTH] as number);
      const next = item + size;
      if ((state & LIVE) !== 0) {
        if (this.#expired(item) && item !== this.pinned) this.#drop(item, "expired");
        else if (item === this.pinned || ((state & USES) >= uses * ONE_USE && size <= left)) {
          if (uses > 0 && (state & USES) !== 0) words[item + STATE] = fromSmall ? state & ~USES : state - ONE_USE;
          this.#carry(item, size, queue);
          left -= size;
        } else {
          if (fromSmall) this.#remember(words[item + HASH] as number);
          this.#drop(item, "evicted");
        }
      }
      item = next;
    }
  }

  #carry(item: number, size: number, queue: typeof SMALL | typeof MAIN): void {
    const arena = this.#arena;
    let to = arena.bump(queue, size);
    if (to === 0) {
      arena.openSegment(queue);
      to = arena.bump(queue, size);
    }
    arena.words.copyWithin(to, item, item + size);
    this.#table.move(item, to);
    if (item === this.pinned) this.pinned = to;
    arena.release(item);
  }

  #remember(hash: number): void {
    let ghosts = this.#ghosts;
    if (ghosts === undefined) {
      let slots = 4096;
      while (slots < this.#table.count) slots *= 2;
      ghosts = this.#ghosts = new Int32Array(slots);
    }
    ghosts[hash & (ghosts.length - 1)] = hash;
  }

  #remembers(hash: number): boolean {
    const ghosts = this.#ghosts;
    return ghosts !== undefined && hash !== 0 && ghosts[hash & (ghosts.length - 1)] === hash;
  }

  /** Room for an item larger than a segment: as many free neighbours as it takes. */
  #allocateRun(size: number): number {
    const arena = this.#arena;
    const count = Math.ceil((size + 16) / arena.segmentWords);
    if (count + 3 > arena.segments) return 0;
    if (!this.#reclaimUntil(count + 2)) return 0;
    let first = this.#emptiestWindow(count, false);
    if (first < 0 && this.#evicts) first = this.#dropRuns(count);
    if (first < 0) return 0;
    for (let at = first; at < first + count; at++)
      if (arena.state[at] === FREE) {
        arena.state[at] = HELD;
        arena.freeSegments--;
      }
    for (let at = first; at < first + count; at++) {
      const kind = arena.state[at] as number;
      if (kind !== SMALL && kind !== MAIN) continue;
      if (at === arena.open[SMALL]) arena.seal(SMALL);
      else if (at === arena.open[MAIN]) arena.seal(MAIN);
      if (arena.state[at] === FREE) {
        arena.state[at] = HELD;
        arena.freeSegments--;
        continue;
      }
      this.#empty(at, kind, 0, arena.segmentWords);
      if (arena.state[at] === FREE) {
        arena.state[at] = HELD;
        arena.freeSegments--;
      }
    }
    return arena.takeRun(first, count, size);
  }

  /** Where runs leave no gap that is wide enough: drops those that stand in the emptiest window. */
  #dropRuns(count: number): number {
    const arena = this.#arena;
    const first = this.#emptiestWindow(count, true);
    if (first < 0) return -1;
    let at = first;
    while (arena.state[at] === TAIL) at--;
    while (at < first + count) {
      const length = Math.max(1, arena.span[at] as number);
      if (length > 1) this.#drop(arena.startOf(at), "evicted");
      at += length;
    }
    return first;
  }

  /**
   * The neighbours whose emptying copies least; -1 when there are none. Runs stand in the way, or, `throughRuns`, only
   * the pinned one does.
   */
  #emptiestWindow(count: number, throughRuns: boolean): number {
    const { state, live, span, segments, shift } = this.#arena;
    const pinned = this.pinned === 0 ? -1 : this.pinned >>> shift;
    let best = -1;
    let bestLive = Infinity;
    let sum = 0;
    let length = 0;
    let run = -1;
    for (let at = 0; at < segments; at++) {
      const isRun = state[at] === TAIL || (span[at] as number) > 1;
      if (isRun && state[at] !== TAIL) run = at;
      if (isRun && (!throughRuns || run === pinned)) {
        sum = 0;
        length = 0;
        continue;
      }
      sum += live[at] as number;
      if (++length > count) {
        sum -= live[at - count] as number;
        length = count;
      }
      if (length === count && sum < bestLive) {
        best = at - count + 1;
        bestLive = sum;
      }
    }
    return best;
  }
}
