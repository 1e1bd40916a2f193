/**
 * Loads that no server can confirm: the key's home is down, something is pending for it, or there is no backend.
 *
 * Nothing is stored. A caller may only be given a value whose load began after the caller came, so those who come
 * while a load runs share the next one:
 *
 *     callers  a b c      d e f g
 *     load     [   a b c     ][  d e f g  ]
 *
 * A crowd costs two loads, and at most `limit` loads run at a time; the others queue. A load that waits for its turn
 * has not begun, so callers still join it.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../clock.ts";
import type { Caller } from "./caller.ts";
import { runLoader } from "./loading.ts";
import { nextMoment } from "./moments.ts";
import { forEach, type Serializer } from "./serializer.ts";

interface Round {
  readonly version: number;
  readonly callers: Caller[];
  /** Those who came after the load began, or read another version. */
  readonly next: Caller[];
  begun: boolean;
  /** When the load began. */
  moment: number;
}

/** Set inside a load that holds a turn: a load within it takes none, or the two could wait for each other. */
const inside = new AsyncLocalStorage<true>();

/** Hands out turns, first come first served. */
export class Turns {
  readonly #limit: number;
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (inside.getStore() !== undefined) return await work();
    if (this.#running >= this.#limit) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running++;
    try {
      return await inside.run(true, work);
    } finally {
      // The turn goes on to who waits; `#running` counts turns, not loads.
      const next = this.#queue.shift();
      if (next) next();
      else this.#running--;
    }
  }
}

export class Rounds {
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #serializer: Serializer | undefined;
  readonly #again: (callers: readonly Caller[]) => void;
  readonly #loaded: (caller: Caller, durationMs: number, why: string, error: unknown) => void;
  readonly #rounds = new Map<string, Round>();

  /**
   * @param again starts the callers of the next round over: by then the server may be back
   */
  constructor(
    clock: Clock,
    turns: Turns,
    serializer: Serializer | undefined,
    again: (callers: readonly Caller[]) => void,
    loaded: (caller: Caller, durationMs: number, why: string, error: unknown) => void,
  ) {
    this.#clock = clock;
    this.#turns = turns;
    this.#serializer = serializer;
    this.#again = again;
    this.#loaded = loaded;
  }

  /** Computes for `caller`, who brings a loader, without the cache. */
  join(wire: string, caller: Caller, why: string): void {
    const round = this.#rounds.get(wire);
    if (round === undefined) this.#begin(wire, caller, why);
    else if (caller.plan.version === round.version && (!round.begun || caller.moment < round.moment))
      round.callers.push(caller);
    else round.next.push(caller);
  }

  #begin(wire: string, first: Caller, why: string): void {
    const round: Round = { version: first.plan.version, callers: [first], next: [], begun: false, moment: 0 };
    this.#rounds.set(wire, round);
    const work = async (): Promise<void> => {
      round.begun = true;
      round.moment = nextMoment();
      const began = this.#clock.monotonic();
      const { load, plan, key } = first;
      if (load === undefined) return;
      try {
        const { value } = await runLoader(load, plan, key, undefined, this.#clock);
        this.#loaded(first, this.#clock.monotonic() - began, why, undefined);
        const each = forEach(value, round.callers.length, this.#serializer);
        for (const caller of round.callers) caller.answerUnstored(each(), "bypass", why);
      } catch (error) {
        this.#loaded(first, this.#clock.monotonic() - began, why, error);
        for (const caller of round.callers) caller.fail(error);
      }
    };
    // In the context of its caller, which tells whether a load around it has a turn already.
    const run = (): Promise<void> => (first.batched ? work() : this.#turns.run(work));
    void first.inContext(run).finally(() => {
      this.#rounds.delete(wire);
      if (round.next.length > 0) this.#again(round.next);
    });
  }
}
