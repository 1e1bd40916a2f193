/** What the processes of the proof are told, and what they write down. */

/** How values are cached, and how a write tells the cache. */
export type Strategy =
  /** Leases; the write invalidates the key. */
  | "invalidate"
  /** Leases; the write invalidates a tag of the key. */
  | "tags"
  /** Leases; the write commits its invalidation with the data. */
  | "outbox"
  /** The article's first: the write deletes the key, a miss sets what it loaded. */
  | "delete after write"
  /** The article's second: the write loads and sets, a miss sets what it loaded. */
  | "set after write";

export interface Plan {
  readonly strategy: Strategy;
  /** Of this run alone: what an earlier one left on the servers is nobody's. */
  readonly namespace: string;
  readonly servers: string;
  /** Options of `memcached()`: protocol, username, password, timeoutMs, previousServers, tls. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly local: boolean;
  /** Whether half of the reads are of pages, each made from two values; a write invalidates a value and knows of no page. */
  readonly pages: boolean;
  /** What a value carries beside its version, and the largest item that is written in one piece; bytes. */
  readonly padBytes: number;
  readonly itemBytes: number;
  /** After so many milliseconds an invalidation that is not confirmed is pending. */
  readonly invalidationTimeoutMs: number;
  /** See `openSource`. */
  readonly database: string;
  readonly keys: number;
  /** Loops that read, and that write, in each process. */
  readonly readers: number;
  readonly writers: number;
  /** Where this process writes down what it did. */
  readonly file: string;
}

/** What is cached of a key of the source. */
export interface Value {
  readonly key: number;
  readonly version: number;
  readonly pad: string;
}

/** What is made from the values of a key and of the next one. */
export type Page = readonly Value[];

export function valueKey(key: number): string {
  return `k${key}`;
}

export function pageKey(key: number): string {
  return `p${key}`;
}

/**
 * One line of the file, by its first letter. Times are microseconds of the clock that all processes of a machine share
 * (CLOCK_MONOTONIC).
 *
 * - `r <key> <began> <version> <status>`: a read
 * - `a <key> <version> <at>`: a write was acknowledged
 * - `p <key> <version> <at>`: a write is committed and its invalidation pending
 * - `l <key>`: a loader ran
 * - `e <message>`: something failed that should not
 */
export type Line = string;

export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
