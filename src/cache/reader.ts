/** From a call to a caller of the engine: what is at hand, what must be done first, what a transaction may see. */
import { atHand } from "./at-hand.ts";
import { Batch, type BatchLoader, type BatchOptions } from "./batch.ts";
import { Caller, type EntryAnswer, type Loader } from "./caller.ts";
import type { Shared } from "./create-cache.ts";
import type { Engine } from "./engine.ts";
import type { Stored } from "./envelope.ts";
import { hasOwnKey, rendering, type Inherited } from "./fragments.ts";
import type { Invalidation } from "./invalidation.ts";
import { keptSeconds } from "./judging.ts";
import { checkTags, rawTag, visibleTags, type Keys } from "./keys.ts";
import { nextMoment } from "./moments.ts";
import type { ReadOptions } from "./options.ts";
import type { Plan, Plans } from "./plan.ts";
import { settleAll } from "./settle-all.ts";
import { openTransaction, touchesAny, type OpenTransaction } from "./transactions.ts";

export interface ReaderParts {
  readonly namespace: string;
  readonly shared: Shared;
  readonly keys: Keys;
  readonly engine: Engine;
  readonly plans: Plans;
  readonly invalidation: Invalidation;
}

/** Of a miss: there may be a value, but nobody could be asked whether it is right. */
const isUnknown = / (?:unreachable|unknown)$/;

export class Reader {
  readonly #namespace: string;
  readonly #shared: Shared;
  readonly #keys: Keys;
  readonly #engine: Engine;
  readonly #plans: Plans;
  readonly #invalidation: Invalidation;
  /** Whether anything can be at hand at all. */
  readonly #peeks: boolean;

  constructor({ namespace, shared, keys, engine, plans, invalidation }: ReaderParts) {
    this.#namespace = namespace;
    this.#shared = shared;
    this.#keys = keys;
    this.#engine = engine;
    this.#plans = plans;
    this.#invalidation = invalidation;
    this.#peeks = shared.backend.peek !== undefined || engine.parts.tierMaxAgeMs > 0;
  }

  /**
   * The value, or with `full` an `EntryAnswer`; computed by `load` where there is none.
   *
   * @param prepare is given the caller before it asks
   */
  ask(
    key: string,
    load: Loader | undefined,
    options: ReadOptions | undefined,
    full: boolean,
    prepare?: (caller: Caller) => void,
  ): Promise<unknown> {
    try {
      this.#shared.life.check();
      const wire = this.#keys.value(key);
      const transaction = openTransaction();
      const outer = rendering.current;
      const plan = this.#plans.of(options);
      // Whoever is to be told of the caller needs one.
      if (load !== undefined && prepare === undefined && transaction === undefined && outer === undefined) {
        const stored = this.#atHand(key, wire, plan);
        if (stored !== undefined)
          return Promise.resolve(full ? this.#entryOf(stored, plan) : this.#valueOf(stored, plan));
      }
      let reading: Promise<unknown>;
      if (transaction !== undefined) reading = this.#readInside(transaction, key, wire, load, plan, full, prepare);
      else if (load !== undefined && (outer !== undefined || plan.forceFresh))
        reading = this.#readAfter(key, wire, load, plan, full, prepare, outer);
      else if (outer !== undefined) reading = this.#lookAfter(outer, key, wire, plan, full);
      else return this.#call(wire, new Caller(key, plan, load, full, this.#namespace), prepare);
      return outer === undefined ? reading : outer.during(reading);
    } catch (error) {
      return this.#refuse(error, key, prepare);
    }
  }

  /** The values of `keys`; what is missing is computed by one call of `load`. */
  async askMany<T>(keys: readonly string[], load: BatchLoader<T>, options: BatchOptions): Promise<Map<string, T>> {
    if (typeof options !== "object" || options === null) this.#plans.of(options);
    const unique = [...new Set(keys)];
    const { tags, ...rest } = options;
    const batch = new Batch(unique, load, options.collects === true);
    // All are proven before the first is asked for: others would wait for what nobody is going to compute.
    const reads = unique.map((key): ReadOptions => {
      this.#keys.value(key);
      const own = typeof tags === "function" ? tags(key) : tags;
      return own === undefined ? rest : { ...rest, tags: checkTags(own) };
    });
    const values = await settleAll(
      unique.map((key, index) =>
        this.ask(
          key,
          (context) => batch.want(key, context),
          reads[index],
          false,
          (caller) => {
            caller.batch = batch;
            caller.onKnown = () => batch.known(key);
          },
        ),
      ),
    );
    const found = new Map<string, T>();
    for (const [index, key] of unique.entries()) {
      const value = values[index];
      if (value !== undefined) found.set(key, value as T);
    }
    return found;
  }

  /** Fails a call that has not come to a caller; whoever waits to be told of one is told that it is over. */
  #refuse(error: unknown, key: string, prepare: ((caller: Caller) => void) | undefined): Promise<unknown> {
    const caller = new Caller(key, this.#plans.base, undefined, false, undefined);
    prepare?.(caller);
    caller.fail(error);
    return caller.promise;
  }

  /** What {@link ask} would answer at once, with nobody to be asked; undefined: it has to ask. */
  peek(key: string, options: ReadOptions | undefined): EntryAnswer<unknown> | undefined {
    if (openTransaction() !== undefined || rendering.current !== undefined) return undefined;
    const plan = this.#plans.of(options);
    const stored = this.#atHand(key, this.#keys.value(key), plan);
    return stored && this.#entryOf(stored, plan);
  }

  #atHand(key: string, wire: string, plan: Plan): Stored | undefined {
    if (!this.#peeks || plan.forceFresh || plan.schema !== undefined) return undefined;
    // One that has fired ends the call, and what is none is refused.
    if (plan.signal !== undefined && !(plan.signal instanceof AbortSignal && !plan.signal.aborted)) return undefined;
    const stored = atHand(this.#engine, key, wire, plan);
    if (stored === undefined || this.#engine.watch !== undefined) return undefined;
    this.#engine.tellHit(key);
    return stored;
  }

  #valueOf(stored: Stored, plan: Plan): unknown {
    return plan.shared ? stored.shared : stored.take(this.#engine.serializer);
  }

  #entryOf(stored: Stored, plan: Plan): EntryAnswer<unknown> {
    const now = this.#shared.clock.now();
    return {
      value: this.#valueOf(stored, plan),
      status: "hit",
      ageMs: Math.max(0, now - stored.createdAt),
      ttlMs: stored.freshUntil - now,
      tags: visibleTags(stored.tags),
      why: this.#engine.parts.tierMaxAgeMs > 0 ? "not asked" : undefined,
    };
  }

  #call(wire: string, caller: Caller, prepare: ((caller: Caller) => void) | undefined): Promise<unknown> {
    prepare?.(caller);
    const { signal } = caller.plan;
    if (signal !== undefined) caller.listen(signal);
    if (!caller.done) this.#engine.ask(wire, caller);
    return caller.promise;
  }

  /** A read that must do something first; its caller comes only then. */
  async #readAfter(
    key: string,
    wire: string,
    load: Loader,
    plan: Plan,
    full: boolean,
    prepare: ((caller: Caller) => void) | undefined,
    outer: Inherited | undefined,
  ): Promise<unknown> {
    try {
      if (plan.forceFresh) await this.#removeKeeping(key, wire, plan);
      if (outer !== undefined && hasOwnKey(key)) await this.#noteBeside(outer, wire);
    } catch (error) {
      return await this.#refuse(error, key, prepare);
    }
    const caller = new Caller(key, plan, load, full, this.#namespace);
    if (outer !== undefined) caller.onHeader = (header) => outer.add(header, this.#engine.home, wire);
    return await this.#call(wire, caller, prepare);
  }

  /**
   * A look for a value while another one is computed. Where nobody could be asked, or the look was given up, it is not known what
   * that is made from.
   */
  async #lookAfter(outer: Inherited, key: string, wire: string, plan: Plan, full: boolean): Promise<unknown> {
    if (hasOwnKey(key)) await this.#noteBeside(outer, wire);
    const { home } = this.#engine;
    const caller = new Caller(key, plan, undefined, true, this.#namespace);
    caller.onHeader = (header) => header && outer.add(header, home, wire);
    let answer: EntryAnswer<unknown>;
    try {
      answer = (await this.#call(wire, caller, undefined)) as EntryAnswer<unknown>;
    } catch (error) {
      outer.add(undefined, home, wire);
      throw error;
    }
    if (answer.status === "bypass" || isUnknown.test(answer.why ?? "")) outer.add(undefined, home, wire);
    else if (answer.status === "miss") outer.missed(home);
    return full ? answer : answer.value;
  }

  /** A read inside an open transaction: a hit of what that did not touch, or computed past the cache and not stored. */
  async #readInside(
    transaction: OpenTransaction,
    key: string,
    wire: string,
    load: Loader | undefined,
    plan: Plan,
    full: boolean,
    prepare: ((caller: Caller) => void) | undefined,
  ): Promise<unknown> {
    let found: EntryAnswer<unknown> | undefined;
    try {
      if (plan.forceFresh) await this.#removeKeeping(key, wire, plan);
      else if (!transaction.touches(this.#namespace, key, plan.tags))
        found = await this.#lookInside(transaction, key, wire, plan, load !== undefined);
    } catch (error) {
      return await this.#refuse(error, key, prepare);
    }
    if (found !== undefined) {
      this.#engine.tellHit(key);
      const answered = new Caller(key, plan, load, full, undefined);
      prepare?.(answered);
      answered.onKnown?.();
      return full ? found : found.value;
    }
    // What is rendered around this read holds what may never be committed, so it is not stored either.
    rendering.current?.note(rawTag(this.#keys.beside(this.#shared.backend, wire)), undefined);
    const caller = new Caller(key, plan, load, full, this.#namespace);
    if (plan.signal !== undefined) caller.listen(plan.signal);
    const why = "inside a transaction";
    if (load === undefined) caller.answerUnstored(undefined, "bypass", why);
    else
      this.#shared.loads.run(load, plan, key, undefined).then(
        ({ value }) => caller.answerUnstored(value, "bypass", why),
        (error: unknown) => caller.fail(error),
      );
    return await caller.promise;
  }

  /** A hit that the transaction has not touched, nor anything that it was made from. */
  async #lookInside(
    transaction: OpenTransaction,
    key: string,
    wire: string,
    plan: Plan,
    isVersioned: boolean,
  ): Promise<EntryAnswer<unknown> | undefined> {
    const outer = rendering.current;
    if (outer !== undefined && hasOwnKey(key)) await this.#noteBeside(outer, wire);
    const looking = new Caller(key, plan, undefined, true, undefined);
    let stored: Stored | undefined;
    let version: number | undefined;
    looking.onHeader = (header) => {
      stored = header;
      // Now, while its bytes are lent.
      version = header?.version;
    };
    const found = (await this.#call(wire, looking, undefined)) as EntryAnswer<unknown>;
    if (found.status !== "hit" || stored === undefined) return undefined;
    // Who only looks is not asked for a version; who brings a loader has one.
    if (isVersioned && version !== plan.version) return undefined;
    if (touchesAny(transaction, this.#namespace, key, stored.tags)) return undefined;
    outer?.add(stored, this.#engine.home, wire);
    return found;
  }

  /**
   * The value from before is kept for those who allow it: what is computed now may fail. The caller's signal ends its waiting; the
   * invalidation goes on.
   */
  async #removeKeeping(key: string, wire: string, plan: Plan): Promise<void> {
    const { staleMs, errorMs, signal } = plan;
    const removing = this.#invalidation.remove(wire, keptSeconds(staleMs, errorMs));
    if (signal === undefined) return void (await removing);
    const waiting = new Caller(key, plan, undefined, false, undefined);
    removing.then(
      () => waiting.answerUnstored(undefined, "miss", undefined),
      (error: unknown) => waiting.fail(error),
    );
    waiting.listen(signal);
    await waiting.promise;
  }

  /** Notes the generation beside a key, which must be known before the key is read. */
  async #noteBeside(outer: Inherited, wire: string): Promise<void> {
    const { backend, generations } = this.#shared;
    const beside = this.#keys.beside(backend, wire);
    const generation = await generations.settle(generations.read(beside, nextMoment()));
    outer.note(rawTag(beside), generation);
  }
}
