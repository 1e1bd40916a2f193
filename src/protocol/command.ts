/**
 * What a client may ask, whatever protocol says it.
 *
 * A {@link Command} is plain data. `meta-encoder.ts`, `text-encoder.ts` and `binary-encoder.ts` know how to say it,
 * the readers beside them how to read the answer. Fields that few commands have live in {@link Details}, so that the
 * common ones stay small: a command is made for every call.
 */

/** The families of commands. */
export type Verb =
  | "get"
  | "getMany"
  | "store"
  | "delete"
  | "touch"
  | "arithmetic"
  | "debug"
  | "noop"
  | "version"
  | "flush"
  | "stats"
  | "cluster"
  | "login"
  | "sasl";

/** How a value is stored. */
export type StoreMode = "set" | "add" | "append" | "prepend" | "replace";

/** What a reader wants to know: a sum of these. */
export const want = {
  value: 1,
  flags: 2,
  cas: 4,
  ttl: 8,
  size: 16,
  hitBefore: 32,
  lastAccess: 64,
  noBump: 128,
} as const;

/** What only some commands carry. Seconds are as memcached reads them, already made absolute where they must be. */
export interface Details {
  mode?: StoreMode;
  clientFlags?: number;
  /** `C`: only if the item still has this token. */
  compareCas?: string;
  /** `E`: the token that the item is to have. */
  newCas?: string;
  /** `N` */
  vivify?: number;
  /** `R` */
  recache?: number;
  /** `I` */
  invalidate?: boolean;
  /** `x` */
  dropValue?: boolean;
  /** `C` of `mg`: the value only if the token differs. */
  ifChangedFrom?: string;
  opaque?: string;
  /** Arithmetic: whether to subtract, by how much, and what to start with (with `vivify`). */
  subtract?: boolean;
  delta?: bigint;
  initial?: bigint;
  /** What `stats` and `cluster` ask for; the mechanism of `sasl`; the key of `login`. */
  argument?: string;
  /** Several keys of one question; which of them are base64. */
  keys?: readonly string[];
  encoded?: readonly boolean[] | undefined;
}

/** One thing asked of one server. */
export interface Command {
  readonly verb: Verb;
  /** A legal key, see `key.ts`; empty for commands without one. */
  readonly key: string;
  /** Whether `key` is base64 of the key that is meant. */
  readonly base64: boolean;
  /** A sum of {@link want}. */
  readonly wanted: number;
  /** Text is sent as UTF-8. */
  readonly data: string | Uint8Array | undefined;
  /** Seconds; -1 means "expired at once", undefined "not said". */
  readonly ttl: number | undefined;
  readonly details: Details | undefined;
}
