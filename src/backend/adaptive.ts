/**
 * Leases by the best that each server understands: the meta commands, or `add` and `cas` where it has none.
 *
 * What a server understands is known when it has answered once; a refused meta command was not executed, so it is
 * said again the classic way.
 */
import { isEverfreshError } from "../errors.ts";
import type { Backend, Item, Reading, ReadSink, ServerHealth, Token, Want } from "./backend.ts";

type Asked = "read" | "claim" | "expire" | "replace" | "renew" | "drop" | "put" | "remove";

export class AdaptiveBackend implements Backend {
  readonly reach = "fleet";
  readonly itemLimitBytes: number;
  readonly previous: Backend | undefined;
  readonly #meta: Backend;
  readonly #classic: Backend;
  /** Servers that were found to have no meta commands. */
  readonly #plain = new Set<string>();

  constructor(meta: Backend, classic: Backend, previous: Backend | undefined) {
    this.#meta = meta;
    this.#classic = classic;
    this.previous = previous;
    this.itemLimitBytes = meta.itemLimitBytes;
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
    if (meta.readInto === undefined || (this.#plain.size > 0 && this.#plain.has(this.serverOf(key)))) {
      this.read(key, want).then(
        (reading) => sink.found(reading),
        (error: unknown) => sink.failed(error),
      );
      return;
    }
    meta.readInto(key, want, sink);
  }

  /** Called by the meta backend when the server refused a meta command: says it again the classic way. */
  refused(key: string, want: Want, sink: ReadSink): void {
    this.#plain.add(this.serverOf(key));
    this.readInto(key, want, sink);
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
    if (!this.#plain.has(server)) {
      try {
        return await (this.#meta[name] as Method).apply(this.#meta, args);
      } catch (error) {
        if (!isEverfreshError(error, "EF_UNSUPPORTED")) throw error;
        this.#plain.add(server);
      }
    }
    return await (this.#classic[name] as Method).apply(this.#classic, args);
  }
}
