/** What a simulated world is made of: who does what in it, what may break, and what is made wrong on purpose. */
import type { OutboxCache } from "everfresh/outbox";
import type { Backend } from "#src/backend/index.ts";
import type { Cache, ValueOptions } from "#src/cache/index.ts";
import type { Random } from "#src/clock.ts";
import type { SimProcess } from "./process.ts";

export type Deed =
  | "read"
  | "readPage"
  | "readUnstored"
  | "readBare"
  | "readPair"
  | "readMany"
  | "get"
  | "readShown"
  | "readFailing"
  | "look"
  | "put"
  | "raise"
  | "write"
  | "writeTag"
  | "refresh"
  | "clear"
  | "transact"
  | "tooEarly"
  | "delete"
  | "touch"
  | "rest";

/** What somebody does in one of the processes, step after step. */
export interface Actor {
  /** Index of the process. */
  readonly process: number;
  /**
   * `read`: getOrSet. `readPage`: a fragment that shows the value. `readUnstored`: getOrSet whose loader says `skip()`.
   * `readBare`: getOrSet without the tags. `readPair`: getOrSet of `k` and of `l` in one turn. `readMany`: both by one
   * getOrSetMany. `put`: commit, then set. `raise`: commit, then update; what is put must not be computed, and by one actor
   * only. `get`: what was put. `readShown`: a fragment that shows it. `write`: commit, then invalidate the key. `writeTag`:
   * commit, then invalidate the tag. `refresh`: commit, then refresh. `clear`: commit, then clear the namespace. `transact`:
   * write and invalidate in a transaction of the outbox. `tooEarly`: invalidate, then commit; wrong on purpose. `readFailing`:
   * getOrSet whose loader fails. `look`: get of what is computed. `delete`: commit, then delete. `touch`: gives the value
   * another time to live. `rest`: does nothing for a while.
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
  /** In one process a load of a key that is under way is shared, whoever asks and since when. */
  readonly sharesLoads?: boolean;
  /** What names chunks instead of chance. */
  readonly chunkIds?: Random;
  /** While the pool changes, nobody names the other set of servers. */
  readonly forgetsOtherServers?: boolean;
  /** What the outbox tells instead of the cache. */
  readonly told?: (cache: Cache) => OutboxCache;
}

export interface WorldOptions {
  readonly processes: number;
  readonly servers?: number;
  readonly actors: readonly Actor[];
  readonly breaks?: Partial<Record<Break, number>>;
  /** In total. Default: the sum of `breaks`. */
  readonly mostBreaks?: number;
  readonly local?: boolean;
  /** With `local`: values this young are not asked about. */
  readonly localMaxAgeMs?: number;
  /** Connections of each process to each server; a key has its own. Default: 1. */
  readonly lanes?: number;
  /** The servers are older than memcached 1.6.40: they cannot be asked for a value only if it has changed. */
  readonly oldServers?: boolean;
  /** The tags that every read gives its value. */
  readonly tags?: readonly string[];
  readonly staleWhileRevalidate?: boolean;
  /** How long values are fresh, and what their readers allow. */
  readonly relaxed?: Pick<
    ValueOptions,
    "ttl" | "staleWhileRevalidate" | "staleIfError" | "refreshAhead" | "timeout" | "jitter"
  >;
  /** How often time may pass although something else could happen. */
  readonly earlyTimers?: number;
  /** The namespace's generation is there already: fewer events, for exhaustive runs on one server. */
  readonly warm?: boolean;
  /** Leases by `add` and `cas` instead of the meta commands. */
  readonly classic?: boolean;
  /** Values are larger than an item may be, and are cut into chunks. */
  readonly chunked?: boolean;
  /**
   * The pool changes: processes of even number are on the servers `from`, with `to` as their previous ones, and the others
   * the other way round.
   */
  readonly moves?: { readonly from: readonly number[]; readonly to: readonly number[] };
  /** Every process has an outbox, with a relay or without. */
  readonly outbox?: "relayed" | "without relays";
  /** The processes that have a relay. Default: all. */
  readonly relays?: readonly number[];
  /**
   * What a server has executed is heard at once, and what a loader has read is answered at once: fewer orders, where such
   * delays are not the question. Nobody comes while a load runs, unless it is `replies` alone.
   */
  readonly prompt?: "replies" | "replies and loads";
  /** Whether too many loads are a failure where nothing breaks. Default true. */
  readonly countsLoads?: boolean;
  readonly variant?: Variant;
}
