/**
 * Leases by the best that each server understands: the meta commands, or `add` and `cas` where it has none.
 *
 * What a server understands is known while a connection to it is up; a meta command that was refused because the
 * connection speaks something else was not executed, so it is said again the classic way.
 */
import { isEverfreshError } from "../errors.ts";
import type { Backend, Item, Reading, ReadSink, ServerHealth, Token, Want } from "./backend.ts";

type Asked = "read" | "claim" | "expire" | "replace" | "renew" | "drop" | "put" | "remove";

export class AdaptiveBackend implements Backend {
  readonly reach = "fleet";
  readonly itemLimitBytes: number;
  readonly reorders: boolean | undefined;
  readonly previous: Backend | undefined;
  readonly #meta: Backend;
  readonly #classic: Backend;
  /** Servers whose connection was found to have no meta commands. */
  readonly #plain = new Set<string>();
  readonly #spoken: (server: string) => string | undefined;

  /** @param spoken what is spoken with a server at present; undefined while there is no connection */
  constructor(
    meta: Backend,
    classic: Backend,
    previous: Backend | undefined,
    spoken: (server: string) => string | undefined,
  ) {
    this.#meta = meta;
    this.#classic = classic;
    this.previous = previous;
    this.#spoken = spoken;
    this.itemLimitBytes = meta.itemLimitBytes;
    this.reorders = meta.reorders;
  }

  /** Where one server cannot keep stale items, nobody is promised that they are kept. */
  get keepsStale(): boolean {
    return this.#plain.size === 0;
  }

  /** Says at once that no server has the meta commands. */
  useClassic(): void {
    for (const { name } of this.servers()) this.#plain.add(name);
  }

  describe(): string {
    return this.#meta.describe();
  }

  serverOf(key: string): string {
    return this.#meta.serverOf(key);
  }

  servers(): readonly ServerHealth[] {
    return this.#meta.servers();
  }

  read(key: string, want: Want): Promise<Reading> {
    return this.#try("read", key, want);
  }

  readInto(key: string, want: Want, sink: ReadSink): void {
    const meta = this.#meta;
    if (meta.readInto === undefined || (this.#plain.size > 0 && this.#isPlain(this.serverOf(key)))) {
      this.read(key, want).then(
        (reading) => sink.found(reading),
        (error: unknown) => sink.failed(error),
      );
      return;
    }
    meta.readInto(key, want, sink);
  }

  /** Called by the meta backend when the server refused a meta command: says it again the classic way. */
  refused(key: string, want: Want, sink: ReadSink, error: unknown): void {
    if (this.#learn(this.serverOf(key))) this.readInto(key, want, sink);
    else sink.failed(error);
  }

  /** A server may be asked in meta again once its connection speaks that. */
  #isPlain(server: string): boolean {
    if (!this.#plain.has(server)) return false;
    if (this.#spoken(server) !== "meta") return true;
    this.#plain.delete(server);
    return false;
  }

  /** Whether a refusal was about what is spoken. A server that cannot be used at all says nothing about that. */
  #learn(server: string): boolean {
    const spoken = this.#spoken(server);
    if (spoken === undefined || spoken === "meta") return false;
    this.#plain.add(server);
    return true;
  }

  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.#try("claim", key, token, leaseSeconds);
  }

  expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    return this.#try("expire", key, token, keepSeconds);
  }

  replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    return this.#try("replace", key, token, item, ttlSeconds);
  }

  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.#try("renew", key, token, leaseSeconds);
  }

  drop(key: string, token: Token): Promise<boolean> {
    return this.#try("drop", key, token);
  }

  put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    return this.#try("put", key, item, ttlSeconds, mode);
  }

  remove(key: string, keepSeconds?: number): Promise<boolean> {
    return this.#try("remove", key, keepSeconds);
  }

  async close(): Promise<void> {
    await Promise.all([this.#meta.close(), this.previous?.close()]);
  }

  async #try<Name extends Asked>(
    name: Name,
    ...args: Parameters<Backend[Name]>
  ): Promise<Awaited<ReturnType<Backend[Name]>>> {
    type Method = (...all: Parameters<Backend[Name]>) => Promise<Awaited<ReturnType<Backend[Name]>>>;
    const server = this.serverOf(args[0]);
    if (!this.#isPlain(server)) {
      try {
        return await (this.#meta[name] as Method).apply(this.#meta, args);
      } catch (error) {
        if (!isEverfreshError(error, "EF_UNSUPPORTED") || !this.#learn(server)) throw error;
      }
    }
    return await (this.#classic[name] as Method).apply(this.#classic, args);
  }
}
