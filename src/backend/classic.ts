/**
 * Leases without the meta commands: on classic text and binary, for proxies, clones and hosted pools that speak only those.
 *
 *     read, missing     gets k               -> nothing
 *                       add k <random> F<lease mark>    -> stored: this caller won; not stored: somebody was faster
 *                       gets k               -> the number, if the text is still ours (binary tells it with the add)
 *     fill              cas k <bytes> <number>          -> stored, or refused: invalidated, evicted, taken over
 *     renew, take over  cas k <random> F<lease mark> <number>
 *     release           cas k "" F<free mark> <number>  -> who reads next takes it over
 *     invalidate        delete k
 *
 * The guarantees are those of the meta leases (design 3.2); a miss costs two more round trips. Stale items cannot be
 * kept and refreshes cannot be won ahead of time, so `staleWhileRevalidate`, `staleIfError` and `refreshAhead` have no effect
 * here: a value that was invalidated or has expired is gone. No classic command deletes one version of an item, hence the
 * free mark.
 */
import type { Cas, ConnectionEpoch, MemcachedClient } from "../client/index.ts";
import { systemRandom, type Random } from "../clock.ts";
import {
  sameToken,
  type Backend,
  type Item,
  type Reading,
  type ServerHealth,
  type Token,
  type Want,
} from "./backend.ts";

/** What the backend needs of a client; a simulated world may stand in for it. */
export type ClassicClient = Pick<
  MemcachedClient,
  "get" | "add" | "set" | "cas" | "delete" | "serverOf" | "servers" | "close"
> &
  Partial<Pick<MemcachedClient, "connections">>;

/** In the flags of a lease; its value is the random text of its holder. */
const leaseMark = 0x1ea5e;
/** In the flags of a lease that was given back. */
const freeMark = 0x1ea5f;
const freeSeconds = 5;
const longestTtlSeconds = 30 * 24 * 60 * 60;

export interface ClassicBackendOptions {
  readonly itemLimitBytes: number;
  readonly random?: Random;
}

/** A backend that keeps leases by `add` and `cas`. */
export function classicBackend(client: ClassicClient, options: ClassicBackendOptions): Backend {
  return new ClassicBackend(client, options);
}

interface Found {
  readonly bytes: Buffer;
  readonly flags: number;
  readonly token: Token;
}

class ClassicBackend implements Backend {
  readonly reach = "fleet";
  readonly keepsStale = false;
  readonly itemLimitBytes: number;
  readonly reorders: boolean;
  readonly #client: ClassicClient;
  readonly #random: Random;

  constructor(client: ClassicClient, options: ClassicBackendOptions) {
    this.#client = client;
    this.#random = options.random ?? systemRandom;
    this.itemLimitBytes = options.itemLimitBytes;
    this.reorders = (client.connections ?? 1) > 1;
  }

  describe(): string {
    const names = this.#client.servers().map((server) => server.name);
    return `memcached at ${names.join(", ")}`;
  }

  serverOf(key: string): string {
    return this.#client.serverOf(key);
  }

  servers(): readonly ServerHealth[] {
    return this.#client.servers().map(({ name, state }) => ({ name, state }));
  }

  async read(key: string, want: Want): Promise<Reading> {
    // Somebody may fill, release or invalidate between the steps; then it is begun again, a few times.
    for (let attempt = 0; attempt < 4; attempt++) {
      const found = await this.#gets(key);
      if (found === undefined) {
        if (want.lease === undefined) return { kind: "absent" };
        const token = await this.#add(key, want.lease);
        if (token !== undefined) return { kind: "won", token };
      } else if (found.flags === freeMark) {
        if (want.lease === undefined) return { kind: "absent" };
        const token = await this.claim(key, found.token, want.lease);
        if (token !== undefined) return { kind: "won", token };
      } else if (found.flags === leaseMark) {
        return want.lease === undefined ? { kind: "absent" } : { kind: "leased" };
      } else return reading(found, want);
    }
    return { kind: "leased" };
  }

  async claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    const mine = this.#draw();
    const answer = await this.#cas(key, token, mine, leaseSeconds, leaseMark);
    if (answer === undefined || answer.version !== undefined) return answer;
    return await this.#mine(key, mine);
  }

  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return this.claim(key, token, leaseSeconds);
  }

  async replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    const answer = await this.#cas(key, token, item.bytes, ttlSeconds, item.flags);
    // Classic text does not tell the new number; a version that equals no other makes the tier read once more.
    return answer && { epoch: answer.epoch, version: answer.version ?? {} };
  }

  async drop(key: string, token: Token): Promise<boolean> {
    return (await this.#cas(key, token, "", freeSeconds, freeMark)) !== undefined;
  }

  expire(key: string, token: Token): Promise<boolean> {
    return this.drop(key, token);
  }

  async put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    const options = { clientFlags: item.flags, ...lifetime(ttlSeconds) };
    const answer = await this.#client[mode](key, item.bytes, options);
    return answer.kind === "stored";
  }

  async remove(key: string): Promise<boolean> {
    const answer = await this.#client.delete(key);
    return answer.kind === "deleted";
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #gets(key: string): Promise<Found | undefined> {
    const answer = await this.#client.get(key, { as: "bytes", cas: true });
    if (answer.kind === "miss") return undefined;
    return {
      bytes: answer.value,
      flags: answer.clientFlags,
      token: { epoch: answer.epoch, version: answer.cas },
    };
  }

  async #add(key: string, seconds: number): Promise<Token | undefined> {
    const mine = this.#draw();
    const options = { clientFlags: leaseMark, ...lifetime(seconds) };
    const answer = await this.#client.add(key, mine, options);
    return answer.kind === "stored" ? await this.#mine(key, mine) : undefined;
  }

  /** The number of the item under `key`, if it holds the text that only this caller drew. */
  async #mine(key: string, mine: string): Promise<Token | undefined> {
    const found = await this.#gets(key);
    return found?.flags === leaseMark && found.bytes.toString("latin1") === mine ? found.token : undefined;
  }

  async #cas(
    key: string,
    token: Token,
    value: Buffer | string,
    seconds: number,
    clientFlags: number,
  ): Promise<Token | undefined> {
    const options = { clientFlags, on: token.epoch as ConnectionEpoch, ...lifetime(seconds) };
    const answer = await this.#client.cas(key, value, token.version as Cas, options);
    return answer.kind === "stored" ? { epoch: answer.epoch, version: answer.cas } : undefined;
  }

  #draw(): string {
    return Buffer.from(this.#random.bytes(12)).toString("base64url");
  }
}

function reading({ bytes, flags, token }: Found, { known }: Want): Reading {
  if (known !== undefined && sameToken(known, token)) return { kind: "same", token, ttlSeconds: undefined, won: false };
  const item = { bytes, flags };
  return { kind: "item", item, token, ttlSeconds: undefined, stale: false, won: false, leased: false };
}

function lifetime(seconds: number): { ttl?: { seconds: number } } {
  return seconds === 0 ? {} : { ttl: { seconds: Math.min(Math.ceil(seconds), longestTtlSeconds) } };
}
