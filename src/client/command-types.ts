/** What the typed commands take and give. */
import type { CallOptions, ConnectionEpoch } from "../connection/index.ts";
import type { Duration } from "../duration.ts";
import type { EverfreshError } from "../errors.ts";
import type { Cas } from "./arguments.ts";

/** How a value is given back: as what was stored, or its bytes as they are, or these as UTF-8 text. */
export type ReadAs = "value" | "bytes" | "text";

export interface GetOptions extends CallOptions {
  /** Default `"value"`. With `"bytes"` and `"text"` the flags are not looked at and nothing is unpacked. */
  readonly as?: ReadAs | undefined;
  /** Tell the item's token, for {@link Commands.cas}. */
  readonly cas?: boolean | undefined;
}

export interface Hit<V> {
  readonly kind: "hit";
  readonly value: V;
  /** The 32 bits that were stored with the value. */
  readonly clientFlags: number;
  /** The item's token, if it was asked for. It is worth something only together with `epoch`. */
  readonly cas: Cas | undefined;
  readonly epoch: ConnectionEpoch;
}

export interface Miss {
  readonly kind: "miss";
  readonly epoch: ConnectionEpoch;
}

export type GetResult<V = unknown> = Hit<V> | Miss;

export interface StoreOptions extends CallOptions {
  /** How long it lives, rounded up to whole seconds. Default: for ever. */
  readonly ttl?: Duration | undefined;
  /** Store text or bytes as they are, with these flags, past the profile and its compression. */
  readonly clientFlags?: number | undefined;
  /** Tell the token of what was stored (meta and binary protocol). */
  readonly returnCas?: boolean | undefined;
}

export interface StoreResult {
  readonly kind: "stored" | "notStored" | "exists" | "notFound";
  readonly cas: Cas | undefined;
  readonly epoch: ConnectionEpoch;
}

export interface DeleteOptions extends CallOptions {
  /** Only if the item still has this token (meta and binary protocol). */
  readonly compareCas?: Cas | undefined;
}

export interface DeleteResult {
  readonly kind: "deleted" | "exists" | "notFound";
  readonly epoch: ConnectionEpoch;
}

export interface TouchResult {
  readonly kind: "touched" | "notFound";
  readonly epoch: ConnectionEpoch;
}

export interface CountOptions extends CallOptions {
  /** By how much. Default 1. */
  readonly delta?: bigint | number | undefined;
  /** Makes the counter where there is none, with this; the delta is not applied then. */
  readonly initial?: bigint | number | undefined;
  /** How long a counter made by `initial` lives. Default: for ever. */
  readonly ttl?: Duration | undefined;
}

export type CountResult =
  | { readonly kind: "number"; readonly value: bigint; readonly epoch: ConnectionEpoch }
  | { readonly kind: "notFound"; readonly epoch: ConnectionEpoch };

/** The outcome for many keys, or for all servers: what is known, and what failed. It never rejects for a server's failure. */
export interface Many<K, V> {
  readonly values: ReadonlyMap<K, V>;
  readonly errors: ReadonlyMap<K, EverfreshError>;
}
