/**
 * Callers who wait until somebody else's lease is filled: those of one key ask again together.
 *
 * A server tells nobody that a key was filled, so the key is looked at again and again, after a part of the time that it was
 * waited for already: whoever waited 20 ms learns of the value 2 ms after it is there, whoever waited a second 40 ms after.
 */
import type { Clock, Random } from "../clock.ts";
import type { Caller } from "./caller.ts";

const shortestPauseMs = 2;
const longestPauseMs = 40;
/** The part of the time waited that a pause takes. */
const share = 0.15;

/** The callers of one key. */
interface Group {
  readonly callers: Caller[];
  /** When the first of them began to wait. */
  readonly since: number;
}

export interface WaitingParts {
  readonly clock: Clock;
  readonly random: Random;
  /** How long a caller waits at most. */
  readonly waitMs: number;
  /** Looks again, for all of them at once. */
  again(wire: string, callers: Caller[]): void;
  /** Computes without the lease, for who has waited long enough. */
  giveUp(wire: string, callers: Caller[]): void;
}

export class Waiting {
  readonly #parts: WaitingParts;
  readonly #groups = new Map<string, Group>();

  constructor(parts: WaitingParts) {
    this.#parts = parts;
  }

  /** Lets `callers` wait for the value under `wire`. */
  add(wire: string, callers: readonly Caller[]): void {
    const { clock, waitMs } = this.#parts;
    const now = clock.monotonic();
    const patient: Caller[] = [];
    let late: Caller[] | undefined;
    let since = now;
    for (const caller of callers) {
      if (caller.done) continue;
      if (caller.waitsSince === undefined) {
        caller.waitsSince = now;
        caller.onKnown?.();
      }
      if (now >= caller.waitsSince + waitMs) (late ??= []).push(caller);
      else {
        patient.push(caller);
        if (caller.waitsSince < since) since = caller.waitsSince;
      }
    }
    if (late !== undefined) this.#parts.giveUp(wire, late);
    if (patient.length === 0) return;
    const group = this.#groups.get(wire);
    if (group === undefined) this.#begin(wire, { callers: patient, since }, now);
    else for (const caller of patient) group.callers.push(caller);
  }

  #begin(wire: string, group: Group, now: number): void {
    const { clock, random } = this.#parts;
    this.#groups.set(wire, group);
    const pauseMs = Math.min(longestPauseMs, Math.max(shortestPauseMs, (now - group.since) * share));
    clock.after(pauseMs * (0.7 + 0.6 * random.fraction()), () => {
      this.#groups.delete(wire);
      this.#parts.again(wire, group.callers);
    });
  }
}
