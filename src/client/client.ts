/** Many servers behind one face. */
import type { LinkState, ServerVersion } from "../connection/index.ts";
import { EverfreshError } from "../errors.ts";
import type { ProtocolName } from "../protocol/index.ts";
import { anyKey } from "./arguments.ts";
import { BulkCommands } from "./bulk.ts";
import { Counters, type ClientCounters } from "./counters.ts";
import { MetaCommands } from "./meta-commands.ts";
import { parseServers } from "./address.ts";
import { Discovery } from "./discovery.ts";
import { resolveOptions, type ClientOptions } from "./options.ts";
import { Values } from "./values.ts";
import { memberState, Router } from "./router.ts";

/** What a client knows about one of its servers. */
export interface ServerInfo {
  /** `host:port` or `unix:/path`. */
  readonly name: string;
  readonly state: LinkState;
  /** What is spoken with it; undefined before the first connection. */
  readonly protocol: ProtocolName | undefined;
  readonly version: string | undefined;
  /** Calls without an answer. */
  readonly pending: number;
  /** Why it is down. */
  readonly cause: EverfreshError | undefined;
}

/** A memcached client. Made by {@link createClient}. */
export class MemcachedClient extends BulkCommands {
  /** The meta commands, with every flag. */
  readonly meta: MetaCommands;
  /** To each server. */
  readonly connections: number;
  readonly #discovery: Discovery | undefined;
  #closing: Promise<void> | undefined = undefined;

  constructor(options: ClientOptions) {
    const resolved = resolveOptions(options);
    const router = new Router(resolved);
    const values = new Values(resolved.flags, resolved.compression, resolved.valueLimitBytes);
    super(router, resolved, values, new Counters());
    this.meta = new MetaCommands(router, resolved.clock, resolved.timeoutMs);
    this.connections = resolved.connections;
    this.#discovery =
      resolved.discovery === undefined ? undefined : new Discovery(router, resolved, resolved.discovery);
  }

  /** What happened so far, over all servers. */
  numbers(): ClientCounters {
    const { hits, misses } = this.counters;
    const { answers, bytesRead, bytesWritten, connects, failures } = this.router.numbers();
    return { hits, misses, answers, bytesRead, bytesWritten, connects, failures };
  }

  /**
   * The name of the server that is home to `key`. It does not change because a server is down.
   *
   * @throws EverfreshError `EF_KEY` for the empty key and what is no key
   */
  serverOf(key: string | Uint8Array): string {
    return this.router.home(anyKey(key).home).name;
  }

  /** All servers with their state. */
  servers(): readonly ServerInfo[] {
    return this.router.members.map((member) => {
      const { links, name } = member;
      const link = links.find((each) => each.state === "up") ?? links[0];
      return {
        name,
        state: memberState(member),
        protocol: link?.protocol,
        version: (link?.version satisfies ServerVersion | undefined)?.text,
        pending: links.reduce((sum, each) => sum + each.pending, 0),
        cause: link?.cause,
      };
    });
  }

  /** What is spoken with a server at present; undefined while there is no connection to it. */
  protocolOf(server: string): ProtocolName | undefined {
    const member = this.router.members.find(({ name }) => name === server);
    return member?.links.find((link) => link.state === "up")?.protocol;
  }

  /** Takes no more calls, waits for the end of those that were made (each has a deadline), and disconnects. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Takes another list of servers, as `servers` of {@link ClientOptions}. Servers that stay keep their connections, unless TLS
   * begins or ends, or the URLs name another user or password: then all are connected to anew. A list that names none keeps
   * those from before. Keys whose home changes are looked for at their new home: whoever invalidates must tell both for a
   * while.
   *
   * @throws EverfreshError `EF_OPTION` for a list that cannot be read, names others than the options `username` and
   *   `password` did, or would move keys after {@link keepHomes}; the old one then stays
   */
  changeServers(servers: ClientOptions["servers"]): void {
    if (this.#closing !== undefined) throw new EverfreshError("EF_CLOSED", "The client was closed.");
    this.router.change(parseServers(servers));
  }

  /**
   * From now on every key stays at its home, as a cache needs it that is to be fresh: `changeServers` takes the same servers only.
   * `memcached(client)` says this for you.
   *
   * @throws EverfreshError `EF_OPTION` for a client with `failover` or `discovery`
   */
  keepHomes(): void {
    this.router.keepHomes();
  }

  async #close(): Promise<void> {
    this.#discovery?.stop();
    await this.router.close(this.operations);
  }
}

/**
 * Makes a client. It connects when it is first used.
 *
 * @throws EverfreshError `EF_OPTION` at once for options that are missing, unknown or out of range
 */
export function createClient(options: ClientOptions): MemcachedClient {
  return new MemcachedClient(options);
}
