/** How values are kept: every option, its default and the reason to change it. `plan.ts` resolves them. */
import type { Duration } from "../duration.ts";

/** How long a value is fresh. `"forever"`: until it is invalidated or memory is needed. */
export type Ttl = Duration | "forever";

/** The part of a Standard Schema (standardschema.dev) that is used: a check that needs no waiting. */
export interface StandardSchema {
  readonly "~standard": {
    readonly validate: (value: unknown) => { readonly issues?: readonly unknown[] | undefined } | Promise<unknown>;
  };
}

/** How values are kept: options of the cache, of an entry, or of one call; the nearer one counts. */
export interface ValueOptions {
  /** How long a value is fresh. Default: 1 hour. `"0s"`: computed once for all who wait, and not stored. */
  readonly ttl?: Ttl | undefined;
  /** Shortens each ttl by a random part of up to this fraction, so that values do not expire together. Default: 0. */
  readonly jitter?: number | undefined;
  /** A relaxation: a value that expired or was invalidated less than this ago may be served while one caller refreshes it. */
  readonly staleWhileRevalidate?: Duration | undefined;
  /** A relaxation: a value that expired or was invalidated less than this ago is served when its loader fails. */
  readonly staleIfError?: Duration | undefined;
  /**
   * A value with less than this to live is refreshed in the background, once in the fleet. On memcached, which counts whole
   * seconds, up to two seconds earlier. Default: never.
   */
  readonly refreshAhead?: Duration | undefined;
  /** After this, a caller with `staleIfError` gets a value that it may have by that, and the loader goes on. Default: no limit. */
  readonly timeout?: Duration | undefined;
  /**
   * After this, the loader is given up and its callers get `EF_LOAD_TIMEOUT`; so is one whose turn (`maxConcurrentLoads`) has
   * not come for as long. Default: 30 s.
   */
  readonly hardTimeout?: Duration | undefined;
  /** Of which shape the values are. Another version that is found is a miss. Default: none. */
  readonly version?: string | number | undefined;
  /** Checks what is read; a mismatch is a miss. A Standard Schema whose check is synchronous. */
  readonly schema?: StandardSchema | undefined;
}

/** Options of one read. */
export interface ReadOptions extends ValueOptions {
  /** What the value depends on; see `invalidateTags`. A value that is found without one of them is a miss. */
  readonly tags?: readonly string[] | undefined;
  /**
   * Invalidates first, so that this call computes and never gets a stale value, whatever it allows; others may, if they do. Rejects
   * with `EF_INVALIDATION_PENDING` where the invalidation is not confirmed.
   */
  readonly forceFresh?: boolean | undefined;
  /**
   * Takes over the tags of everything that is read from the cache while the value is computed, and ends with it: what
   * invalidates the inner value invalidates this one. Fragments and pages do. Default: false.
   */
  readonly collects?: boolean | undefined;
  /** Whether a monitor may call the loader again, to compare. Pages say no: a handler answers one visitor. Default: true. */
  readonly monitored?: boolean | undefined;
  /**
   * For values that nobody changes: everybody gets the very same one, without a copy of their own. A promise of the
   * caller's that is not checked. Default: false.
   */
  readonly shared?: boolean | undefined;
  /** Ends this caller's waiting with `EF_ABORTED`; others who wait for the same value are not disturbed. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a value from before may be served, and when. */
export type Relaxations = Pick<ValueOptions, "staleWhileRevalidate" | "staleIfError">;

/** What may be said of all values of a cache. */
export type CommonOptions = Omit<ValueOptions, "schema" | "version">;

/** The names of {@link CommonOptions}. */
export const commonOptionNames: Record<keyof CommonOptions, true> = {
  ttl: true,
  jitter: true,
  staleWhileRevalidate: true,
  staleIfError: true,
  refreshAhead: true,
  timeout: true,
  hardTimeout: true,
};

/** The names of {@link ReadOptions}. */
export const readOptionNames: Record<keyof ReadOptions, true> = {
  ...commonOptionNames,
  version: true,
  schema: true,
  tags: true,
  forceFresh: true,
  collects: true,
  monitored: true,
  shared: true,
  signal: true,
};
