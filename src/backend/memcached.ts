/**
 * Values on a pool of memcached servers, with leases of the meta protocol.
 *
 *     read, missing     mg k v c f N5      -> VA 0 W    won: this caller computes
 *                                          -> VA 0 Z    leased: somebody else does
 *     fill              ms k <bytes> C<cas>             -> HD stored, EX or NF refused
 *     renew             ms k "" C<cas> T5 F<mark> c     -> HD c<new cas>
 *     take over         ms k "" C<cas of the old value> -> HD: the old value became a lease
 *     release           md k C<cas>
 *     invalidate        md k                            -> HD or NF: no older lease can fill any more
 *     still the same?   mg k v c C<cas>   -> HD: it is     (from 1.6.40; before: mg k c, and mg k v when it is not)
 *     keep as stale     md k I T30                      -> the next reader gets X W and the old value
 *
 * Two details decide. W, Z and X are looked at before the value, because an item that was just made looks like a hit
 * with an empty value. And a compare-and-swap number is worth nothing after its connection: a restarted server counts
 * from one again, so each command that compares is sent on the connection that answered with the number, or not at
 * all (`on`). `I` is never combined with `C` on `ms`: memcached would then store the older value.
 */
import type { Backend, Item, Reading, ReadSink, ServerHealth, Token, Want } from "./backend.ts";
import type { LeaseCas as Cas, LeaseClient, LeaseEpoch } from "./lease-client.ts";
import { leaseMark, MetaRead, type MetaReader } from "./meta-read.ts";

/** A longer relative time is taken for a date by memcached (protocol.txt, "Expiration times"). */
const longestTtlSeconds = 30 * 24 * 60 * 60;

/** memcached's default `-I 1m`, less what the item's own header and key take. */
const defaultItemLimitBytes = 1024 * 1024 - 1024;

export interface LeaseBackendOptions {
  /** The servers where keys lived before; invalidations go there as well. */
  readonly previous?: Backend | undefined;
  /** Takes over a read that a server without meta commands has refused. */
  readonly refused?: ((key: string, want: Want, sink: ReadSink, error: unknown) => void) | undefined;
  /** The largest item that the servers take. Default: 1 MiB less its header, as memcached's `-I 1m` has it. */
  readonly itemLimitBytes?: number | undefined;
}

/** A backend that keeps leases by the meta protocol, over a client or whatever behaves like one. */
export function metaBackend(client: LeaseClient, options: LeaseBackendOptions = {}): Backend {
  return new MetaBackend(client, options);
}

class MetaBackend implements Backend, MetaReader {
  readonly reach = "fleet";
  readonly keepsStale = true;
  readonly itemLimitBytes: number;
  readonly reorders: boolean;
  readonly previous: Backend | undefined;
  readonly client: LeaseClient;
  readonly refused: LeaseBackendOptions["refused"];
  /** Where there is only one server, it is home to every key. */
  readonly #only: string | undefined;
  /** Servers that do not take `mg k v C<cas>`. */
  readonly #unconditional = new Set<string>();

  constructor(client: LeaseClient, options: LeaseBackendOptions) {
    this.client = client;
    const [first, second] = client.servers();
    this.#only = second === undefined ? first?.name : undefined;
    this.reorders = (client.connections ?? 1) > 1;
    this.previous = options.previous;
    this.refused = options.refused;
    this.itemLimitBytes = options.itemLimitBytes ?? defaultItemLimitBytes;
  }

  describe(): string {
    const names = this.client.servers().map((server) => server.name);
    return `memcached at ${names.join(", ")}`;
  }

  serverOf(key: string): string {
    return this.#only ?? this.client.serverOf(key);
  }

  servers(): readonly ServerHealth[] {
    return this.client.servers().map(({ name, state }) => ({ name, state }));
  }

  read(key: string, want: Want): Promise<Reading> {
    return new Promise((found, failed) => this.readInto(key, want, { found, failed }));
  }

  readInto(key: string, want: Want, sink: ReadSink): void {
    new MetaRead(this, key, want, sink).ask();
  }

  isUnconditional(key: string): boolean {
    return this.#unconditional.size > 0 && this.#unconditional.has(this.serverOf(key));
  }

  foundUnconditional(key: string): void {
    this.#unconditional.add(this.serverOf(key));
  }

  async claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return await this.#swap(key, token, "", leaseSeconds, leaseMark);
  }

  async renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return await this.#swap(key, token, "", leaseSeconds, leaseMark);
  }

  async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    return await this.#swap(key, token, item.bytes, ttlSeconds, item.flags);
  }

  async #swap(
    key: string,
    token: Token,
    bytes: Buffer | string,
    seconds: number,
    clientFlags: number,
  ): Promise<Token | undefined> {
    const flags = { compareCas: token.version as Cas, ttl: wireTtl(seconds), clientFlags, returnCas: true };
    const answer = await this.client.meta.set(key, bytes, flags, { on: token.epoch as LeaseEpoch });
    if (answer.kind !== "stored") return undefined;
    return { epoch: answer.epoch, version: answer.cas };
  }

  async expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    const kept = { compareCas: token.version as Cas, invalidate: true };
    const flags = keepSeconds === undefined ? kept : { ...kept, ttl: wireTtl(keepSeconds) };
    const answer = await this.client.meta.delete(key, flags, { on: token.epoch as LeaseEpoch });
    return answer.kind === "deleted";
  }

  async drop(key: string, token: Token): Promise<boolean> {
    const flags = { compareCas: token.version as Cas };
    const answer = await this.client.meta.delete(key, flags, { on: token.epoch as LeaseEpoch });
    return answer.kind === "deleted";
  }

  async put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    const flags = { ttl: wireTtl(ttlSeconds), clientFlags: item.flags, mode };
    const answer = await this.client.meta.set(key, item.bytes, flags);
    return answer.kind === "stored";
  }

  async remove(key: string, keepSeconds = 0): Promise<boolean> {
    const flags = keepSeconds > 0 ? { invalidate: true, ttl: wireTtl(keepSeconds) } : {};
    const answer = await this.client.meta.delete(key, flags);
    return answer.kind === "deleted";
  }

  async close(): Promise<void> {
    await Promise.all([this.client.close(), this.previous?.close()]);
  }
}

function wireTtl(seconds: number): number {
  return Math.min(Math.ceil(seconds), longestTtlSeconds);
}
