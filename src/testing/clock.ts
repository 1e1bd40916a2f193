/** Time that moves when the test moves it. */
import type { Clock, Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";

/** A clock for tests: it stands still until `advance` is called, and fires timers in their order. */
export class ManualClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();

  /** @param startMs the Unix time that it shows first, in milliseconds. Default: the start of 2030. */
  constructor(startMs: number = Date.UTC(2030, 0, 1)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { at: this.#monotonicMs + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Lets `ms` milliseconds pass; timers that become due fire on the way, also those that are set meanwhile. */
  advance(ms: number): void {
    // Time that is no number, or runs back, would stop every timer without a word.
    if (!(typeof ms === "number" && ms >= 0 && ms < Infinity))
      throw new EverfreshError(
        "EF_OPTION",
        `advance takes a number of milliseconds, such as 60_000; got ${String(ms)}`,
      );
    const end = this.#monotonicMs + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#move(Math.max(due.at, this.#monotonicMs));
      due.callback();
    }
    this.#move(end);
  }

  #move(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}
