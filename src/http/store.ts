/**
 * What the response cache needs of a cache (the one of `everfresh` has it): values that are bytes, loaded once in the fleet,
 * with tags and leases.
 */
import type { DurationParts } from "../duration.ts";

export interface StoreOptions {
  readonly ttl: DurationParts;
  readonly tags: readonly string[];
  readonly hardTimeout: DurationParts;
  /** What is read while a page is rendered is what it was made from. */
  readonly collects: true;
  readonly monitored: false;
  /** Nobody changes a record, so nobody needs a copy. */
  readonly shared: true;
  readonly staleWhileRevalidate: DurationParts;
  readonly refreshAhead: DurationParts;
  readonly timeout: DurationParts;
  readonly staleIfError: DurationParts;
}

/** What a loader may say. */
export interface StoreContext {
  /** The value that is being replaced, where it was kept. */
  readonly stale: unknown;
  setTtl(ttl: DurationParts): void;
  addTags(tags: readonly string[]): void;
  /** The value is for those who wait, and not stored. */
  skip(): void;
  /** Runs the handler as a part of the computation, so that what it reads is noted. */
  within<T>(work: () => T): T;
}

export interface StoreResult {
  readonly value: unknown;
  readonly status: "hit" | "miss" | "stale" | "bypass";
  /** 0 for what is not stored. */
  readonly ttlMs: number;
  /** What invalidates it, with the tags of what it was made from. */
  readonly tags: readonly string[];
  /**
   * Why it was no plain hit: `expired`, `invalidated` by its key, `tag songs`, `the loader failed` ... Of a hit: that nobody
   * was asked whether it is current.
   */
  readonly why: string | undefined;
}

export interface PageStore {
  getOrSetEntry(
    key: string,
    load: (context: StoreContext) => Promise<Buffer | undefined>,
    options: StoreOptions,
  ): Promise<StoreResult>;
  /** What `getOrSetEntry` would answer at once, if it need not ask anybody. */
  peekEntry?(key: string, options: StoreOptions): StoreResult | undefined;
  /** Its options say which tags the value must have, as those of a reader who would load it. */
  getEntry(key: string, options: StoreOptions): Promise<StoreResult>;
  invalidateTags(tags: readonly string[]): Promise<unknown>;
}
