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
import { createOutbox, type KyselyLike, type Outbox } from "everfresh/outbox";
import { SimDatabase } from "./database.ts";
import { Deeds, isReading, pauseMs, type DeedsWorld, type Reading } from "./deeds.ts";
import { SimProcess } from "./process.ts";
import { quiet } from "./quiet.ts";
import { SimServer } from "./server.ts";
import type { Actor, Break, WorldOptions } from "./world-options.ts";

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

export class World implements DeedsWorld {
  readonly processes: SimProcess[];
  readonly servers: SimServer[];
  readonly caches: Cache[];
  readonly config: WorldOptions;
  readonly #deeds = new Deeds(this);
  /** Answers of the database that are on their way, by process. */
  readonly #pending: Pending[] = [];
  readonly #database: SimDatabase | undefined;
  readonly outboxes: { readonly handle: KyselyLike; readonly outbox: Outbox }[] = [];
  readonly #actors: ActorState[];
  readonly #broken: Partial<Record<Break, number>> = {};
  readonly log: string[] = [];
  nowMs = 1_000_000;
  #early = 0;
  brokenInAll = 0;
  failure: Error | undefined;

  constructor(options: WorldOptions) {
    this.config = options;
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
        ...options.relaxed,
      });
    });
    if (options.outbox !== undefined) {
      const database = new SimDatabase(
        (process, label, happen, when) => this.soon(process, label, happen, when),
        now,
        (key) => {
          this.#deeds.sourceOf(key).version += 1;
        },
      );
      this.#database = database;
      for (const [index, cache] of this.caches.entries()) {
        const handle = database.handleOf(index);
        const { clock, random } = this.processes[index] as SimProcess;
        const relay = this.#hasRelay(index);
        const caches = options.variant?.told?.(cache) ?? cache;
        this.outboxes.push({ handle, outbox: createOutbox({ db: handle, caches, relay, clock, random }) });
      }
    }
    if (options.warm)
      for (const server of this.servers) server.execute({ kind: "set", key: "w!0", value: "original", flags: {} });
    this.#actors = options.actors.map((actor) => ({ actor, next: 0, busy: false }));
  }

  /** The backend that `memcached()` makes, on the servers of this process. */
  #backendOf(process: SimProcess, index: number): Backend {
    const { classic, moves, chunked, variant } = this.config;
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

  get pauses(): number | undefined {
    const { cut, timeout, kill, restart, pause = 0 } = this.#broken;
    return cut || timeout || kill || restart || this.#early > 0 ? undefined : pause;
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
    if (this.#early < (this.config.earlyTimers ?? 0))
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
    if (this.brokenInAll === 0 && this.#early === 0 && (this.config.countsLoads ?? true))
      for (const [key, loads] of this.#deeds.loads)
        assert.ok(
          loads <= 1 + this.#deeds.invalidations,
          `${loads} loads of ${key} for ${this.#deeds.invalidations} invalidations`,
        );
    for (const [index, process] of this.processes.entries())
      if (process.alive)
        for (const key of this.#deeds.sources.keys())
          for (const how of this.#ways(key)) await this.#lastRead(index, key, how);
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
      [...this.#deeds.sources].map(([key, source]) => [key, source.state(this.nowMs)]),
      this.#database?.state(),
    ];
    return createHash("sha1").update(JSON.stringify(parts)).digest("base64");
  }

  /** Whether nothing else may happen before this. */
  #isPrompt({ label }: Option): boolean {
    const { prompt } = this.config;
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
    const { breaks = {}, mostBreaks = Infinity } = this.config;
    if (this.brokenInAll >= mostBreaks) return [];
    const options: Option[] = [];
    const offer = (kind: Break, label: string, happen: () => void) => {
      if ((this.#broken[kind] ?? 0) >= (breaks[kind] ?? 0)) return;
      options.push({
        label: `BREAK ${kind} ${label}`,
        isBreak: true,
        happen: () => {
          this.#broken[kind] = (this.#broken[kind] ?? 0) + 1;
          this.brokenInAll += 1;
          happen();
        },
      });
    };
    offer("pause", "", () => {
      this.nowMs += pauseMs;
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

  #begin(index: number): void {
    const state = this.#actors[index];
    const does = state?.actor.does[state.next];
    if (state === undefined || does === undefined) return;
    const { process, key = "k" } = state.actor;
    state.busy = true;
    this.processes[process]?.note(`actor ${index} ${does}`);
    const work = this.#deeds.do(process, key, does);
    void work
      .catch((error: unknown) => {
        this.failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        state.busy = false;
        state.next += 1;
      });
  }

  /** Something that takes time: it happens when it is picked. */
  soon(process: number, label: string, happen: () => unknown, when: () => boolean = always): void {
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
    this.nowMs += this.config.localMaxAgeMs ?? 0;
    let last = await this.#readNow(process, key, how);
    // Who serves what is stale lets it be computed.
    if (last.stale && this.pauses !== undefined) {
      await this.#drainUntil(() => this.options().every(({ isBreak }) => isBreak), Infinity, "it does not end");
      last = await this.#readNow(process, key, how);
      assert.ok(!last.stale || how === "readFailing" || how === "readPage", `nobody computes ${key}, which is stale`);
    }
    // A process that was killed may have committed without telling anybody; that is what the relays of the outbox are for.
    const isTold = (this.#broken.kill ?? 0) === 0 || this.#isRelayed() || this.config.outbox === "without relays";
    // What is put may be gone, and who names no tags need not know of the last version.
    const mayMiss = how === "readBare" || how === "get" || how === "readShown" || how === "look";
    if (isTold && !mayMiss && !last.stale && !last.failed)
      assert.equal(last.value, this.#deeds.sourceOf(key).version, `an invalidation of ${key} was lost`);
  }

  async #readNow(process: number, key: string, how: Reading): ReturnType<Deeds["read"]> {
    let last: Awaited<ReturnType<Deeds["read"]>> | undefined;
    const reading = this.#deeds.read(process, key, how).then((read) => {
      last = read;
      return undefined;
    });
    reading.catch((error: unknown) => {
      this.failure ??= error as Error;
    });
    await quiet();
    await this.#drainUntil(() => last !== undefined, this.nowMs + 60_000, `a last read of ${key} got no answer`);
    if (this.failure) throw this.failure;
    assert.ok(last !== undefined);
    return last;
  }

  #hasRelay(process: number): boolean {
    const { outbox, relays } = this.config;
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
      assert.ok(next !== undefined && steps < 4_000 && this.nowMs < deadline, what);
      this.log.push(next.label);
      next.happen();
      await quiet();
    }
    if (this.failure) throw this.failure;
  }
}
