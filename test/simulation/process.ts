/**
 * A simulated process: the clock, the chance and the client that its cache gets, and its connections to the servers.
 *
 *     client call ──> pipe ──(event: the server executes)──> replies ──(event: the process hears)──> promise
 *
 * A connection is first in, first out. When it is cut, callers hear so at once, and what was sent may still be executed,
 * later and in order. A call that timed out is answered so, and its command too may still be executed.
 */
import type {
  LeaseCallOptions,
  LeaseClient,
  LeaseEpoch,
  LeaseGetFlags,
  LeaseGetResult,
  LeaseSink,
} from "#src/backend/lease-client.ts";
import type { ClassicClient } from "#src/backend/index.ts";
import type { StoreOptions } from "#src/client/command-types.ts";
import { durationMs } from "#src/duration.ts";
import { EverfreshError } from "#src/errors.ts";
import type { Clock, Random, Timer } from "#src/clock.ts";
import type { Command, Reply, SimServer } from "./server.ts";

interface Call {
  readonly command: Command;
  settle: ((reply: Reply, epoch: Epoch) => void) | undefined;
  fail: ((error: EverfreshError) => void) | undefined;
  reply: Reply | undefined;
}

type Epoch = LeaseEpoch & { readonly server: string; readonly number: number };

/** What was sent and not yet executed; what was executed and not yet heard. */
export interface Connection {
  readonly server: SimServer;
  /** Which of the connections to this server it is. */
  readonly lane: number;
  epoch: Epoch;
  pipe: Call[];
  replies: Call[];
  /** Sent on connections that are no more. */
  late: Command[][];
}

interface SimTimer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

export class SimProcess {
  readonly name: string;
  readonly connections: Connection[];
  readonly clock: Clock;
  readonly random: Random;
  readonly #nowMs: () => number;
  readonly #lanes: number;
  alive = true;
  /** Everything that this process has been told, in order and with the time. With the servers' state it decides what comes. */
  readonly #heard: string[] = [];
  /** Wrong on purpose: leases outlive their connection. */
  keepsLeases = false;
  /** The servers cannot leave out a value that has not changed. */
  isOld = false;
  #timers: SimTimer[] = [];
  #order = 0;
  #draws = 0;

  /** @param lanes connections to each server */
  constructor(name: string, servers: readonly SimServer[], lanes: number, nowMs: () => number) {
    this.name = name;
    this.#nowMs = nowMs;
    this.#lanes = lanes;
    this.connections = servers.flatMap((server) =>
      Array.from({ length: lanes }, (_, lane) => ({
        server,
        lane,
        epoch: { server: server.name, number: 0 },
        pipe: [],
        replies: [],
        late: [],
      })),
    );
    this.clock = {
      now: nowMs,
      monotonic: nowMs,
      after: (delayMs, callback) => this.#after(nowMs() + Math.max(0, delayMs), callback),
    };
    this.random = {
      fraction: () => 0.5,
      bytes: (length) => {
        this.#draws += 1;
        return Buffer.from(name + String(this.#draws).padStart(length - name.length, "0"), "latin1");
      },
    };
  }

  /** What the cache is given to talk to `servers`; `home` places a key on one of them. */
  client(servers: readonly SimServer[], home: (key: string) => number): LeaseClient {
    const serverOf = (key: string): string => servers[home(key)]?.name ?? "";
    const send = (command: Command, on: LeaseEpoch | undefined) => this.#call(serverOf(command.key), command, on);
    const get = (key: string, flags: LeaseGetFlags, call?: LeaseCallOptions): Promise<LeaseGetResult> =>
      flags.ifChangedFrom !== undefined && this.isOld
        ? Promise.reject(new EverfreshError("EF_UNSUPPORTED", "memcached before 1.6.40"))
        : (send({ kind: "get", key, flags }, call?.on) as Promise<LeaseGetResult>);
    return {
      connections: this.#lanes,
      meta: {
        get,
        getInto: (key, flags, sink) => {
          get(key, flags).then(
            (result) => lend(result, sink),
            (error: unknown) => sink.failed(error),
          );
        },
        set: (key, value, flags, call) =>
          send({ kind: "set", key, value: Buffer.from(value).toString("latin1"), flags }, call?.on) as never,
        delete: (key, flags, call) => send({ kind: "delete", key, flags }, call?.on) as never,
      },
      serverOf,
      servers: () => servers.map(({ name: server }) => ({ name: server, state: "up" as const })),
      close: () => Promise.resolve(),
    };
  }

  /** The same for a cache that knows no meta commands: text, where no store tells its number. */
  classicClient(servers: readonly SimServer[], home: (key: string) => number): ClassicClient {
    const { meta, ...rest } = this.client(servers, home);
    const store = async (key: string, value: unknown, flags: object, options: StoreOptions = {}) => {
      const ttl = options.ttl === undefined ? 0 : Math.ceil(durationMs(options.ttl, "ttl") / 1000);
      const all = { ...flags, ttl, clientFlags: options.clientFlags ?? 0 };
      const reply = await meta.set(
        key,
        value as string | Buffer,
        all,
        options.on === undefined ? {} : { on: options.on },
      );
      return { ...reply, cas: undefined };
    };
    return {
      ...rest,
      get: (key: string) => meta.get(key, { value: true, cas: true }),
      add: (key: string, value: unknown, options?: StoreOptions) => store(key, value, { mode: "add" }, options),
      set: (key: string, value: unknown, options?: StoreOptions) => store(key, value, {}, options),
      cas: (key: string, value: unknown, compareCas: string, options?: StoreOptions) =>
        store(key, value, { compareCas }, options),
      delete: (key: string) => meta.delete(key, {}),
    } as never;
  }

  /** Writes down what this process is told. */
  note(what: string): void {
    this.#heard.push(`${this.#nowMs()} ${what}`);
  }

  /** The timer that is due first. */
  get nextTimer(): SimTimer | undefined {
    return this.#timers.reduce<SimTimer | undefined>(
      (first, timer) =>
        first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order)
          ? timer
          : first,
      undefined,
    );
  }

  fire(timer: SimTimer): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
    this.note(`timer ${timer.order}`);
    timer.callback();
  }

  kill(): void {
    this.alive = false;
    this.#timers = [];
    for (const connection of this.connections) this.#hangUp(connection);
  }

  /** The server executes the oldest command of the pipe. */
  execute(connection: Connection): void {
    const call = connection.pipe.shift();
    if (call === undefined) return;
    call.reply = connection.server.execute(call.command);
    connection.replies.push(call);
  }

  /** The process hears the oldest reply. */
  hear(connection: Connection): void {
    const call = connection.replies.shift();
    if (call?.reply === undefined) return;
    this.note(JSON.stringify([connection.server.name, call.reply]));
    call.settle?.(call.reply, connection.epoch);
  }

  /** The oldest call that nobody has answered runs into its deadline; its command stays where it is. */
  timeOut(connection: Connection): void {
    const call = [...connection.replies, ...connection.pipe].find(({ fail }) => fail !== undefined);
    if (call === undefined) return;
    this.note(`timeout ${connection.server.name}`);
    const { fail } = call;
    call.fail = undefined;
    call.settle = undefined;
    fail?.(new EverfreshError("EF_TIMEOUT", "timed out", { server: connection.server.name }));
  }

  canTimeOut(connection: Connection): boolean {
    return [...connection.replies, ...connection.pipe].some(({ fail }) => fail !== undefined);
  }

  /** The connection ends. @param executesLate whether what the server has not executed yet may still be executed */
  cut(connection: Connection, executesLate: boolean): void {
    this.note(`cut ${connection.server.name}`);
    const waiting = [...connection.replies, ...connection.pipe];
    this.#hangUp(connection, executesLate);
    for (const { fail } of waiting)
      fail?.(new EverfreshError("EF_CONNECTION_LOST", "cut", { server: connection.server.name }));
  }

  executeLate(connection: Connection): void {
    const [oldest] = connection.late;
    const command = oldest?.shift();
    if (command !== undefined) connection.server.execute(command);
    if (oldest?.length === 0) connection.late.shift();
  }

  dropLate(connection: Connection): void {
    connection.late.shift();
  }

  state(): unknown {
    const pipes = this.connections.map(({ epoch, pipe, replies, late }) => [
      epoch.number,
      pipe.map((call) => [call.command, call.settle === undefined]),
      replies.map((call) => [call.reply, call.settle === undefined]),
      late,
    ]);
    return [this.alive, this.#heard, pipes];
  }

  #hangUp(connection: Connection, executesLate = true): void {
    if (executesLate && connection.pipe.length > 0) connection.late.push(connection.pipe.map(({ command }) => command));
    connection.pipe = [];
    connection.replies = [];
    connection.epoch = { server: connection.server.name, number: connection.epoch.number + 1 };
  }

  #call(to: string, command: Command, on: LeaseEpoch | undefined): Promise<unknown> {
    if (!this.alive) return new Promise(() => undefined);
    const lane = laneOf(command.key, this.#lanes);
    const connection = this.connections.find((each) => each.server.name === to && each.lane === lane);
    if (connection === undefined) throw new Error(`no server for ${command.key}`);
    if (on !== undefined && on !== connection.epoch && !this.keepsLeases)
      return Promise.reject(new EverfreshError("EF_CONNECTION_LOST", "the connection of the lease is gone"));
    return new Promise((resolve, reject) => {
      const settle = (reply: Reply, epoch: Epoch) =>
        resolve(
          "value" in reply && reply.value !== undefined
            ? { ...reply, value: Buffer.from(reply.value, "latin1"), epoch }
            : { ...reply, epoch },
        );
      connection.pipe.push({ command, settle, fail: reject, reply: undefined });
    });
  }

  #after(at: number, callback: () => void): Timer {
    this.#order += 1;
    const timer = { at, order: this.#order, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }
}

/** Spreads keys over connections: a key and what is beside it are on different ones. */
function laneOf(key: string, lanes: number): number {
  let sum = 0;
  for (let index = 0; index < key.length; index += 1) sum = (sum * 31 + key.charCodeAt(index)) >>> 0;
  return (sum >>> 3) % lanes;
}

/** Hands an answer out as the client does: its bytes are somebody else's as soon as the sink has returned. */
function lend(result: LeaseGetResult, sink: LeaseSink): void {
  const { epoch, ...rest } = result;
  const value = "value" in result ? result.value : undefined;
  const data = value ?? Buffer.alloc(0);
  const place = {
    hasCas: (text: string) => "cas" in result && result.cas === text,
    hasData: value !== undefined,
    data,
    dataStart: 0,
    dataEnd: data.length,
    bytes: () => Buffer.from(data),
  };
  sink.answered({ ...missed, ...rest, ...place }, epoch);
  data.fill(0x21);
}

const missed = { clientFlags: 0, cas: undefined, ttl: undefined, won: false, stale: false, leased: false };
