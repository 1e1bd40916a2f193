/** Calls in the order of asking: a ring in one array, which grows by doubling. */

/** First in, first out, without moving anything. */
export class Fifo<T> {
  #slots: (T | undefined)[] = Array.from({ length: 64 }, () => undefined);
  #mask = 63;
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The oldest, which stays. */
  peek(): T | undefined {
    return this.#slots[this.#head];
  }

  push(item: T): void {
    if (this.#length > this.#mask) this.#grow();
    this.#slots[(this.#head + this.#length) & this.#mask] = item;
    this.#length++;
  }

  /** Takes the oldest. */
  shift(): T | undefined {
    const item = this.#slots[this.#head];
    if (this.#length > 0) {
      this.#slots[this.#head] = undefined;
      this.#head = (this.#head + 1) & this.#mask;
      this.#length--;
    }
    return item;
  }

  /** The item that is `index` places behind the oldest. */
  at(index: number): T | undefined {
    return index < this.#length ? this.#slots[(this.#head + index) & this.#mask] : undefined;
  }

  #grow(): void {
    const old = this.#slots;
    const mask = this.#mask;
    this.#slots = Array.from({ length: old.length * 2 }, (_, index) =>
      index < this.#length ? old[(this.#head + index) & mask] : undefined,
    );
    this.#mask = this.#slots.length - 1;
    this.#head = 0;
  }
}
