/** What the meta commands take and give. */
import type { ConnectionEpoch } from "../connection/index.ts";
import type { Cas } from "./arguments.ts";

/** Flags of {@link MetaCommands.get}. Seconds are whole; 0 is "for ever", -1 "expired at once". */
export interface MetaGetFlags {
  /** `v`: the value. Default true. */
  readonly value?: boolean | undefined;
  /** `f`: the client flags. Default true. */
  readonly clientFlags?: boolean | undefined;
  /** `c` */
  readonly cas?: boolean | undefined;
  /** `t` */
  readonly ttl?: boolean | undefined;
  /** `s` */
  readonly size?: boolean | undefined;
  /** `h` */
  readonly hitBefore?: boolean | undefined;
  /** `l` */
  readonly lastAccess?: boolean | undefined;
  /** `u`: do not count this as a use of the item. */
  readonly noBump?: boolean | undefined;
  /** `T`: seconds that the item is to live from now on. */
  readonly touch?: number | undefined;
  /** `N`: on a miss make an empty item that lives this many seconds, and let one caller win. */
  readonly vivify?: number | undefined;
  /** `R`: when it has fewer seconds left than this, let one caller win. */
  readonly recache?: number | undefined;
  /** `C`, from memcached 1.6.40: the value only if the token is another one by now. */
  readonly ifChangedFrom?: Cas | undefined;
  /** `E`, from memcached 1.6.27: the token for an item made by `vivify`. */
  readonly newCas?: string | undefined;
  /** `O`: sent back by the server. */
  readonly opaque?: string | undefined;
}

/** What a server said about an item; what was not asked for is undefined. */
export interface MetaItem {
  readonly value: Buffer | undefined;
  readonly clientFlags: number;
  readonly cas: Cas | undefined;
  /** Seconds left; -1 is "for ever". */
  readonly ttl: number | undefined;
  readonly size: number | undefined;
  readonly hitBefore: boolean | undefined;
  /** Seconds since the last access. */
  readonly lastAccess: number | undefined;
  /** `W`: this caller is the one to make the value. */
  readonly won: boolean;
  /** `X`: the item was marked stale. */
  readonly stale: boolean;
  /** `Z`: another caller makes the value. */
  readonly leased: boolean;
  readonly opaque: string | undefined;
  readonly epoch: ConnectionEpoch;
}

/** An item made by `vivify` is a hit with an empty value: look at `won`, `leased` and `stale` before the value. */
export type MetaGetResult =
  | { readonly kind: "miss"; readonly epoch: ConnectionEpoch }
  | ({ readonly kind: "hit" } & MetaItem)
  | ({ readonly kind: "unchanged" } & MetaItem);

/** Flags of {@link MetaCommands.set}. */
export interface MetaSetFlags {
  /** `T`: seconds. Default 0: for ever. */
  readonly ttl?: number | undefined;
  /** `F`: 32 bits. Default 0. */
  readonly clientFlags?: number | undefined;
  /** `M`. Default `set`. */
  readonly mode?: "set" | "add" | "append" | "prepend" | "replace" | undefined;
  /** `C`: only if the item still has this token. */
  readonly compareCas?: Cas | undefined;
  /** `E`, from memcached 1.6.27 */
  readonly newCas?: string | undefined;
  /** `I`: mark as stale where the token is older. Together with `compareCas` an old value may be *stored*. */
  readonly invalidate?: boolean | undefined;
  /** `c`: tell the token of what was stored. */
  readonly returnCas?: boolean | undefined;
  /** `N`: with append and prepend make the item where there is none. */
  readonly vivify?: number | undefined;
  readonly opaque?: string | undefined;
}

export interface MetaSetResult {
  readonly kind: "stored" | "notStored" | "exists" | "notFound";
  readonly cas: Cas | undefined;
  readonly epoch: ConnectionEpoch;
}

/** Flags of {@link MetaCommands.delete}. */
export interface MetaDeleteFlags {
  /** `C` */
  readonly compareCas?: Cas | undefined;
  /** `E`, from memcached 1.6.27 */
  readonly newCas?: string | undefined;
  /** `I`: keep the item, marked stale. */
  readonly invalidate?: boolean | undefined;
  /** `T`, only with `invalidate`: seconds that the stale item is kept. */
  readonly ttl?: number | undefined;
  /** `x`, from memcached 1.6.27: keep the item, drop its value. */
  readonly dropValue?: boolean | undefined;
  readonly opaque?: string | undefined;
}

export interface MetaDeleteResult {
  readonly kind: "deleted" | "exists" | "notFound";
  readonly epoch: ConnectionEpoch;
}

/** Flags of {@link MetaCommands.arithmetic}. */
export interface MetaArithmeticFlags {
  /** `M`. Default `increment`. */
  readonly mode?: "increment" | "decrement" | undefined;
  /** `D`. Default 1. */
  readonly delta?: bigint | number | undefined;
  /** `N`: make the counter where there is none, living this many seconds. */
  readonly vivify?: number | undefined;
  /** `J`: what it then starts with. Default 0. */
  readonly initial?: bigint | number | undefined;
  /** `T`. memcached (seen with 1.6.18) forgets it where the number becomes longer, though it says it in `remaining`. */
  readonly ttl?: number | undefined;
  readonly compareCas?: Cas | undefined;
  readonly newCas?: string | undefined;
  /** `c` */
  readonly cas?: boolean | undefined;
  /** `t`: tell the seconds left. */
  readonly remaining?: boolean | undefined;
  readonly opaque?: string | undefined;
}

export type MetaArithmeticResult =
  | {
      readonly kind: "number";
      readonly value: bigint;
      readonly cas: Cas | undefined;
      readonly ttl: number | undefined;
      readonly epoch: ConnectionEpoch;
    }
  | { readonly kind: "notFound" | "notStored" | "exists"; readonly epoch: ConnectionEpoch };

/** What `me` says about an item, by the server's names: `exp`, `la`, `cas`, `fetch`, `cls`, `size`. */
export type MetaDebugResult =
  | { readonly kind: "miss"; readonly epoch: ConnectionEpoch }
  | { readonly kind: "hit"; readonly fields: Readonly<Record<string, string>>; readonly epoch: ConnectionEpoch };
