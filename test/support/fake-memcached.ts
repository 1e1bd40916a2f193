/**
 * A memcached in the test's own process: the semantics of the meta commands that leases use, and a test that decides
 * when each command is executed and when its answer arrives.
 *
 *     const world = new FakeMemcached();
 *     const cache = createCache({ backend: metaBackend(world.client()) });
 *     world.hold();                       // from now on nothing moves by itself
 *     await world.run("ms a=key");        // executes the oldest command that starts so, and answers it
 *     await world.execute("md a=key");    // executes it; the answer stays on its way
 */
import { setImmediate as turn } from "node:timers/promises";
import { EverfreshError } from "everfresh";
import type { LeaseClient } from "everfresh";
import type { Random } from "#src/clock.ts";

interface FakeItem {
  value: Buffer;
  flags: number;
  cas: number;
  expiresAt: number;
  stale: boolean;
  sent: boolean;
}

interface Command {
  readonly text: string;
  readonly connection: object;
  /** The process that sent it, and on which connection; its commands there are executed and answered in their order. */
  readonly process: number;
  readonly server: string;
  readonly line: number;
  work(): unknown;
  resolve(value: unknown): void;
  reject(error: unknown): void;
  answer: { value: unknown } | undefined;
}

type GetFlags = Parameters<LeaseClient["meta"]["get"]>[1];

export class FakeMemcached {
  /** Milliseconds; the test moves it. */
  nowMs = 0;
  /** Everything that was executed, oldest first. */
  readonly log: string[] = [];
  readonly #names: readonly string[];
  readonly #lines: number;
  readonly #items = new Map<string, Map<string, FakeItem>>();
  readonly #waiting: Command[] = [];
  readonly #down = new Set<string>();
  #connections = new Map<string, object>();
  #held = false;
  readonly #counters = new Map<string, number>();
  #processes = 0;

  /** @param connections of each process to each server */
  constructor(names: readonly string[] = ["fake:1"], connections = 1) {
    this.#names = names;
    this.#lines = connections;
    for (const name of names) this.restart(name);
  }

  /** A client of one process. */
  client(): LeaseClient {
    const number = this.#processes++;
    const send = this.#send.bind(this, number);
    const meta: LeaseClient["meta"] = {
      get: (key, flags, call) => send("mg", key, call?.on, (items) => this.#get(items, key, flags)) as never,
      set: (key, value, flags, call) =>
        send("ms", key, call?.on, (items) => {
          const { compareCas, ttl = 0, clientFlags = 0, mode = "set" } = flags;
          const old = this.#live(items, key);
          if (compareCas !== undefined && old === undefined) return { kind: "notFound" };
          if (compareCas !== undefined && old?.cas !== Number(compareCas)) return { kind: "exists" };
          if (mode === "add" && old !== undefined) return { kind: "notStored" };
          const item = this.#put(items, key, Buffer.from(value as Uint8Array), clientFlags, ttl);
          return { kind: "stored", cas: String(item.cas) };
        }) as never,
      delete: (key, flags, call) =>
        send("md", key, call?.on, (items) => {
          const old = this.#live(items, key);
          if (old === undefined) return { kind: "notFound" };
          if (flags.compareCas !== undefined && old.cas !== Number(flags.compareCas)) return { kind: "exists" };
          if (flags.invalidate) {
            Object.assign(old, { stale: true, sent: false, cas: this.#nextCas(key) });
            if (flags.ttl !== undefined) old.expiresAt = this.#expiry(flags.ttl);
          } else items.delete(key);
          return { kind: "deleted" };
        }) as never,
    };
    return {
      meta,
      connections: this.#lines,
      serverOf: (key) => this.serverOf(key),
      servers: () =>
        this.#names.map((name) => ({ name, state: this.#down.has(name) ? ("down" as const) : ("up" as const) })),
      close: () => Promise.resolve(),
    };
  }

  serverOf(key: string): string {
    return this.#names[sumOf(key) % this.#names.length] ?? "";
  }

  /** From now on commands wait for {@link run}. */
  hold(): void {
    this.#held = true;
  }

  /** Everything that waits is executed and answered, and what comes is, too. */
  release(): void {
    this.#held = false;
    for (const command of this.#waiting.splice(0)) this.#finish(command);
  }

  /** The commands that wait, as `mg key`. */
  waiting(): string[] {
    return this.#waiting.map((command) => command.text);
  }

  /** Executes and answers the oldest waiting command whose text starts with `start`, and lets what follows happen. */
  async run(start: string): Promise<void> {
    const command = await this.#find(start);
    this.#waiting.splice(this.#waiting.indexOf(command), 1);
    this.#finish(command);
    await turn();
  }

  /** Executes it; its answer stays on the way until {@link run}. */
  async execute(start: string): Promise<void> {
    const command = await this.#find(start);
    command.answer ??= { value: this.#work(command) };
  }

  /** Fails it; with `executed` the server did it, and only the answer is lost. */
  async fail(start: string, executed = false): Promise<void> {
    const command = await this.#find(start);
    this.#waiting.splice(this.#waiting.indexOf(command), 1);
    if (executed && command.answer === undefined) this.#work(command);
    command.reject(new EverfreshError("EF_TIMEOUT", "the answer did not come", { server: command.server }));
    await turn();
  }

  /** Something happens to one of the oldest commands: it is executed, answered, or its answer is lost. */
  step(random: Random, lossy: number): boolean {
    const heads = new Map<string, Command>();
    for (const command of this.#waiting) {
      const queue = `${command.process} ${command.server} ${command.line}`;
      if (!heads.has(queue)) heads.set(queue, command);
    }
    const all = [...heads.values()];
    const command = all[Math.floor(random.fraction() * all.length)];
    if (command === undefined) return false;
    const lost = random.fraction() < lossy;
    const current = command.connection === this.#connections.get(command.server);
    if (command.answer === undefined && current && !this.#down.has(command.server) && !lost) {
      command.answer = { value: this.#work(command) };
      return true;
    }
    this.#waiting.splice(this.#waiting.indexOf(command), 1);
    if (lost) command.reject(new EverfreshError("EF_TIMEOUT", "lost", { server: command.server }));
    else this.#finish(command);
    return true;
  }

  /** Forgets everything and counts from one again, on new connections. */
  restart(name = this.#names[0] ?? ""): void {
    this.#items.set(name, new Map());
    this.#connections.set(name, { server: name });
    this.#counters.set(name, 0);
  }

  /** Loses the connections, not the items. */
  disconnect(name = this.#names[0] ?? ""): void {
    this.#connections.set(name, { server: name });
  }

  down(name = this.#names[0] ?? ""): void {
    this.#down.add(name);
    this.disconnect(name);
  }

  up(name = this.#names[0] ?? ""): void {
    this.#down.delete(name);
  }

  evict(key: string): void {
    this.#items.get(this.serverOf(key))?.delete(key);
  }

  /** The bytes under `key`, for looking. */
  peek(key: string): Buffer | undefined {
    return this.#items.get(this.serverOf(key))?.get(key)?.value;
  }

  /** Puts bytes there that nobody of ours wrote. */
  plant(key: string, bytes: Buffer): void {
    this.#put(this.#items.get(this.serverOf(key)) ?? new Map(), key, bytes, 0, 0);
  }

  #get(items: Map<string, FakeItem>, key: string, flags: GetFlags): object {
    let item = this.#live(items, key);
    let won = false;
    if (item === undefined) {
      if (flags.vivify === undefined) return { kind: "miss" };
      item = this.#put(items, key, Buffer.alloc(0), 0, flags.vivify);
      item.sent = true;
      won = true;
    } else {
      const left = (item.expiresAt - this.nowMs) / 1000;
      if (!item.sent && (item.stale || (flags.recache !== undefined && left < flags.recache))) won = true;
    }
    const leased = item.sent && !won;
    if (won) item.sent = true;
    const unchanged = flags.ifChangedFrom === String(item.cas);
    return {
      kind: unchanged ? "unchanged" : "hit",
      value: flags.value === false || unchanged ? undefined : item.value,
      clientFlags: item.flags,
      cas: String(item.cas),
      ttl: flags.ttl ? (item.expiresAt === Infinity ? -1 : Math.ceil((item.expiresAt - this.nowMs) / 1000)) : undefined,
      won,
      stale: item.stale,
      leased,
    };
  }

  #put(items: Map<string, FakeItem>, key: string, value: Buffer, flags: number, ttl: number): FakeItem {
    const item = { value, flags, cas: this.#nextCas(key), expiresAt: this.#expiry(ttl), stale: false, sent: false };
    items.set(key, item);
    return item;
  }

  /** Each server counts for itself. */
  #nextCas(key: string): number {
    const server = this.serverOf(key);
    const next = (this.#counters.get(server) ?? 0) + 1;
    this.#counters.set(server, next);
    return next;
  }

  #expiry(ttl: number): number {
    return ttl === 0 ? Infinity : this.nowMs + ttl * 1000;
  }

  #live(items: Map<string, FakeItem>, key: string): FakeItem | undefined {
    const item = items.get(key);
    return item !== undefined && item.expiresAt > this.nowMs ? item : undefined;
  }

  #send(
    number: number,
    verb: string,
    key: string,
    on: object | undefined,
    work: (items: Map<string, FakeItem>) => object,
  ): Promise<unknown> {
    const server = this.serverOf(key);
    const connection = this.#connections.get(server) ?? {};
    if (this.#down.has(server)) return Promise.reject(new EverfreshError("EF_SERVER_DOWN", "down", { server }));
    if (on !== undefined && on !== connection)
      return Promise.reject(new EverfreshError("EF_CONNECTION_LOST", "another connection", { server }));
    return new Promise((resolve, reject) => {
      const command: Command = {
        text: `${verb} ${key}`,
        connection,
        server,
        process: number,
        line: (sumOf(key) >>> 8) % this.#lines,
        work: () => ({ ...work(this.#items.get(server) ?? new Map()), epoch: connection }),
        resolve,
        reject,
        answer: undefined,
      };
      if (this.#held) this.#waiting.push(command);
      else queueMicrotask(() => this.#finish(command));
    });
  }

  #work(command: Command): unknown {
    this.log.push(command.text);
    return command.work();
  }

  #finish(command: Command): void {
    if (command.connection === this.#connections.get(command.server) && !this.#down.has(command.server))
      command.resolve((command.answer ?? { value: this.#work(command) }).value);
    else command.reject(new EverfreshError("EF_CONNECTION_LOST", "lost", { server: command.server }));
  }

  async #find(start: string): Promise<Command> {
    for (let tries = 0; tries < 50; tries++) {
      const command = this.#waiting.find(({ text }) => text.startsWith(start));
      if (command !== undefined) return command;
      await turn();
    }
    throw new Error(`nothing waits that starts with ${start}, only ${this.waiting().join(", ")}`);
  }
}

function sumOf(key: string): number {
  let sum = 0;
  for (let index = 0; index < key.length; index++) sum = (sum * 31 + key.charCodeAt(index)) >>> 0;
  return sum;
}
