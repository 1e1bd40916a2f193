/**
 * Time and chance, and nothing else: the only file that may ask the system for either.
 *
 * Everything that waits, expires or draws lots receives a {@link Clock} or a {@link Random} through its constructor,
 * so that a test can move time by hand and repeat a draw by its seed.
 */
import { randomBytes } from "node:crypto";

/** A handle for a timer that has been set; opaque. */
export type Timer = { readonly cancel: () => void };

/** Where time comes from. Milliseconds everywhere. */
export interface Clock {
  /** Milliseconds since the Unix epoch. May jump when the system's clock is set. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes backwards. Use it to measure spans and deadlines. */
  monotonic(): number;
  /**
   * Calls `callback` once, `delayMs` from now, or after 24 days if that is earlier. The timer does not keep the process alive:
   * whoever must be waited for holds a socket or a promise of its own. With `holds` it does: somebody waits for just this.
   */
  after(delayMs: number, callback: () => void, holds?: boolean): Timer;
}

/** Where chance comes from. */
export interface Random {
  /** A number in [0, 1), for jitter and sampling. */
  fraction(): number;
  /** `length` unpredictable bytes, for tokens and generations. */
  bytes(length: number): Uint8Array;
}

/** The system takes a longer delay for none at all. */
const longestDelayMs = 2 ** 31 - 1;

/** The system's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, callback, holds = false) {
    const timer = setTimeout(callback, Math.min(delayMs, longestDelayMs));
    if (!holds) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** The system's chance: `Math.random` for lots, the operating system's generator for bytes. */
export const systemRandom: Random = {
  fraction: () => Math.random(),
  bytes: (length) => randomBytes(length),
};
