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
 * has not begun, so callers still join it. It waits no longer than it may run, and not at all for who is inside of
 * another load, whose turn it might be waiting for.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock, Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { failAll, failUnlessStale, type Caller, type TakesTurns } from "./caller.ts";
import type { Loads } from "./loading.ts";
import { nextMoment } from "./moments.ts";
import { forEach, type Serializer } from "./serializer.ts";

interface Round {
  readonly version: number;
  readonly callers: Caller[];
  /** Those who came after the load began, or read another version. */
  readonly next: Caller[];
  begun: boolean;
  /** Lets it, or the batch that it is a part of, begin without a turn, where that waits for one. */
  hurry: (() => void) | undefined;
  /** When the load began. */
  moment: number;
}

/** Set inside a load that holds a turn: a load within it takes none, or the two could wait for each other. */
const inside = new AsyncLocalStorage<true>();
const isInside = (): boolean => inside.getStore() !== undefined;

/** Hands out turns, first come first served. */
export class Turns implements TakesTurns {
  readonly #limit: number;
  readonly #queue = new Set<() => void>();
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async run(work: () => Promise<void>, queued: (hurry: () => void) => void): Promise<void> {
    if (isInside()) return await work();
    let hasTurn = true;
    if (this.#running < this.#limit) this.#running++;
    else hasTurn = await this.#wait(queued);
    try {
      await inside.run(true, work);
    } finally {
      if (hasTurn) this.#pass();
    }
  }

  #wait(queued: (hurry: () => void) => void): Promise<boolean> {
    return new Promise((resolve) => {
      const begin = (): void => resolve(true);
      this.#queue.add(begin);
      queued(() => {
        if (this.#queue.delete(begin)) resolve(false);
      });
    });
  }

  /** The turn goes on to who waits; `#running` counts turns, not loads. */
  #pass(): void {
    const [next] = this.#queue;
    if (next === undefined) this.#running--;
    else {
      this.#queue.delete(next);
      next();
    }
  }
}

export class Rounds {
  readonly #clock: Clock;
  readonly #loads: Loads;
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
    loads: Loads,
    turns: Turns,
    serializer: Serializer | undefined,
    again: (callers: readonly Caller[]) => void,
    loaded: (caller: Caller, durationMs: number, why: string, error: unknown) => void,
  ) {
    this.#clock = clock;
    this.#loads = loads;
    this.#turns = turns;
    this.#serializer = serializer;
    this.#again = again;
    this.#loaded = loaded;
  }

  /** Computes for `caller`, who brings a loader, without the cache. */
  join(wire: string, caller: Caller, why: string): void {
    const round = this.#rounds.get(wire);
    if (round === undefined) {
      this.#begin(wire, caller, why);
      return;
    }
    caller.onKnown?.();
    if (round.hurry !== undefined && caller.inContext(isInside)) round.hurry();
    if (caller.plan.version === round.version && (!round.begun || caller.moment < round.moment))
      round.callers.push(caller);
    else round.next.push(caller);
  }

  #begin(wire: string, first: Caller, why: string): void {
    const round: Round = {
      version: first.plan.version,
      callers: [first],
      next: [],
      begun: false,
      hurry: undefined,
      moment: 0,
    };
    this.#rounds.set(wire, round);
    const { load, plan, key, batch } = first;
    let waiting: Timer | undefined;
    const work = async (): Promise<void> => {
      waiting?.cancel();
      round.begun = true;
      round.moment = nextMoment();
      const began = this.#clock.monotonic();
      try {
        if (load === undefined || round.callers.every(({ done }) => done)) return;
        const { value } = await this.#loads.run(load, plan, key, undefined);
        this.#loaded(first, this.#clock.monotonic() - began, why, undefined);
        const each = forEach(value, round.callers.length, this.#serializer);
        for (const caller of round.callers) caller.answerUnstored(each(), "bypass", why);
      } catch (error) {
        this.#loaded(first, this.#clock.monotonic() - began, why, error);
        const now = this.#clock.now();
        for (const caller of round.callers) failUnlessStale(caller, caller.fallback, error, now, this.#serializer);
      } finally {
        // Its callers were answered: whoever still finds it is for the next one.
        round.moment = 0;
      }
    };
    const queued = (hurry: () => void): void => {
      round.hurry = hurry;
      waiting = this.#clock.after(plan.hardMs, () => {
        const message = `the loader's turn has not come within ${plan.hardMs} ms; maxConcurrentLoads others are running`;
        failAll(round.callers.splice(0), new EverfreshError("EF_LOAD_TIMEOUT", message, { key }));
        hurry();
      });
    };
    // In the context of its caller, which tells whether a load around it has a turn already.
    const run = (): Promise<void> => (batch === undefined ? this.#turns.run(work, queued) : work());
    if (batch !== undefined) {
      batch.bypassed(this.#turns);
      round.hurry = () => batch.hurry();
    }
    void first.inContext(run).finally(() => {
      this.#rounds.delete(wire);
      if (round.next.length > 0) this.#again(round.next);
    });
  }
}
