/**
 * A small world in which the real cache runs: processes, servers, a database, and somebody who decides what happens next.
 *
 * Everything that takes time is an event: an operation begins, a server executes a command, a process hears a reply, a
 * loader reads the source, a loader's answer arrives, a writer commits, time passes, something breaks. `options()` lists
 * the events that are possible now; `step()` lets one of them happen and then waits until nothing moves any more. Whoever
 * picks the events picks the order of everything.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { AdaptiveBackend } from "#src/backend/adaptive.ts";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { classicBackend, type Backend } from "#src/backend/index.ts";
import { metaBackend } from "#src/backend/memcached.ts";
import { createCache, type Cache, type Serializer } from "#src/cache/index.ts";
import { placement } from "#src/client/ring.ts";
import { parseServers } from "#src/client/address.ts";
import { createOutbox, tag, type KyselyLike, type Outbox } from "everfresh/outbox";
import { SimDatabase, type SimTransaction } from "./database.ts";
import { SimProcess } from "./process.ts";
import { quiet } from "./quiet.ts";
import { SimServer } from "./server.ts";
import { Truth } from "./truth.ts";
import type { Actor, Break, Deed, WorldOptions } from "./world-options.ts";

const always = () => true;

/** The ways to read; a page shows the value of the key, which it reads through the cache. */
const readings = [
  "read",
  "readPage",
  "readUnstored",
  "readBare",
  "get",
  "readShown",
] as const satisfies readonly Deed[];
type Reading = (typeof readings)[number];

function isReading(does: Deed): does is Reading {
  return (readings as readonly Deed[]).includes(does);
}

/** One thing that can happen now. */
export interface Option {
  readonly label: string;
  readonly happen: () => void;
  readonly isBreak?: boolean;
}

interface ActorState {
  readonly actor: Actor;
  /** Index of what it does next. */
  next: number;
  busy: boolean;
}

interface Pending {
  readonly process: number;
  readonly label: string;
  /** What it answers is a part of what the process has been told. */
  readonly happen: () => unknown;
  /** Whether it can happen now. */
  readonly when: () => boolean;
}

const leaseMs = 2_000;
/** With chunks: a value of 16 characters and what is around it are two chunks of this size. */
const limitBytes = 43;
const padded: Serializer = {
  encode: (value) => Buffer.from(String(value).padStart(16)),
  decode: (bytes) => Number(Buffer.from(bytes).toString()),
};
/** Time passes early for renewals, polls, retries and deadlines of invalidations; not for the hour that a load may take. */
const longestEarlyMs = 10_000;

export class World {
  readonly processes: SimProcess[];
  readonly servers: SimServer[];
  readonly caches: Cache[];
  readonly #options: WorldOptions;
  readonly #source = new Map<string, Truth>();
  /** Answers of the database that are on their way, by process. */
  readonly #pending: Pending[] = [];
  readonly #database: SimDatabase | undefined;
  readonly #outboxes: { readonly handle: KyselyLike; readonly outbox: Outbox }[] = [];
  readonly #actors: ActorState[];
  readonly #broken: Partial<Record<Break, number>> = {};
  readonly log: string[] = [];
  nowMs = 1_000_000;
  /** Loads that began, by key. */
  readonly loads = new Map<string, number>();
  invalidations = 0;
  readonly #loading = new Map<string, Promise<number>>();
  #early = 0;
  #brokenInAll = 0;
  failure: Error | undefined;

  constructor(options: WorldOptions) {
    this.#options = options;
    const names = Array.from({ length: options.servers ?? 1 }, (_, index) => `s${index}:1`);
    const now = () => this.nowMs;
    this.servers = names.map((name) => new SimServer(name, now));
    this.processes = Array.from(
      { length: options.processes },
      (_, index) => new SimProcess(String.fromCharCode(97 + index), this.servers, options.lanes ?? 1, now),
    );
    this.caches = this.processes.map((process, index) => {
      process.keepsLeases = options.variant?.keepsLeases ?? false;
      process.isOld = options.oldServers ?? false;
      const backend = this.#backendOf(process, index);
      return createCache({
        backend: options.variant?.backend?.(backend, process) ?? backend,
        namespace: "w",
        local:
          options.localMaxAgeMs === undefined
            ? (options.local ?? false)
            : { maxAge: { milliseconds: options.localMaxAgeMs } },
        lease: { milliseconds: leaseMs },
        clock: process.clock,
        random: process.random,
        ttl: "1h",
        hardTimeout: "1h",
        ...(options.chunked && { serializer: padded }),
        ...(options.staleWhileRevalidate && { staleWhileRevalidate: "1m" }),
      });
    });
    if (options.outbox !== undefined) {
      const database = new SimDatabase(
        (process, label, happen, when) => this.#soon(process, label, happen, when),
        now,
        (key) => {
          this.#sourceOf(key).version += 1;
        },
      );
      this.#database = database;
      for (const [index, cache] of this.caches.entries()) {
        const handle = database.handleOf(index);
        const { clock, random } = this.processes[index] as SimProcess;
        const relay = this.#hasRelay(index);
        const caches = options.variant?.told?.(cache) ?? cache;
        this.#outboxes.push({ handle, outbox: createOutbox({ db: handle, caches, relay, clock, random }) });
      }
    }
    if (options.warm)
      for (const server of this.servers) server.execute({ kind: "set", key: "w!0", value: "original", flags: {} });
    this.#actors = options.actors.map((actor) => ({ actor, next: 0, busy: false }));
  }

  /** The backend that `memcached()` makes, on the servers of this process. */
  #backendOf(process: SimProcess, index: number): Backend {
    const { classic, moves, chunked, variant } = this.#options;
    const itemLimitBytes = chunked ? limitBytes : 1_000_000;
    const { random } = process;
    const over = (numbers: readonly number[] | undefined, previous?: Backend): Backend => {
      const servers = this.servers.filter((_, number) => numbers?.includes(number) ?? true);
      // The real placement of keys.
      const home = placement(parseServers(servers.map(({ name }) => name)), { kind: "ketama" });
      const meta = metaBackend(process.client(servers, home), { itemLimitBytes });
      const plain = classicBackend(process.classicClient(servers, home), { itemLimitBytes, random });
      const adaptive = new AdaptiveBackend(meta, plain, previous, () => (classic ? "text" : "meta"));
      if (classic) adaptive.useClassic();
      return new ChunkingBackend(adaptive, variant?.chunkIds ?? random);
    };
    if (moves === undefined) return over(undefined);
    const [own, other] = index % 2 === 0 ? [moves.from, moves.to] : [moves.to, moves.from];
    return over(own, variant?.forgetsOtherServers ? undefined : over(other));
  }

  /** Ends what the world holds outside of itself. */
  close(): void {
    this.#database?.close();
  }

  /** What can happen now; empty when all is done. */
  options(): Option[] {
    const options: Option[] = [];
    for (const [index, state] of this.#actors.entries()) {
      if (state.busy || !this.processes[state.actor.process]?.alive) continue;
      const next = state.actor.does[state.next];
      if (next !== undefined) options.push({ label: `actor ${index} ${next}`, happen: () => this.#begin(index) });
    }
    for (const [index, event] of this.#pending.entries()) {
      if (!event.when()) continue;
      options.push({
        label: event.label,
        happen: () => {
          this.#pending.splice(index, 1);
          const answer = event.happen();
          this.processes[event.process]?.note(`${event.label} ${JSON.stringify(answer)}`);
        },
      });
    }
    for (const process of this.processes)
      for (const connection of process.connections) {
        const at = `${process.name}-${connection.server.name}${connection.lane > 0 ? `-${connection.lane}` : ""}`;
        const [command] = connection.pipe;
        if (command !== undefined)
          options.push({
            label: `${at} executes ${command.command.kind} ${command.command.key}`,
            happen: () => process.execute(connection),
          });
        if (connection.replies.length > 0)
          options.push({ label: `${at} hears`, happen: () => process.hear(connection) });
        if (connection.late.length > 0) {
          options.push({ label: `${at} executes late`, happen: () => process.executeLate(connection) });
          options.push({ label: `${at} drops late`, happen: () => process.dropLate(connection) });
        }
      }
    const prompt = options.find((option) => this.#isPrompt(option));
    if (prompt !== undefined) return [prompt];
    const settled = this.#actors.every((state) => this.#isDone(state));
    const timers = this.#timers();
    if (options.length === 0 && !settled && timers[0]) return [timers[0]];
    if (settled) return options;
    if (this.#early < (this.#options.earlyTimers ?? 0))
      for (const timer of timers.filter(({ at }) => at <= this.nowMs + longestEarlyMs))
        options.push({
          ...timer,
          happen: () => {
            this.#early += 1;
            timer.happen();
          },
        });
    return options.length === 0 ? [] : [...options, ...this.#breaks()];
  }

  /** Lets one event happen, and everything that follows from it without waiting. */
  async step(option: Option): Promise<void> {
    this.log.push(option.label);
    option.happen();
    await quiet();
    if (this.failure) throw this.failure;
  }

  /** After the last event: nobody waits any more, and everybody sees the newest that was made known. */
  async finish(): Promise<void> {
    for (const state of this.#actors)
      assert.ok(this.#isDone(state), `a waiter was forgotten: ${JSON.stringify(state.actor)}`);
    // Where nothing broke, no value is computed twice without an invalidation in between.
    if (this.#brokenInAll === 0 && this.#early === 0 && (this.#options.countsLoads ?? true))
      for (const [key, loads] of this.loads)
        assert.ok(loads <= 1 + this.invalidations, `${loads} loads of ${key} for ${this.invalidations} invalidations`);
    for (const [index, process] of this.processes.entries())
      if (process.alive)
        for (const key of this.#source.keys()) for (const how of this.#ways(key)) await this.#lastRead(index, key, how);
  }

  /** Everything that decides what can happen from here on, as a short text. */
  state(): string {
    const parts = [
      this.nowMs,
      this.#early,
      this.#broken,
      this.servers.map((server) => server.state()),
      this.processes.map((process) => process.state()),
      this.#pending.map(({ label }) => label),
      this.#actors.map(({ next, busy }) => [next, busy]),
      [...this.#source].map(([key, source]) => [key, source.state(this.nowMs)]),
      this.#database?.state(),
    ];
    return createHash("sha1").update(JSON.stringify(parts)).digest("base64");
  }

  /** Whether nothing else may happen before this. */
  #isPrompt({ label }: Option): boolean {
    const { prompt } = this.#options;
    if (prompt === undefined) return false;
    return label.endsWith(" hears") || (prompt === "replies and loads" && label.includes(" answers "));
  }

  #isDone({ actor, next, busy }: ActorState): boolean {
    return !this.processes[actor.process]?.alive || (!busy && next >= actor.does.length);
  }

  /** The first timer of each process, those due first before the others. */
  #timers(): (Option & { readonly at: number })[] {
    return this.processes
      .flatMap((process) => {
        const timer = process.nextTimer;
        if (timer === undefined) return [];
        const happen = () => {
          this.nowMs = Math.max(this.nowMs, timer.at);
          process.fire(timer);
        };
        return [{ label: `${process.name} timer`, at: timer.at, happen }];
      })
      .toSorted((a, b) => a.at - b.at);
  }

  #breaks(): Option[] {
    const { breaks = {}, mostBreaks = Infinity } = this.#options;
    if (this.#brokenInAll >= mostBreaks) return [];
    const options: Option[] = [];
    const offer = (kind: Break, label: string, happen: () => void) => {
      if ((this.#broken[kind] ?? 0) >= (breaks[kind] ?? 0)) return;
      options.push({
        label: `BREAK ${kind} ${label}`,
        isBreak: true,
        happen: () => {
          this.#broken[kind] = (this.#broken[kind] ?? 0) + 1;
          this.#brokenInAll += 1;
          happen();
        },
      });
    };
    offer("pause", "", () => {
      this.nowMs += leaseMs + 1_000;
    });
    for (const server of this.servers) {
      offer("restart", server.name, () => this.#restart(server));
      offer("flush", server.name, () => server.flush());
      for (const key of server.keys()) offer("evict", key, () => server.evict(key));
    }
    for (const [index, process] of this.processes.entries()) {
      if (!process.alive) continue;
      offer("kill", process.name, () => this.#kill(index));
      for (const connection of process.connections) {
        if (connection.pipe.length + connection.replies.length > 0)
          offer("cut", `${process.name}-${connection.server.name}`, () => process.cut(connection, true));
        if (process.canTimeOut(connection))
          offer("timeout", `${process.name}-${connection.server.name}`, () => process.timeOut(connection));
      }
    }
    return options;
  }

  #restart(server: SimServer): void {
    server.restart();
    for (const process of this.processes)
      for (const connection of process.connections) {
        if (connection.server !== server) continue;
        connection.late.length = 0;
        process.cut(connection, false);
      }
  }

  #kill(index: number): void {
    this.processes[index]?.kill();
    this.#database?.killed(index);
    // Its connections to the database end as well; what it committed stays.
    for (let at = this.#pending.length - 1; at >= 0; at -= 1)
      if (this.#pending[at]?.process === index) this.#pending.splice(at, 1);
  }

  #sourceOf(key: string): Truth {
    let source = this.#source.get(key);
    if (source === undefined) {
      source = new Truth(this.processes.length, this.#options.localMaxAgeMs ?? 0);
      this.#source.set(key, source);
    }
    return source;
  }

  #begin(index: number): void {
    const state = this.#actors[index];
    const does = state?.actor.does[state.next];
    if (state === undefined || does === undefined) return;
    const { process, key = "k" } = state.actor;
    state.busy = true;
    this.processes[process]?.note(`actor ${index} ${does}`);
    const work = this.#do(process, key, does);
    void work
      .catch((error: unknown) => {
        this.failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        state.busy = false;
        state.next += 1;
      });
  }

  #do(process: number, key: string, does: Deed): Promise<unknown> {
    if (does === "readPair") return Promise.all(["k", "l"].map((each) => this.#read(process, each, "read")));
    if (does === "readMany") return this.#readMany(process, ["k", "l"]);
    return isReading(does) ? this.#read(process, key, does) : this.#write(process, key, does);
  }

  async #read(
    process: number,
    key: string,
    how: Reading,
  ): Promise<{ readonly value: number; readonly stale: boolean }> {
    const least = this.#leastOf(process, key, how !== "readBare");
    const cache = this.caches[process];
    if (cache === undefined) return { value: 0, stale: false };
    const { value, status } = await this.#ask(cache, process, key, how);
    const stale = status === "stale";
    if (!stale) assert.ok(value >= least, `stale ${how} of ${key} in ${process}: ${value}, ${least} was acknowledged`);
    return { value, stale };
  }

  #leastOf(process: number, key: string, namesTags: boolean): number {
    const least = this.#sourceOf(key).least({ process, nowMs: this.nowMs, namesTags });
    // What it must see at least is a part of what comes.
    this.processes[process]?.note(`must see ${least}`);
    return least;
  }

  async #readMany(process: number, keys: readonly string[]): Promise<void> {
    const least = new Map(keys.map((key) => [key, this.#leastOf(process, key, true)]));
    const { tags } = this.#options;
    const load = (wanted: readonly string[]) => Promise.all(wanted.map((key) => this.#load(process, key)));
    const found = (await this.caches[process]?.getOrSetMany(keys, load, tags === undefined ? {} : { tags })) ?? [];
    for (const [key, value] of found)
      assert.ok(value >= (least.get(key) ?? 0), `stale readMany of ${key} in ${process}: ${value}`);
  }

  /** What was put is nowhere else, so that what has been evicted is nowhere at all. */
  #putOrGone(value: unknown): number {
    if (typeof value === "number") return value;
    return this.#brokenInAll > 0 ? Infinity : 0;
  }

  async #ask(
    cache: Cache,
    process: number,
    key: string,
    how: Reading,
  ): Promise<{ readonly value: number; readonly status: string }> {
    const { tags } = this.#options;
    const options = tags === undefined ? {} : { tags };
    const load = () => this.#sharedLoad(process, key);
    if (how === "get") return { value: this.#putOrGone(await cache.get(key)), status: "got" };
    if (how === "readShown") {
      const show = async () => String((await cache.get<number>(key)) ?? -1);
      const shown = Number(await cache.fragment("shown", [key], show, options));
      return { value: this.#putOrGone(shown === -1 ? undefined : shown), status: "shown" };
    }
    if (how === "readBare") return await cache.getOrSetEntry(key, load);
    if (how === "read") return await cache.getOrSetEntry(key, load, options);
    if (how === "readUnstored") return await cache.getOrSetEntry(key, (context) => (context.skip(), load()), options);
    const shown = await cache.fragment("page", [key], async () => String(await cache.getOrSet(key, load, options)));
    return { value: Number(shown), status: "shown" };
  }

  #sharedLoad(process: number, key: string): Promise<number> {
    if (!this.#options.variant?.sharesLoads) return this.#load(process, key);
    const name = `${process} ${key}`;
    const loading = this.#loading.get(name) ?? this.#load(process, key).finally(() => this.#loading.delete(name));
    this.#loading.set(name, loading);
    return loading;
  }

  /** The loader: the source is read at one event, and its answer arrives at another. */
  #load(process: number, key: string): Promise<number> {
    this.loads.set(key, (this.loads.get(key) ?? 0) + 1);
    return new Promise((resolve) => {
      this.#soon(process, `${process} source read of ${key}`, () => {
        const { version } = this.#sourceOf(key);
        this.#soon(process, `${process} source answers ${key} ${version}`, () => resolve(version));
      });
    });
  }

  async #write(process: number, key: string, does: Exclude<Deed, Reading | "readPair" | "readMany">): Promise<void> {
    const cache = this.caches[process];
    const source = this.#sourceOf(key);
    if (does === "transact") {
      await this.#transact(process, key, source);
      return;
    }
    if (does === "tooEarly") {
      await cache?.invalidate(key);
      this.invalidations += 1;
    }
    const version = await new Promise<number>((resolve) => {
      this.#soon(process, `${process} commit of ${key}`, () => resolve((source.version += 1)));
    });
    this.invalidations += 1;
    const told = { version, process, byTag: does === "writeTag" };
    try {
      if (does === "put") {
        if (!(await cache?.set(key, version))) return;
      } else if (does === "raise") {
        if ((await cache?.update(key, () => version)) === undefined) return;
      } else if (does === "tooEarly") await Promise.resolve();
      else if (does === "write") await cache?.invalidate(key);
      else if (does === "writeTag") await cache?.invalidateTags(this.#options.tags ?? []);
      else if (does === "clear") await cache?.clear();
      else await cache?.refresh(key, () => this.#load(process, key), { tags: this.#options.tags ?? [] });
    } catch (error) {
      // Not acknowledged; but this process itself reads nothing from before any more.
      if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
      source.tell({ ...told, atMs: this.nowMs, pending: true });
      return;
    }
    source.tell({ ...told, atMs: this.nowMs, pending: false });
  }

  async #transact(process: number, key: string, source: Truth): Promise<void> {
    const { handle, outbox } = this.#outboxes[process] ?? {};
    if (handle === undefined || outbox === undefined) return;
    let version = 0;
    this.invalidations += 1;
    try {
      await outbox.transaction(handle, async (tx, invalidate) => {
        (tx as unknown as SimTransaction).change(key);
        // The transaction is the only one: what it commits is the next version.
        version = source.version + 1;
        invalidate(key, ...(this.#options.tags ?? []).map((name) => tag(name)));
        await Promise.resolve();
      });
    } catch (error) {
      if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
      return;
    }
    source.tell({ version, process, byTag: false, atMs: this.nowMs, pending: false });
  }

  #soon(process: number, label: string, happen: () => unknown, when: () => boolean = always): void {
    if (this.processes[process]?.alive) this.#pending.push({ process, label, happen, when });
  }

  /** The ways in which anybody reads `key`. */
  #ways(key: string): ReadonlySet<Reading> {
    const all = this.#actors.filter(({ actor }) => (actor.key ?? "k") === key).flatMap(({ actor }) => actor.does);
    const readingAll = all.includes("put") ? [] : (["read"] as const);
    return new Set([...readingAll, ...all.filter(isReading)]);
  }

  /** Reads once more when all is quiet, in an order that does not matter any more. */
  async #lastRead(process: number, key: string, how: Reading): Promise<void> {
    const deadline = this.nowMs + 60_000;
    await this.#drainUntil(() => this.#nothingPending(), deadline, "invalidations stayed pending");
    this.nowMs += this.#options.localMaxAgeMs ?? 0;
    let last: { readonly value: number; readonly stale: boolean } | undefined;
    const reading = this.#read(process, key, how).then((read) => {
      last = read;
      return undefined;
    });
    reading.catch((error: unknown) => {
      this.failure ??= error as Error;
    });
    await quiet();
    await this.#drainUntil(() => last !== undefined, this.nowMs + 60_000, `a last read of ${key} got no answer`);
    if (this.failure) throw this.failure;
    // A process that was killed may have committed without telling anybody; that is what the relays of the outbox are for.
    const isTold = (this.#broken.kill ?? 0) === 0 || this.#isRelayed() || this.#options.outbox === "without relays";
    // What is put may be gone, and who names no tags need not know of the last version.
    const mayMiss = how === "readBare" || how === "get" || how === "readShown";
    if (isTold && !mayMiss && !last?.stale)
      assert.equal(last?.value, this.#sourceOf(key).version, `an invalidation of ${key} was lost`);
  }

  #hasRelay(process: number): boolean {
    const { outbox, relays } = this.#options;
    return outbox === "relayed" && (relays?.includes(process) ?? true);
  }

  /** Whether somebody is left to deliver what killed processes left. */
  #isRelayed(): boolean {
    return this.processes.some(({ alive }, index) => alive && this.#hasRelay(index));
  }

  #nothingPending(): boolean {
    if (this.#isRelayed() && (this.#database?.waiting() ?? 0) > 0) return false;
    return (
      this.processes.every((process) => process.connections.every(({ late }) => late.length === 0)) &&
      this.caches.every(
        (cache, index) =>
          !this.processes[index]?.alive || cache.health().servers.every((server) => server.pendingInvalidations === 0),
      )
    );
  }

  async #drainUntil(done: () => boolean, deadline: number, what: string): Promise<void> {
    for (let steps = 0; !done() && !this.failure; steps += 1) {
      const [next] = [...this.options().filter((option) => !option.isBreak), ...this.#timers()];
      assert.ok(next !== undefined && steps < 2_000 && this.nowMs < deadline, what);
      this.log.push(next.label);
      next.happen();
      await quiet();
    }
    if (this.failure) throw this.failure;
  }
}
