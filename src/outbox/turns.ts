/** One at a time, first come first served: for handles with a single connection, where two transactions would mix. */
import { EverfreshError } from "../errors.ts";

/** Most calls that may wait for their turn; more than that is a caller that does not wait for its own writes. */
const mostWaiting = 10_000;

export class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** Runs `work` when all that came before it is done, whether it succeeded or not. */
  async take<R>(work: () => Promise<R>): Promise<R> {
    if (this.#waiting >= mostWaiting)
      throw new EverfreshError("EF_OVERLOADED", `${mostWaiting} transactions wait for this one connection already.`);
    this.#waiting += 1;
    const before = this.#last;
    const mine = before.then(work, work);
    this.#last = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      this.#waiting -= 1;
    }
  }
}
