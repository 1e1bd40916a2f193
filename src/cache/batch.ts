/**
 * One loader call for all that is missing of a list of keys.
 *
 * Each key has a lookup and a lease of its own; the loader is called once, when it is known of every key whether it is
 * there, is computed by somebody else, or is to be computed here. Keys that turn up later (another process died with
 * their lease) are loaded together with those that turn up in the same tick.
 *
 * Where all of them are computed without the cache, the call takes a turn (`maxConcurrentLoads`). Where one is computed under
 * a lease it takes none: others wait for that lease.
 */
import { AsyncResource } from "node:async_hooks";
import { EverfreshError, shown } from "../errors.ts";
import type { Batched, LoadContext, TakesTurns } from "./caller.ts";
import { InheritedByAll, rendering } from "./fragments.ts";
import type { ReadOptions, Ttl } from "./options.ts";

/** Computes many values: a map by key, or a list in the order of the keys. What is undefined is not stored. */
export type BatchLoader<T> = (
  keys: readonly string[],
  context: LoadContext,
) => BatchResult<T> | Promise<BatchResult<T>>;
export type BatchResult<T> = ReadonlyMap<string, T> | readonly (T | undefined)[];

/** Those of one read; with a function for `tags` each value has tags of its own. */
export type BatchOptions = Omit<ReadOptions, "tags"> & {
  readonly tags?: readonly string[] | ((key: string) => readonly string[]) | undefined;
};

interface Wanted {
  readonly key: string;
  readonly context: LoadContext;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class Batch<T> implements Batched {
  readonly #load: BatchLoader<T>;
  readonly #collects: boolean;
  /** Keys of which nothing is known yet. */
  readonly #unknown: Set<string>;
  #wanted: Wanted[] = [];
  #scheduled = false;
  /** How many of the wanted are computed without the cache, and who hands out turns for that. */
  #bypassing = 0;
  #turns: TakesTurns | undefined;
  /** Somebody waits for it who may have the turn that it would wait for. */
  #hurried = false;
  #begin: (() => void) | undefined;
  /** Where the loader runs, whichever key's answer comes last. */
  readonly #scope = new AsyncResource("EverfreshBatch");

  /** @param collects whether the values take over the tags of what is read while they are computed */
  constructor(keys: Iterable<string>, load: BatchLoader<T>, collects: boolean) {
    this.#unknown = new Set(keys);
    this.#load = load;
    this.#collects = collects;
  }

  /** What became of `key` is known: it is there, or somebody else computes it. */
  known(key: string): void {
    if (this.#unknown.delete(key)) this.#schedule();
  }

  bypassed(turns: TakesTurns): void {
    this.#turns = turns;
    this.#bypassing++;
  }

  hurry(): void {
    this.#hurried = true;
    this.#begin?.();
  }

  /** The value of `key`, computed together with the others. */
  want(key: string, context: LoadContext): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#wanted.push({ key, context, resolve, reject });
      this.#unknown.delete(key);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#unknown.size > 0 || this.#wanted.length === 0) return;
    this.#scheduled = true;
    process.nextTick(() => this.#scope.runInAsyncScope(() => void this.#run()));
  }

  async #run(): Promise<void> {
    this.#scheduled = false;
    const wanted = this.#wanted;
    this.#wanted = [];
    const takesTurn = this.#bypassing === wanted.length && !this.#hurried;
    this.#bypassing = 0;
    const compute = (): Promise<void> => this.#compute(wanted.filter(({ context }) => !isGivenUp(context)));
    if (takesTurn && this.#turns !== undefined) await this.#turns.run(compute, (hurry) => (this.#begin = hurry));
    else await compute();
  }

  async #compute(wanted: readonly Wanted[]): Promise<void> {
    const [first] = wanted;
    if (first === undefined) return;
    try {
      const keys = wanted.map(({ key }) => key);
      const all = wanted.map((one) => one.context);
      const context = all.length === 1 ? first.context : new ContextOfAll(first.context.signal, all);
      const work = (): BatchResult<T> | Promise<BatchResult<T>> => this.#load(keys, context);
      const result = await (this.#collects ? context.within(work) : work());
      checkResult(result, keys.length);
      for (const [index, { key, resolve }] of wanted.entries()) resolve(pick(result, key, index));
    } catch (error) {
      for (const { reject } of wanted) reject(error);
    }
  }
}

/** What a loader says of one value that is computed together with others, it says of all of them. */
class ContextOfAll implements LoadContext {
  readonly signal: AbortSignal;
  readonly stale = undefined;
  readonly #all: readonly LoadContext[];

  constructor(signal: AbortSignal, all: readonly LoadContext[]) {
    this.signal = signal;
    this.#all = all;
  }

  setTtl(ttl: Ttl): void {
    for (const context of this.#all) context.setTtl(ttl);
  }

  addTags(tags: readonly string[]): void {
    for (const context of this.#all) context.addTags(tags);
  }

  skip(): void {
    for (const context of this.#all) context.skip();
  }

  within<T>(work: () => T): T {
    const inherited = this.#all.map((context) => context.within(() => rendering.current));
    return rendering.within(new InheritedByAll(inherited.filter((one) => one !== undefined)), work);
  }
}

/** Whether the deadline of its callers has passed, while it waited for a turn, or for what becomes of the other keys. */
function isGivenUp({ signal }: LoadContext): boolean {
  return signal.reason instanceof EverfreshError && signal.reason.code === "EF_LOAD_TIMEOUT";
}

/**
 * Refuses what is no map and no list with a place for each key: rows in an order of their own, without those that are not
 * there, would be kept under the keys of others.
 */
export function checkResult(result: unknown, count: number): void {
  if (
    Array.isArray(result) ? result.length === count : typeof result === "object" && result !== null && "get" in result
  )
    return;
  const given = Array.isArray(result) ? `a list of ${result.length}` : shown(result);
  throw new EverfreshError(
    "EF_OPTION",
    `a loader of many answers with a map by key, or a list with a place for each key (${count}) in their order; got ${given}`,
  );
}

function pick<T>(result: BatchResult<T>, key: string, index: number): T | undefined {
  return "get" in result ? result.get(key) : result[index];
}
