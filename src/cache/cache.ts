/**
 * The face of the cache: what users call. What it promises is in `docs/promise.md`.
 *
 * This file turns calls into callers for the engine, deliveries and writes; it decides nothing about freshness.
 */
import type { ServerHealth } from "../backend/index.ts";
import { EverfreshError, shown } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { checkNames } from "../option-names.ts";
import { checkFunction, checkKeys, checkList, noFunction } from "./arguments.ts";
import type { EntryAnswer, LoadContext } from "./caller.ts";
import type { Shared } from "./create-cache.ts";
import type { BatchLoader, BatchOptions } from "./batch.ts";
import type { Engine } from "./engine.ts";
import { argumentsText, defineEntry, type Entry, type EntryOptions } from "./entry.ts";
import { fragmentPrefix } from "./fragments.ts";
import { Invalidation, placesOf } from "./invalidation.ts";
import { keptSeconds } from "./judging.ts";
import { checkNamespace, checkTags, type Keys } from "./keys.ts";
import type { ReadOptions, Relaxations, Ttl, ValueOptions } from "./options.ts";
import { Plans, ttlMs } from "./plan.ts";
import { Reader } from "./reader.ts";
import { settleAll } from "./settle-all.ts";
import { startMonitor, type Monitor, type MonitorOptions } from "./monitor.ts";
import { Writes } from "./writes.ts";

/** Options of `set` and `add`. */
export interface WriteOptions extends Pick<ValueOptions, "ttl" | "jitter" | "version"> {
  readonly tags?: readonly string[] | undefined;
}

/** What `health()` tells. */
export interface CacheHealth {
  readonly servers: readonly (ServerHealth & {
    /** Invalidations that this server has not confirmed; nothing is read from it before it has. */
    readonly pendingInvalidations: number;
  })[];
}

const tagsChannel = eventChannel("everfresh:cache:tags");

/** A cache. Made by `createCache`. */
export class Cache {
  /** The namespace of its keys. */
  readonly name: string;
  readonly #shared: Shared;
  readonly #keys: Keys;
  readonly #engine: Engine;
  readonly #writes: Writes;
  readonly #plans: Plans;
  readonly #invalidation: Invalidation;
  readonly #reader: Reader;

  /** Use `createCache`. */
  constructor(namespace: string, shared: Shared) {
    const { backend, clock, random, options, leaseSeconds, waitMs } = shared;
    this.name = namespace;
    this.#shared = shared;
    this.#plans = new Plans(shared.plan);
    const engine = shared.engines.of(namespace, shared);
    const { keys } = engine.parts;
    const { serializer } = options;
    this.#keys = keys;
    this.#engine = engine;
    const plans = this.#plans;
    const invalidation = new Invalidation(shared, keys, engine);
    this.#invalidation = invalidation;
    this.#reader = new Reader({ namespace, shared, keys, engine, plans, invalidation });
    this.#writes = new Writes({
      engine,
      backend,
      keys,
      clock,
      random,
      serializer,
      leaseSeconds,
      waitMs,
      remove: async (wire) => {
        await invalidation.remove(wire, 0);
      },
      removePrevious: (wire) => invalidation.removePrevious(wire),
      removeBeside: (wire) => invalidation.removeBeside(wire),
    });
  }

  // -- reading -------------------------------------------------------------------------------------------------

  /** The value, or undefined where there is none. `null`, `false`, `0`, `""` and `[]` are values. */
  get<T = unknown>(key: string, options?: Pick<ReadOptions, "schema" | "signal">): Promise<T | undefined> {
    return this.#reader.ask(key, undefined, options, false) as Promise<T | undefined>;
  }

  /** Like {@link get}, with where the value came from, its age, and why there is none. One that lacks one of `tags` is a miss. */
  getEntry<T = unknown>(
    key: string,
    options?: Pick<ReadOptions, "schema" | "signal" | "tags">,
  ): Promise<EntryAnswer<T>> {
    return this.#reader.ask(key, undefined, options, true) as Promise<EntryAnswer<T>>;
  }

  /** Whether there is a value. */
  async has(key: string): Promise<boolean> {
    return (await this.getEntry(key)).status === "hit";
  }

  /**
   * Returns the cached value; where there is none computes it, stores it and returns it.
   *
   * However many callers ask at once, in however many processes, `load` runs once. A value that was invalidated
   * while it was computed goes only to callers who came before the computation began, and is not stored. What a miss
   * returns is what a hit would return: a copy of plain data, the caller's own. `undefined` is not stored.
   *
   * Nor is what would not come back as it is: functions, and instances of classes (a `URL`, a row with methods). It is computed
   * on every call; the channel `everfresh:cache:load` says so (`outcome: "unstored"`, and `why`), and `set` refuses it.
   *
   * @example
   * const song = await cache.getOrSet("song:7", () => db.song(7), { ttl: "5m", tags: ["songs"] });
   *
   * @throws what `load` throws, unchanged; EverfreshError `EF_LOAD_TIMEOUT`, `EF_ABORTED`, `EF_OPTION`, `EF_KEY`. Never
   *   because the cache failed: then the value is computed. Only with `forceFresh`, see {@link refresh}
   */
  getOrSet<T>(key: string, load: (context: LoadContext) => T | Promise<T>, options?: ReadOptions): Promise<T> {
    if (typeof load !== "function") return Promise.reject(noFunction(load, "the loader of getOrSet"));
    return this.#reader.ask(key, load, options, false) as Promise<T>;
  }

  /** Like {@link getOrSet}, with where the value came from and its age. */
  getOrSetEntry<T>(
    key: string,
    load: (context: LoadContext) => T | Promise<T>,
    options?: ReadOptions,
  ): Promise<EntryAnswer<T> & { readonly value: T }> {
    if (typeof load !== "function") return Promise.reject(noFunction(load, "the loader of getOrSet"));
    return this.#reader.ask(key, load, options, true) as Promise<EntryAnswer<T> & { readonly value: T }>;
  }

  /**
   * What {@link getOrSetEntry} would answer at once, because it is in this process and nobody needs to be asked (the embedded
   * memory, `local: { maxAge }`); undefined: it has to ask.
   */
  peekEntry<T>(key: string, options?: ReadOptions): (EntryAnswer<T> & { readonly value: T }) | undefined {
    return this.#reader.peek(key, options) as (EntryAnswer<T> & { readonly value: T }) | undefined;
  }

  /** The values of those keys that have one. One round trip per server. */
  async getMany<T = unknown>(keys: readonly string[]): Promise<Map<string, T>> {
    checkKeys(keys, "getMany");
    const values = await Promise.all(keys.map((key) => this.get<T>(key)));
    const found = new Map<string, T>();
    for (const [index, key] of keys.entries()) {
      const value = values[index];
      if (value !== undefined) found.set(key, value);
    }
    return found;
  }

  /**
   * Returns the values of many keys; what is missing is computed by one call of `load`, stored, and returned.
   *
   * Each key has a lease of its own: keys that another caller or process computes are waited for, not computed twice.
   * `load` gets the keys that are to be computed here and answers with a map, or with a list in their order; what it
   * leaves out is not stored and not in the result. With `tags` as a function each value has tags of its own; what the
   * loader says to its context holds for all of them.
   */
  async getOrSetMany<T>(
    keys: readonly string[],
    load: BatchLoader<T>,
    options: BatchOptions = {},
  ): Promise<Map<string, T>> {
    checkKeys(keys, "getOrSetMany");
    checkFunction(load, "the loader of getOrSetMany");
    return await this.#reader.askMany(keys, load, options);
  }

  // -- writing -------------------------------------------------------------------------------------------------

  /**
   * Stores a value of the caller's own. For what is computed from a source use {@link getOrSet} and
   * {@link refresh}: a plain write that arrives late would bring back the past.
   *
   * @returns whether it was stored; where it was not, the value from before is gone
   * @throws EverfreshError `EF_VALUE` for what would not come back as it was; `EF_INVALIDATION_PENDING` where it
   *   was not stored and the server could not confirm that the old value is gone
   */
  async set(key: string, value: unknown, options?: WriteOptions): Promise<boolean> {
    this.#shared.life.check();
    return await this.#writes.set(key, value, this.#plans.of(options));
  }

  /** Stores only where nothing is. Returns whether it did. */
  async add(key: string, value: unknown, options?: WriteOptions): Promise<boolean> {
    this.#shared.life.check();
    return await this.#writes.add(key, value, this.#plans.of(options));
  }

  /** Stores many; returns the keys that could not be stored, whose values from before are gone. */
  async setMany(entries: Iterable<readonly [string, unknown]>, options?: WriteOptions): Promise<string[]> {
    const list = [...entries];
    // All are proven before the first is sent: none may be under way when the call is refused.
    for (const [key] of list) this.#keys.value(key);
    const stored = await settleAll(list.map(([key, value]) => this.set(key, value, options)));
    return list.filter((_, index) => !stored[index]).map(([key]) => key);
  }

  /** Gives what is there another time to live. Returns whether something was there. */
  async touch(key: string, ttl: Ttl): Promise<boolean> {
    this.#shared.life.check();
    return await this.#writes.touch(key, ttlMs(ttl), this.#plans.base);
  }

  /**
   * Replaces what is there by what `change` makes of it, atomically: when somebody else writes meanwhile, `change` is called
   * again with their value. What it returns is stored with the time to live that was left, or `ttl`; `undefined` removes it.
   *
   * @returns what `change` returned; undefined where nothing is there
   * @throws EverfreshError `EF_SERVER_DOWN` when the server of the key or of one of its tags cannot be asked, `EF_OVERLOADED`
   *   when others kept writing; `EF_TIMEOUT` or `EF_CONNECTION_LOST` when the answer was lost, and it may have been done;
   *   `EF_INVALIDATION_PENDING` when it was done, and what was made from the value from before may still be read
   */
  async update<T>(
    key: string,
    change: (value: T) => T | undefined,
    options: { ttl?: Ttl } = {},
  ): Promise<T | undefined> {
    this.#shared.life.check();
    checkFunction(change, "what changes the value in update");
    checkNames(options, { ttl: true }, "update");
    const ttl = options.ttl === undefined ? undefined : ttlMs(options.ttl);
    return (await this.#writes.update(key, change as (value: unknown) => unknown, ttl, this.#plans.base)) as
      | T
      | undefined;
  }

  /**
   * Adds to a number, atomically, keeping its time to live.
   *
   * @returns the sum; undefined where nothing is there and no `initial` was given, which is then stored as it is
   * @throws as {@link update}; EverfreshError `EF_VALUE` for what is no number
   */
  async incr(key: string, delta = 1, options: { initial?: number; ttl?: Ttl } = {}): Promise<number | undefined> {
    this.#shared.life.check();
    checkNames(options, { initial: true, ttl: true }, "incr");
    if (!Number.isFinite(delta)) throw new EverfreshError("EF_OPTION", `delta is a finite number; got ${shown(delta)}`);
    const { initial, ttl } = options;
    if (initial !== undefined && !Number.isFinite(initial))
      throw new EverfreshError("EF_OPTION", `initial is a finite number; got ${shown(initial)}`);
    const plan = this.#plans.of(ttl === undefined ? undefined : { ttl });
    return await this.#writes.count(key, delta, initial, plan);
  }

  /** Takes from a number; see {@link incr}. It may become negative. */
  async decr(key: string, delta = 1, options: { initial?: number; ttl?: Ttl } = {}): Promise<number | undefined> {
    // A text would become a number by that.
    return await this.incr(key, typeof delta === "number" ? -delta : delta, options);
  }

  /**
   * Removes a value: {@link invalidate} that keeps nothing for those who allow a stale one. Returns whether anything was there,
   * be it a value that could not have been served any more or one that is being computed.
   */
  async delete(key: string): Promise<boolean> {
    this.#shared.life.check();
    return await this.#invalidation.remove(this.#keys.value(key), 0);
  }

  /** Removes many values: as {@link delete}, it keeps nothing for those who allow a stale one. */
  async deleteMany(keys: readonly string[]): Promise<void> {
    checkKeys(keys, "deleteMany");
    this.#shared.life.check();
    await this.#removeAll(keys, 0);
  }

  // -- invalidating --------------------------------------------------------------------------------------------

  /**
   * Says that what these keys were computed from has changed. Resolves when their servers have confirmed: no read
   * that starts from then on, in any process, returns a value from before.
   *
   * @param options the relaxations that the values have besides those of the cache: for so long the value from before is
   *   kept, for those who allow it. Entries give theirs. Readers count from theirs how long ago this was, so give the same:
   *   a value that is kept for longer than its reader's relaxations is computed, but for the last seconds of that time
   * @throws EverfreshError `EF_INVALIDATION_PENDING` when a server could not confirm in time; it is retried, and
   *   this process reads nothing from that server before
   */
  async invalidate(keys: string | readonly string[], options?: Relaxations): Promise<void> {
    this.#shared.life.check();
    const { staleMs, errorMs } = this.#plans.of(options);
    await this.#removeAll(keys, keptSeconds(staleMs, errorMs));
  }

  async #removeAll(keys: string | readonly string[], keepSeconds: number): Promise<void> {
    const list = typeof keys === "string" ? [keys] : keys;
    checkList(list, `invalidate takes a key or a list of keys`);
    // All are proven before the first is sent: none may be under way when the call is refused.
    const wires = list.map((key) => this.#keys.value(key));
    await settleAll(wires.map((wire) => this.#invalidation.remove(wire, keepSeconds)));
  }

  /** Like {@link invalidate}, for all values that have one of these tags. */
  async invalidateTags(tags: readonly string[]): Promise<void> {
    this.#shared.life.check();
    checkList(tags, `invalidateTags takes a list of tags, such as ["songs"]`);
    const confirmed: string[] = [];
    const renew = async (tag: string): Promise<void> => {
      await this.#invalidation.renewTag(tag, () => this.#tellOf([tag]));
      confirmed.push(tag);
    };
    try {
      await settleAll(checkTags(tags).map(renew));
    } finally {
      if (confirmed.length > 0) this.#tellOf(confirmed);
    }
  }

  #tellOf(tags: readonly string[]): void {
    if (tagsChannel.hasSubscribers) tagsChannel.publish({ namespace: this.name, tags });
  }

  /**
   * Invalidates and computes again: after a write, the next read is already a hit.
   *
   * @throws as {@link getOrSet}, and EverfreshError `EF_INVALIDATION_PENDING` when the server could not confirm in time that
   *   the old value is gone: others may still read it, so nothing is computed; see {@link invalidate}
   */
  async refresh<T>(key: string, load: (context: LoadContext) => T | Promise<T>, options?: ReadOptions): Promise<T> {
    return await this.getOrSet(key, load, { ...options, forceFresh: true });
  }

  /** Invalidates everything in this namespace and nothing else, at the cost of one write per server. */
  async clear(): Promise<void> {
    this.#shared.life.check();
    await this.#invalidation.renewSpace();
  }

  // -- declaring -----------------------------------------------------------------------------------------------

  /**
   * Declares a value once: how it is named, computed and kept, so that reads and writes cannot disagree about it.
   *
   * @example
   * const queue = cache.entry("queue", { load: (list: string) => db.items(list), ttl: "10m", tags: ["queue_item"] });
   * await queue.get("main");
   * await queue.refresh("main"); // after a write
   */
  entry<Args extends readonly unknown[], T>(name: string, options: EntryOptions<Args, T>): Entry<Args, T> {
    return defineEntry(this, name, options);
  }

  /**
   * A function whose results are cached by its arguments, with `refresh`, `invalidate`, `getEntry` and `key` of its
   * own. The name is part of the key, and must be given: names of functions do not survive minifying.
   */
  wrap<Args extends readonly unknown[], T>(
    name: string,
    load: (...args: Args) => T | Promise<T>,
    options: Omit<EntryOptions<Args, T>, "load" | "loadWith" | "loadMany"> = {},
  ): ((...args: Args) => Promise<T>) & Omit<Entry<Args, T>, "get"> {
    checkFunction(load, "what wrap takes after the name");
    const entry = defineEntry<Args, T>(this, name, { ...options, load });
    return Object.assign((...args: Args) => entry.get(...args), entry);
  }

  /**
   * A piece of a page: text that `render` makes and that is kept by its name and what it varies on.
   *
   * A fragment takes over the tags of the fragments that are rendered within it. One that is rendered anew by `forceFresh` does not
   * tell those around it; the invalidation of its tags does. Everybody who may see the page gets the same text: whatever it depends
   * on, the user included, belongs into `varyOn`.
   *
   * @example
   * const html = await cache.fragment("song", [song.id, locale], () => renderSong(song), { tags: ["songs"] });
   */
  async fragment(
    name: string,
    varyOn: readonly unknown[],
    render: (context: LoadContext) => string | Promise<string>,
    options?: ReadOptions,
  ): Promise<string> {
    checkList(varyOn, "a fragment takes its name, a list of what it varies on, and the function that renders it");
    checkFunction(render, "what renders a fragment");
    const key = `${fragmentPrefix}${argumentsText([name, ...varyOn])}`;
    return (await this.#reader.ask(key, render, { ...options, collects: true }, false)) as string;
  }

  /** Recomputes a sample of hits off the request path and compares: stale reads per million as a number. */
  monitor(options: MonitorOptions = {}): Monitor {
    const { clock, random, options: own } = this.#shared;
    return startMonitor(this.#engine, this.#keys, clock, random, own.serializer, options);
  }

  /**
   * A cache in a namespace of its own below this one: `shop` and `eu` make `shop/eu`. Clearing one leaves the other. A name may
   * hold a `/` itself, and `eu/de` here is `de` in `eu`: take none out of names that others choose, such as your customers.
   */
  namespace(name: string, options: ValueOptions = {}): Cache {
    return new Cache(`${this.name}/${checkNamespace(name)}`, { ...this.#shared, plan: this.#plans.of(options) });
  }

  /** The state of every server. */
  health(): CacheHealth {
    const { backend, deliveries } = this.#shared;
    const pending = deliveries.pending();
    const servers = new Map<string, ServerHealth>();
    // One that is in both sets while they change is told of once, as the present set sees it.
    for (const server of placesOf(backend).flatMap((place) => place.servers()))
      if (!servers.has(server.name)) servers.set(server.name, server);
    return {
      servers: [...servers.values()].map((server) => ({
        ...server,
        pendingInvalidations: pending.get(server.name) ?? 0,
      })),
    };
  }

  /** Closes the backend, and with it every cache that uses it; the signals of loaders that are under way fire. */
  async close(): Promise<void> {
    if (this.#shared.life.closed) return;
    this.#shared.life.closed = true;
    this.#shared.loads.close();
    this.#shared.deliveries.close();
    await this.#shared.backend.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
