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
import { classicBackend, type Backend } from "#src/backend/index.ts";
import { metaBackend } from "#src/backend/memcached.ts";
import { createCache, type Cache } from "#src/cache/index.ts";
import { placement } from "#src/client/ring.ts";
import { parseServers } from "#src/client/address.ts";
import { createOutbox, tag, type KyselyLike, type Outbox } from "everfresh/outbox";
import { SimDatabase, type SimTransaction } from "./database.ts";
import { SimProcess } from "./process.ts";
import { SimServer } from "./server.ts";

export type Deed = "read" | "write" | "writeTag" | "refresh" | "clear" | "transact" | "tooEarly";

/** What somebody does in one of the processes, step after step. */
export interface Actor {
  /** Index of the process. */
  readonly process: number;
  /**
   * `read`: getOrSet. `write`: commit, then invalidate the key. `writeTag`: commit, then invalidate the tag. `refresh`:
   * commit, then refresh. `clear`: commit, then clear the namespace. `transact`: write and invalidate in a transaction of
   * the outbox. `tooEarly`: invalidate, then commit; wrong on purpose.
   */
  readonly does: readonly Deed[];
  readonly key?: string;
}

/** What may break. Each happens at most as often as `WorldOptions.breaks` allows, at any point. */
export type Break = "restart" | "flush" | "evict" | "cut" | "timeout" | "kill" | "pause";

/** How the real code is made wrong. */
export interface Variant {
  /** Around the backend of each process. */
  readonly backend?: (backend: Backend, process: SimProcess) => Backend;
  readonly keepsLeases?: boolean;
}

export interface WorldOptions {
  readonly processes: number;
  readonly servers?: number;
  readonly actors: readonly Actor[];
  readonly breaks?: Partial<Record<Break, number>>;
  /** In total. Default: the sum of `breaks`. */
  readonly mostBreaks?: number;
  readonly local?: boolean;
  /** The tags that every read gives its value. */
  readonly tags?: readonly string[];
  readonly staleWhileRevalidate?: boolean;
  /** How often time may pass although something else could happen. */
  readonly earlyTimers?: number;
  /** The namespace's generation is there already: fewer events, for exhaustive runs on one server. */
  readonly warm?: boolean;
  /** Leases by `add` and `cas` instead of the meta commands. */
  readonly classic?: boolean;
  /** Every process has an outbox, with a relay or without. For random runs: the database is not part of `state()`. */
  readonly outbox?: "relayed" | "without relays";
  /** What was executed is heard at once: fewer orders, where the delay of answers is not the question. */
  readonly prompt?: boolean;
  /** Whether too many loads are a failure where nothing breaks. Default true. */
  readonly countsLoads?: boolean;
  readonly variant?: Variant;
}

const always = () => true;

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
  /** The least version that its read may return: what had been acknowledged when it began. */
  least: number;
}

interface Pending {
  readonly process: number;
  readonly label: string;
  readonly happen: () => void;
  /** Whether it can happen now. */
  readonly when: () => boolean;
}

interface Source {
  version: number;
  /** What the source held when the newest acknowledged invalidation was begun, at least. */
  acknowledged: number;
  /** The same, for readers in the process itself, where a rejected invalidation counts too. */
  local: number[];
}

const leaseMs = 2_000;
/** Time passes early for renewals, polls, retries and deadlines of invalidations; not for the hour that a load may take. */
const longestEarlyMs = 10_000;

export class World {
  readonly processes: SimProcess[];
  readonly servers: SimServer[];
  readonly caches: Cache[];
  readonly #options: WorldOptions;
  readonly #source = new Map<string, Source>();
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
  #early = 0;
  #brokenInAll = 0;
  failure: Error | undefined;

  constructor(options: WorldOptions) {
    this.#options = options;
    const names = Array.from({ length: options.servers ?? 1 }, (_, index) => `s${index}:1`);
    const now = () => this.nowMs;
    this.servers = names.map((name) => new SimServer(name, now));
    // The real placement of keys.
    const home = placement(parseServers(names), { kind: "ketama" });
    this.processes = Array.from(
      { length: options.processes },
      (_, index) => new SimProcess(String.fromCharCode(97 + index), this.servers, now, home),
    );
    this.caches = this.processes.map((process) => {
      process.keepsLeases = options.variant?.keepsLeases ?? false;
      const { random } = process;
      const backend = options.classic
        ? classicBackend(process.classic, { itemLimitBytes: 1_000_000, random })
        : metaBackend(process.client);
      return createCache({
        backend: options.variant?.backend?.(backend, process) ?? backend,
        namespace: "w",
        local: options.local ?? false,
        lease: { milliseconds: leaseMs },
        clock: process.clock,
        random: process.random,
        ttl: "1h",
        hardTimeout: "1h",
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
        const relay = options.outbox === "relayed";
        this.#outboxes.push({ handle, outbox: createOutbox({ db: handle, caches: cache, relay, clock, random }) });
      }
    }
    if (options.warm)
      this.servers[0]?.execute({ kind: "set", key: this.caches[0]?.name + "!0", value: "original", flags: {} });
    this.#actors = options.actors.map((actor) => ({ actor, next: 0, busy: false, least: 0 }));
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
          this.processes[event.process]?.heard.push(event.label);
          event.happen();
        },
      });
    }
    for (const process of this.processes)
      for (const connection of process.connections) {
        const at = `${process.name}-${connection.server.name}`;
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
    const answer = options.find(({ label }) => label.endsWith(" hears") || label.includes(" answers "));
    if (this.#options.prompt && answer !== undefined) return [answer];
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
      if (process.alive) for (const key of this.#source.keys()) await this.#lastRead(index, key);
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
      this.#actors.map(({ next, busy, least }) => [next, busy, least]),
      [...this.#source],
    ];
    return createHash("sha1").update(JSON.stringify(parts)).digest("base64");
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

  #sourceOf(key: string): Source {
    let source = this.#source.get(key);
    if (source === undefined) {
      source = { version: 0, acknowledged: 0, local: this.#options.actors.map(() => 0) };
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
    this.processes[process]?.heard.push(`actor ${index} ${does}`);
    const work: Promise<unknown> = does === "read" ? this.#read(process, key, state) : this.#write(process, key, does);
    void work
      .catch((error: unknown) => {
        this.failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        state.busy = false;
        state.least = 0;
        state.next += 1;
      });
  }

  async #read(
    process: number,
    key: string,
    state: { least: number } = { least: 0 },
  ): Promise<{ readonly value: number; readonly stale: boolean }> {
    const source = this.#sourceOf(key);
    const least = Math.max(source.acknowledged, source.local[process] ?? 0);
    state.least = least;
    const cache = this.caches[process];
    if (cache === undefined) return { value: 0, stale: false };
    const options = this.#options.tags === undefined ? {} : { tags: this.#options.tags };
    const answer = await cache.getOrSetEntry(key, () => this.#load(process, key), options);
    const stale = answer.status === "stale";
    if (!stale)
      assert.ok(
        answer.value >= least,
        `stale read of ${key} in ${process}: ${answer.value}, ${least} was acknowledged`,
      );
    return { value: answer.value, stale };
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

  async #write(process: number, key: string, does: Exclude<Deed, "read">): Promise<void> {
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
    try {
      if (does === "tooEarly") await Promise.resolve();
      else if (does === "write") await cache?.invalidate(key);
      else if (does === "writeTag") await cache?.invalidateTags(this.#options.tags ?? []);
      else if (does === "clear") await cache?.clear();
      else await cache?.refresh(key, () => this.#load(process, key), { tags: this.#options.tags ?? [] });
    } catch (error) {
      // Not acknowledged; but this process itself reads nothing from before any more.
      if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
      source.local[process] = Math.max(source.local[process] ?? 0, version);
      return;
    }
    source.acknowledged = Math.max(source.acknowledged, version);
  }

  async #transact(process: number, key: string, source: Source): Promise<void> {
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
    source.acknowledged = Math.max(source.acknowledged, version);
  }

  #soon(process: number, label: string, happen: () => void, when: () => boolean = always): void {
    if (this.processes[process]?.alive) this.#pending.push({ process, label, happen, when });
  }

  /** Reads once more when all is quiet, in an order that does not matter any more. */
  async #lastRead(process: number, key: string): Promise<void> {
    const deadline = this.nowMs + 60_000;
    await this.#drainUntil(() => this.#nothingPending(), deadline, "invalidations stayed pending");
    let last: { readonly value: number; readonly stale: boolean } | undefined;
    const reading = this.#read(process, key).then((read) => {
      last = read;
      return undefined;
    });
    reading.catch((error: unknown) => {
      this.failure ??= error as Error;
    });
    await quiet();
    await this.#drainUntil(() => last !== undefined, this.nowMs + 60_000, `a last read of ${key} got no answer`);
    if (this.failure) throw this.failure;
    // A process that was killed may have committed without telling anybody; that is what the outbox is for.
    if (((this.#broken.kill ?? 0) === 0 || this.#options.outbox !== undefined) && !last?.stale)
      assert.equal(last?.value, this.#sourceOf(key).version, `an invalidation of ${key} was lost`);
  }

  #nothingPending(): boolean {
    const relays = this.#options.outbox === "relayed" && this.processes.some(({ alive }) => alive);
    if (relays && (this.#database?.waiting() ?? 0) > 0) return false;
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

const nextTurn = globalThis.setImmediate;
const turns = { asked: 0 };

// The cache collects the questions of a turn of the event loop; a world is quiet when nobody waits for a turn any more.
globalThis.setImmediate = ((callback: (...args: unknown[]) => void, ...args: unknown[]) => {
  turns.asked += 1;
  return nextTurn(() => {
    turns.asked -= 1;
    callback(...args);
  });
}) as typeof setImmediate;

/** Waits until nothing moves: all promises, ticks and turns that follow from the last event have run. */
async function quiet(): Promise<void> {
  do
    await new Promise((resolve) => {
      nextTurn(resolve);
    });
  while (turns.asked > 0);
}
