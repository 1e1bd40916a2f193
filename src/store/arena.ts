/**
 * One block of memory for everything, written like a log and cleaned by the piece.
 *
 * The block is cut into segments of equal size. A new item is put at the end of the open segment of its queue; items
 * are never freed one by one: they are marked dead, and a segment comes back as a whole once nothing in it lives, or
 * when `Reclaimer` has carried the living elsewhere. An item larger than a segment takes a run of neighbours.
 *
 *     segments   [ small, sealed | main, sealed | small, open ><---- free ---->| main, open >< ... | free | run run ]
 *
 * So an allocation is an addition, the limit is the size of the block, and no mix of sizes can fragment it for good.
 */
import { LENGTH, LIVE, KEY_LENGTH, STATE, wordsOf } from "./layout.ts";

/** What a segment is. */
export const FREE = 0;
export const SMALL = 1;
export const MAIN = 2;
/** The second and later segments of a run. */
export const TAIL = 3;
/** Free, but about to become part of a run. */
export const HELD = 4;

const smallestSegment = 16 * 1024;
const largestSegment = 256 * 1024;
/** Words at the start of the block that hold nothing, so that index 0 is nobody. */
const reservedWords = 16;

export class Arena {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** Words of a segment, a power of two, and its logarithm. */
  readonly segmentWords: number;
  readonly shift: number;
  readonly segments: number;
  /** Of each segment: what it is, words written, words living, when it was opened, segments of the run it begins. */
  readonly state: Uint8Array;
  readonly used: Int32Array;
  readonly live: Int32Array;
  readonly born: Float64Array;
  readonly span: Int32Array;
  /** The open segment of each queue, or -1. */
  readonly open: [number, number, number] = [-1, -1, -1];
  freeSegments: number;
  liveWords = 0;
  #births = 0;
  #cursor = 0;

  constructor(limitBytes: number) {
    let segmentBytes = smallestSegment;
    while (segmentBytes < largestSegment && segmentBytes * 512 < limitBytes) segmentBytes *= 2;
    this.segments = Math.max(4, Math.floor(limitBytes / segmentBytes));
    this.segmentWords = segmentBytes / 4;
    this.shift = Math.log2(this.segmentWords);
    const block = new ArrayBuffer(this.segments * segmentBytes);
    this.words = new Int32Array(block);
    this.bytes = new Uint8Array(block);
    this.state = new Uint8Array(this.segments);
    this.used = new Int32Array(this.segments);
    this.live = new Int32Array(this.segments);
    this.born = new Float64Array(this.segments);
    this.span = new Int32Array(this.segments);
    this.freeSegments = this.segments;
  }

  /** The size of the block. */
  get limitBytes(): number {
    return this.bytes.length;
  }

  /** Where the items of a segment begin. */
  startOf(segment: number): number {
    return segment === 0 ? reservedWords : segment << this.shift;
  }

  /** Room for `words` in the open segment of `queue`, or 0. The item counts as living from now on. */
  bump(queue: typeof SMALL | typeof MAIN, words: number): number {
    const segment = this.open[queue];
    if (segment < 0) return 0;
    const used = this.used[segment] as number;
    if (used + words > this.segmentWords) return 0;
    this.used[segment] = used + words;
    this.live[segment] = (this.live[segment] as number) + words;
    this.liveWords += words;
    return (segment << this.shift) + used;
  }

  /** Opens a free segment for `queue`; the one that was open is sealed. Needs a free segment. */
  openSegment(queue: typeof SMALL | typeof MAIN): void {
    this.seal(queue);
    while (this.state[this.#cursor] !== FREE) this.#cursor = this.#cursor + 1 < this.segments ? this.#cursor + 1 : 0;
    const segment = this.#cursor;
    this.freeSegments--;
    this.state[segment] = queue;
    this.used[segment] = this.startOf(segment) - (segment << this.shift);
    this.live[segment] = 0;
    this.born[segment] = ++this.#births;
    this.span[segment] = 1;
    this.open[queue] = segment;
  }

  /** No more is written to the open segment of `queue`; if nothing in it lives, it is free again. */
  seal(queue: typeof SMALL | typeof MAIN): void {
    const segment = this.open[queue];
    this.open[queue] = -1;
    if (segment >= 0 && this.live[segment] === 0) this.free(segment);
  }

  /** Makes the `count` segments from `first`, which are free or held, one run for one item of `words`. */
  takeRun(first: number, count: number, words: number): number {
    for (let segment = first; segment < first + count; segment++) {
      if (this.state[segment] === FREE) this.freeSegments--;
      this.state[segment] = segment === first ? SMALL : TAIL;
      this.used[segment] = segment === first ? words : 0;
      this.live[segment] = segment === first ? words : 0;
      this.span[segment] = segment === first ? count : 0;
    }
    this.born[first] = ++this.#births;
    this.liveWords += words;
    return this.startOf(first);
  }

  /** The item at `item` is dead: what it held is counted off, and its segment freed if it was the last one there. */
  release(item: number): void {
    const words = this.words;
    const state = words[item + STATE] as number;
    const size = wordsOf(state & KEY_LENGTH, words[item + LENGTH] as number);
    words[item + STATE] = state & ~LIVE;
    const segment = item >>> this.shift;
    const left = (this.live[segment] as number) - size;
    this.live[segment] = left;
    this.liveWords -= size;
    if (left === 0 && segment !== this.open[SMALL] && segment !== this.open[MAIN]) this.free(segment);
  }

  /** Gives back a segment, or the whole run that begins there. */
  free(segment: number): void {
    const end = segment + (this.span[segment] as number);
    for (let at = segment; at < end; at++) {
      if (this.state[at] !== HELD) {
        this.state[at] = FREE;
        this.freeSegments++;
      }
      this.used[at] = 0;
      this.live[at] = 0;
      this.span[at] = 0;
    }
  }

  /** The run at `segment` joins the main queue, as if it had just been written. */
  renew(segment: number): void {
    this.state[segment] = MAIN;
    this.born[segment] = ++this.#births;
  }

  /** Everything is free. The memory itself stays. */
  clear(): void {
    this.state.fill(FREE);
    this.used.fill(0);
    this.live.fill(0);
    this.span.fill(0);
    this.open.fill(-1);
    this.freeSegments = this.segments;
    this.liveWords = 0;
    this.#cursor = 0;
  }
}
