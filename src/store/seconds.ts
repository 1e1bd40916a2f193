/**
 * Time as memcached counts it: whole seconds since shortly before the start, so that they fit 32 bits and 0 can mean
 * "never" (protocol.txt, "Expiration times").
 */
import type { Clock } from "../clock.ts";

/** Expiration times above this, 30 days, are dates: seconds since 1970. */
export const longestRelative = 60 * 60 * 24 * 30;
/** The second in which a store starts. Nothing that lives expires in second 1. */
const firstSecond = 2;
const expired = 1;

export class Seconds {
  readonly #clock: Clock;
  readonly #startMs: number;
  /** The Unix time of second 0. */
  readonly epoch: number;
  /** The present second; moved by `tick`. */
  now = firstSecond;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.monotonic();
    this.epoch = Math.floor(clock.now() / 1000) - firstSecond;
  }

  /** Reads the clock; true when another second has begun. */
  tick(): boolean {
    const now = firstSecond + Math.floor((this.#clock.monotonic() - this.#startMs) / 1000);
    if (now === this.now) return false;
    this.now = now;
    return true;
  }

  /** The second in which something with this expiration time expires; 0 for never. Negative times have passed. */
  expiry(time: number): number {
    if (time === 0) return 0;
    if (time < 0) return expired;
    if (time <= longestRelative) return this.now + time;
    return time <= this.epoch ? expired : Math.min(time - this.epoch, 0xffff_ffff);
  }
}
