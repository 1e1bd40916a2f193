/** One caller who waits for a value: what was asked, when, and how it is answered. Answered once. */
import { AsyncResource } from "node:async_hooks";
import { EverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { listen, unlisten, type Abortable } from "../signals.ts";
import type { Stored } from "./envelope.ts";
import { mayHave, type Stale } from "./judging.ts";
import { visibleTags } from "./keys.ts";
import { nextMoment } from "./moments.ts";
import type { Ttl } from "./options.ts";
import type { Plan } from "./plan.ts";
import type { Serializer } from "./serializer.ts";

/** Where an answer came from. */
export type Status = "hit" | "miss" | "stale" | "bypass";

/** What `getEntry` and its like answer. */
export interface EntryAnswer<T> {
  /** Undefined where there is none. */
  readonly value: T | undefined;
  /**
   * `hit`: from the cache. `miss`: computed, or not there. `stale`: served under a relaxation that was asked for.
   * `bypass`: computed without the cache, because it could not be asked.
   */
  readonly status: Status;
  /**
   * How long ago it was set or its computation began, by the clocks of its writer and of this host; 0 for what was just
   * computed.
   */
  readonly ageMs: number;
  /** How long it will be fresh; Infinity for ever, 0 for what is stale or not stored. */
  readonly ttlMs: number;
  readonly tags: readonly string[];
  /**
   * Why it was no plain hit: `absent`, `expired`, `invalidated`, `tag songs`, `unreachable`, `pending` ... Of a hit:
   * `not asked` where `local: { maxAge }` let this process answer alone.
   */
  readonly why: string | undefined;
}

/** Computes a value. */
export type Loader = (context: LoadContext) => unknown;

/** What a loader may say and see. */
export interface LoadContext {
  /** Aborted when the loader is given up (`hardTimeout`) or the cache is closed. */
  readonly signal: AbortSignal;
  /** The value that is being replaced, where one was kept; undefined otherwise. */
  readonly stale: unknown;
  /** Another ttl than the options say, for this value. */
  setTtl(ttl: Ttl): void;
  /**
   * More tags than the options say. Their generations must have been read before the loader began, so the first
   * time that a key's loader names a tag in this process, the value is handed out but not stored; from then on the
   * tag is known. Where a tag is known beforehand, name it in `tags`.
   */
  addTags(tags: readonly string[]): void;
  /** The value is handed out and not stored. */
  skip(): void;
  /** Runs `work` as a part of the computation, where it would otherwise run elsewhere: what it reads is noted. */
  within<T>(work: () => T): T;
}

/** What computes a caller's value together with those of others, by one loader call, which takes one turn at most. */
export interface Batched {
  /** A value of it is computed without the cache. */
  bypassed(turns: TakesTurns): void;
  /** Lets it begin without a turn, where it waits for one. */
  hurry(): void;
}

export interface TakesTurns {
  /** @param queued where `work` has to wait, is given what lets it run without a turn */
  run(work: () => Promise<void>, queued: (hurry: () => void) => void): Promise<void>;
}

type Settle = (outcome: unknown) => void;

const reads = eventChannel("everfresh:cache:read");

let nextResolve: Settle;
let nextReject: Settle;
/** One executor for all promises saves a closure for each. */
const executor = (resolve: Settle, reject: Settle): void => {
  nextResolve = resolve;
  nextReject = reject;
};

export class Caller implements Abortable {
  readonly key: string;
  readonly plan: Plan;
  /** Undefined for those who only look. */
  readonly load: Loader | undefined;
  /** Whether it wants an {@link EntryAnswer}, not the value alone. */
  readonly full: boolean;
  /** When this caller came. What began before may hold what the source held before. */
  readonly moment = nextMoment();
  /** The answer. */
  readonly promise: Promise<unknown>;
  /** How often it had to start over. */
  restarts = 0;
  /** When it first found that somebody else has the lease, monotonic milliseconds. */
  waitsSince: number | undefined = undefined;
  done = false;
  /** Whether its soft timeout runs. */
  softly = false;
  /** What computes it together with others, by one loader call. */
  batch: Batched | undefined = undefined;
  /** The value that it found, which cannot be replaced now, and which it may have where its loader fails. */
  fallback: Stale | undefined = undefined;
  /** Called once, when it is known that this caller is answered, waits for somebody else, or computes. */
  onKnown: (() => void) | undefined = undefined;
  /** Told what the answer was made from, for the value around it; undefined: nobody knows. */
  onHeader: ((header: Stored | undefined) => void) | undefined = undefined;
  readonly #resolve: Settle;
  readonly #reject: Settle;
  /** Of its key, for who is told of its answer; undefined: nobody is. */
  readonly #namespace: string | undefined;
  #signal: AbortSignal | undefined = undefined;
  /** Where this caller's loader runs, whoever's answer or timer lets it begin. */
  readonly #scope: AsyncResource | undefined;

  constructor(key: string, plan: Plan, load: Loader | undefined, full: boolean, namespace: string | undefined) {
    this.key = key;
    this.#namespace = namespace;
    this.plan = plan;
    this.load = load;
    this.full = full;
    this.promise = new Promise(executor);
    this.#resolve = nextResolve;
    this.#reject = nextReject;
    this.#scope = load === undefined ? undefined : new AsyncResource("EverfreshCaller");
  }

  /** Runs `work` in the async context that this caller came from: its request, its transaction, its load. */
  inContext<R>(work: () => R): R {
    return this.#scope === undefined ? work() : this.#scope.runInAsyncScope(work);
  }

  /** Ends the waiting when `signal` fires. */
  listen(signal: AbortSignal): void {
    if ((signal as AbortSignal | null)?.aborted === true) return this.abort(signal.reason, this.key);
    this.#signal = signal;
    listen(signal, this, this.key);
  }

  abort(cause: unknown, key: string): void {
    this.fail(new EverfreshError("EF_ABORTED", "the caller's signal fired", { key, cause }));
  }

  /** Answers with what was read or just stored. */
  answer(value: unknown, stored: Stored, status: Status, why: string | undefined, now: number): void {
    if (!this.#end(status === "stale" ? undefined : stored)) return;
    if (reads.hasSubscribers) this.#tell(status, why);
    if (!this.full) this.#resolve(value);
    else
      this.#resolve({
        value,
        status,
        ageMs: status === "miss" ? 0 : Math.max(0, now - stored.createdAt),
        ttlMs: status === "stale" ? 0 : Math.max(0, stored.freshUntil - now),
        tags: visibleTags(stored.tags),
        why,
      });
  }

  /** Answers with a value that is not stored, or with the lack of one. */
  answerUnstored(value: unknown, status: Status, why: string | undefined): void {
    if (!this.#end(undefined)) return;
    if (reads.hasSubscribers) this.#tell(status, why);
    if (!this.full) this.#resolve(value);
    else this.#resolve({ value, status, ageMs: 0, ttlMs: 0, tags: [], why });
  }

  fail(error: unknown): void {
    if (!this.#end(undefined)) return;
    this.#reject(error);
  }

  #tell(status: Status, why: string | undefined): void {
    if (this.#namespace !== undefined) reads.publish({ namespace: this.#namespace, key: this.key, status, why });
  }

  /** Tells those who wanted to know that this is over; false where it was already. */
  #end(header: Stored | undefined): boolean {
    if (this.done) return false;
    this.done = true;
    this.onKnown?.();
    this.onHeader?.(header);
    if (this.#signal !== undefined) unlisten(this.#signal, this);
    return true;
  }
}

/** The value for each of `callers`: the only one may have it as it is, several get copies. */
export function answerAll(
  callers: readonly Caller[],
  stored: Stored,
  serializer: Serializer | undefined,
  kept: boolean,
  status: Status,
  why: string | undefined,
  now: number,
): void {
  const alone = callers.length === 1 && !kept;
  for (const caller of callers) {
    const value = caller.plan.shared ? stored.shared : alone ? stored.takeLast(serializer) : stored.take(serializer);
    caller.answer(value, stored, status, why, now);
  }
}

/** Gives `caller` the stale value where it may have that when its loader fails, or else the loader's error. */
export function failUnlessStale(
  caller: Caller,
  stale: Stale | undefined,
  error: unknown,
  now: number,
  serializer: Serializer | undefined,
): void {
  if (stale !== undefined && mayHave(caller, stale, caller.plan.errorMs, now, serializer))
    caller.answer(stale.stored.take(serializer), stale.stored, "stale", "the loader failed", now);
  else caller.fail(error);
}

export function failAll(callers: readonly Caller[], error: unknown): void {
  for (const caller of callers) caller.fail(error);
}
