/**
 * The size classes of memcached (-n 48, -f 1.25). Our memory has none; clients and tools that look at classes are shown
 * the one in which memcached would have put an item.
 */
const smallestChunk = 96;
const largestChunk = 512 * 1024;
const growth = 1.25;

export class Slabs {
  /** The chunk size of each class; class 0 is none. */
  readonly chunks: readonly number[];

  constructor() {
    const chunks = [0];
    let size = smallestChunk;
    while (size < largestChunk / growth) {
      chunks.push(size);
      size = Math.ceil((size * growth) / 8) * 8;
    }
    chunks.push(largestChunk);
    this.chunks = chunks;
  }

  /** The class of an item of `size` bytes, as memcached counts them. */
  classOf(size: number): number {
    const { chunks } = this;
    let low = 1;
    let high = chunks.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((chunks[middle] as number) < size) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
