/**
 * The deadlines of a link's calls: one alarm for all of them, and when a silent connection is hung.
 *
 * A process that was too busy to read is no fault of the server's: an alarm that rings late waits one more turn of the
 * event loop, in which what has arrived is read.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Connection } from "./connection.ts";

/** An alarm that rings later than this was held up by this process itself. */
const lateMs = 20;

/**
 * Calls `ring` after `ms`, and where this process was held up meanwhile, after as much again: what was to come in this
 * time could not be read.
 */
export function afterListening(clock: Clock, ms: number, ring: () => void): Timer {
  const latest = clock.monotonic() + ms + lateMs;
  let timer = clock.after(ms, () => {
    if (clock.monotonic() <= latest) ring();
    else timer = clock.after(ms, ring);
  });
  return { cancel: () => timer.cancel() };
}

/** Rings once at the earliest of the moments that it was set to. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: (now: number) => void;
  #timer: Timer | undefined = undefined;
  #at = Infinity;
  #excused = false;
  #stopped = false;

  /** @param ring told the time, when a deadline has passed; it sets the alarm anew for those that are left */
  constructor(clock: Clock, ring: (now: number) => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at `deadline`, unless it rings earlier anyway. Both are on the monotonic clock. */
  set(deadline: number, now: number): void {
    if (deadline >= this.#at || this.#stopped) return;
    this.#timer?.cancel();
    this.#at = deadline;
    this.#timer = this.#clock.after(Math.max(1, Math.ceil(deadline - now)), () => this.#due());
  }

  /** Never rings again. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #due(): void {
    if (this.#stopped) return;
    const now = this.#clock.monotonic();
    if (now > this.#at + lateMs && !this.#excused) {
      this.#excused = true;
      setImmediate(() => this.#due());
      return;
    }
    this.#excused = false;
    this.#timer = undefined;
    this.#at = Infinity;
    this.#ring(now);
  }
}

/** Knows when a connection was last seen to get on with its work, and so whether it is hung. */
export class Patience {
  readonly #leastMs: number;
  #progressAt = 0;

  /** @param leastMs no connection is given up for a silence shorter than this, however short its calls' deadlines are */
  constructor(leastMs: number) {
    this.#leastMs = leastMs;
  }

  /** How long a connection may be silent while it owes `call` an answer. */
  of(call: { readonly timeoutMs: number }): number {
    return Math.max(call.timeoutMs, this.#leastMs);
  }

  /** Something was heard, or there is nothing to be heard. */
  renew(now: number): void {
    this.#progressAt = now;
  }

  /** Looks before more is asked: what was heard until now counts as heard now. */
  look(connection: Connection, now: number): void {
    if (!connection.heard && connection.pending > 0) return;
    connection.heard = false;
    this.#progressAt = now;
  }

  /**
   * When to look again; undefined when the connection is to be given up: it has owed its oldest call an answer for as long
   * as {@link of} allows and nothing was heard meanwhile, or for twice as long, whatever was heard.
   */
  lookAgainAt(connection: Connection, now: number): number | undefined {
    if (connection.heard) {
      connection.heard = false;
      this.#progressAt = now;
    }
    const oldest = connection.oldest();
    if (oldest === undefined) return Infinity;
    const patience = this.of(oldest);
    const due = oldest.deadline - oldest.timeoutMs + patience;
    const overdue = due + patience;
    const hung = due <= now && this.#progressAt + patience <= now + 1;
    if (hung || now >= overdue) return undefined;
    return due <= now ? overdue : due;
  }
}
