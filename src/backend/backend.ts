/**
 * The contract of a backend: where values live, and what each promise about them means.
 *
 * A backend knows items (bytes and flags), tokens and time to live. It does not know namespaces, tags, envelopes or
 * freshness: those belong to the cache above it. Whoever writes a backend runs the contract suite of
 * `everfresh/testing` over it.
 *
 * Three rules carry everything:
 *
 * - A {@link Token} names one version of one item. {@link Backend.replace}, {@link Backend.claim},
 *   {@link Backend.renew} and {@link Backend.drop} act on that very version or not at all, also after the server
 *   restarted, forgot or was disconnected.
 * - A lease is a token of an empty item that {@link Backend.read} or {@link Backend.claim} made. Of all who read a
 *   missing key with a lease wanted, one gets it; the others read `leased` until it is replaced, dropped or expires.
 * - {@link Backend.remove} that has resolved was executed: nobody reads the old item any more, and no lease that
 *   was won before can replace the key.
 */

/** What is stored under a key. */
export interface Item {
  readonly bytes: Buffer;
  /** 0 for values. The number that marks a lease is the backend's own. */
  readonly flags: number;
  /** What the reader made of the bytes, for as long as the item lives in this process. */
  memo?: unknown;
}

/**
 * One version of one item, on one incarnation of one connection. Opaque: carry it, compare it by {@link sameToken}.
 * A counter of versions restarts with its server, so a version is worth nothing without its epoch.
 */
export interface Token {
  readonly epoch: unknown;
  readonly version: unknown;
}

/** What a reader asks for. */
export interface Want {
  /** Take a lease of so many seconds when the key is missing. */
  readonly lease?: number;
  /** Win the refresh of an item with fewer seconds than this to live; one reader wins. */
  readonly recache?: number;
  /** Ask for the remaining time to live. */
  readonly ttl?: boolean;
  /** The version that this process still has; when it is the current one, its bytes are not sent again. */
  readonly known?: Token;
}

/** What was found. */
export type Reading =
  /** Nothing, and no lease was asked for. */
  | { readonly kind: "absent" }
  /** Nothing; the caller now holds the lease. */
  | { readonly kind: "won"; readonly token: Token }
  /** Nothing yet: somebody else holds the lease. */
  | { readonly kind: "leased" }
  /** The version that the caller said it has is still the current one. */
  | { readonly kind: "same"; readonly token: Token; readonly ttlSeconds: number | undefined; readonly won: boolean }
  | {
      readonly kind: "item";
      readonly item: Item;
      readonly token: Token;
      /** Seconds to live, -1 for ever; undefined when it was not asked for. */
      readonly ttlSeconds: number | undefined;
      /** It was invalidated and kept, to be served by those who allow that. */
      readonly stale: boolean;
      /** The caller shall refresh it; `token` is its lease. */
      readonly won: boolean;
      /** Somebody else refreshes it. */
      readonly leased: boolean;
    };

/** Who waits for a reading. Exactly one of the two is called, once, and never before `readInto` has returned. */
export interface ReadSink {
  found(reading: Reading): void;
  failed(error: unknown): void;
  /**
   * For backends that can lend bytes: what was found is an item with flags 0 that is neither stale nor being refreshed, and
   * its bytes lie in `data` from `start` to `end` until this returns. True: that was enough, and nothing follows. False:
   * `found` follows, with bytes that may be kept.
   */
  glance?(data: Buffer, start: number, end: number): boolean;
}

/** The state of one server, as `cache.health()` shows it. */
export interface ServerHealth {
  readonly name: string;
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
}

/**
 * Where values live. Every method rejects with an `EverfreshError` when the server cannot be asked, within the
 * backend's own deadline; a miss is a value, never an error. Seconds to live: 0 means for ever.
 */
export interface Backend {
  /** Who sees what is stored: the whole fleet, this process alone, or nobody. */
  readonly reach: "fleet" | "process" | "nobody";
  /** Whether invalidated items can be kept, marked as stale, for those who allow them. */
  readonly keepsStale: boolean;
  /** The largest number of bytes that one item may have, roughly; larger ones are cut into chunks, which are sent before it. */
  readonly itemLimitBytes: number;
  /** Where keys lived before the set of servers changed; invalidations go there as well. */
  readonly previous?: Backend | undefined;
  /**
   * Whether commands for two keys of one server may be executed in another order than they were given in. Default: they are
   * not.
   */
  readonly reorders?: boolean | undefined;
  /** One sentence for the log: what it is and where. Never a secret. */
  describe(): string;
  /** The server that is home to `key`. It does not change because a server is down. */
  serverOf(key: string): string;
  servers(): readonly ServerHealth[];
  /** The item of `key` if it is in this process and valid; for backends that need not wait. */
  peek?(key: string): Item | undefined;
  read(key: string, want: Want): Promise<Reading>;
  /** The same as {@link read}, without a promise of its own on the way; for backends where that counts. */
  readInto?(key: string, want: Want, sink: ReadSink): void;
  /** Puts a lease in the place of the version `token`. Undefined when that is no longer the current one. */
  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined>;
  /**
   * Marks the version `token` as stale for `keepSeconds`, or for as long as it has left, if it still is the current one; who
   * reads next wins.
   */
  expire(key: string, token: Token, keepSeconds?: number): Promise<boolean>;
  /** Stores `item` in the place of the version `token`; answers the new version, or undefined when it was refused. */
  replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined>;
  /** Lets a lease live for `leaseSeconds` from now; answers its new token, or undefined when it was lost. */
  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined>;
  /** Removes the version `token`; false when it is no longer the current one. */
  drop(key: string, token: Token): Promise<boolean>;
  /** Stores without a lease: always, or only where nothing is. Not for values that were computed from a source. */
  put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean>;
  /** Removes whatever is there, or keeps it as stale for `keepSeconds`. Answers whether anything was there. */
  remove(key: string, keepSeconds?: number): Promise<boolean>;
  close(): Promise<void>;
}

/** Whether two tokens name the same version. */
export function sameToken(a: Token, b: Token): boolean {
  return a.epoch === b.epoch && a.version === b.version;
}
