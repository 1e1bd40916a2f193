/**
 * What is under way around the code that runs, without its being passed along.
 *
 * An `AsyncLocalStorage` costs every promise of the process as long as it is in use, in Node below 24 a tenth of a web server's
 * time. So this one is put to sleep whenever nothing is under way, which is nearly always.
 */
import { AsyncLocalStorage } from "node:async_hooks";

export class Ambient<T> {
  readonly #storage = new AsyncLocalStorage<T | undefined>();
  #underWay = 0;

  /** What is under way here; undefined: nothing. */
  get current(): T | undefined {
    return this.#underWay === 0 ? undefined : this.#storage.getStore();
  }

  /** Something begins. Answers what to call, once, when it has ended. */
  begin(): () => void {
    this.#underWay++;
    let hasEnded = false;
    return () => {
      if (hasEnded) return;
      hasEnded = true;
      if (--this.#underWay === 0) this.#storage.disable();
    };
  }

  /** Runs `work`, which nobody around it waits for, as a part of nothing. */
  outside<R>(work: () => R): R {
    return this.#underWay === 0 ? work() : this.#storage.run(undefined, work);
  }

  /** Runs `work` as a part of `value`, which has begun and not ended. */
  within<R>(value: T, work: () => R): R {
    return this.#underWay === 0 ? work() : this.#storage.run(value, work);
  }
}
