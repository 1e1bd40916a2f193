/** Every option of the cache, its default and the reason to change it; resolved once into a plan. */
import { durationMs, type Duration } from "../duration.ts";
import { EverfreshError } from "../errors.ts";
import { checkTags } from "./keys.ts";

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
  readonly ttl?: Ttl;
  /** Shortens each ttl by a random part of up to this fraction, so that values do not expire together. Default: 0. */
  readonly jitter?: number;
  /** A relaxation: a value that expired or was invalidated less than this ago may be served while one caller refreshes it. */
  readonly staleWhileRevalidate?: Duration;
  /** A relaxation: a value that expired or was invalidated less than this ago is served when its loader fails. */
  readonly staleIfError?: Duration;
  /** A value with less than this to live is refreshed in the background, once in the fleet. Default: never. */
  readonly refreshAhead?: Duration;
  /** After this, a caller who may have a stale value (see above) gets it and the loader goes on. Default: no limit. */
  readonly timeout?: Duration;
  /** After this, the loader is given up and its callers get `EF_LOAD_TIMEOUT`. Default: 30 s. */
  readonly hardTimeout?: Duration;
  /** Of which shape the values are. Another version that is found is a miss. Default: none. */
  readonly version?: string | number;
  /** Checks what is read; a mismatch is a miss. A Standard Schema whose check is synchronous. */
  readonly schema?: StandardSchema;
}

/** Options of one read. */
export interface ReadOptions extends ValueOptions {
  /** What the value depends on; see `invalidateTags`. */
  readonly tags?: readonly string[];
  /** Invalidates first, so that this call computes. */
  readonly forceFresh?: boolean;
  /**
   * Takes over the tags of everything that is read with a loader while the value is computed, and ends with it: what
   * invalidates the inner value invalidates this one. Fragments and pages do. Default: false.
   */
  readonly collects?: boolean;
  /**
   * For values that nobody changes: everybody gets the very same one, without a copy of their own. A promise of the
   * caller's that is not checked. Default: false.
   */
  readonly shared?: boolean;
  /** Ends this caller's waiting with `EF_ABORTED`; others who wait for the same value are not disturbed. */
  readonly signal?: AbortSignal;
}

/** Options, resolved. Milliseconds. */
export interface Plan {
  /** Infinity for ever. */
  readonly ttlMs: number;
  readonly jitter: number;
  readonly tags: readonly string[];
  readonly staleMs: number;
  readonly errorMs: number;
  readonly aheadMs: number;
  readonly softMs: number;
  readonly hardMs: number;
  /** A hash; 0 none. */
  readonly version: number;
  readonly schema: StandardSchema | undefined;
  readonly forceFresh: boolean;
  readonly signal: AbortSignal | undefined;
  /** Whether it takes over the tags of what is read while it is computed. */
  readonly collects: boolean;
  /** Whether everybody gets the same value. */
  readonly shared: boolean;
}

/** What holds where nothing is said. */
export const defaultPlan: Plan = Object.freeze({
  ttlMs: 3_600_000,
  jitter: 0,
  tags: [],
  staleMs: 0,
  errorMs: 0,
  aheadMs: 0,
  softMs: 0,
  hardMs: 30_000,
  version: 0,
  schema: undefined,
  forceFresh: false,
  signal: undefined,
  collects: false,
  shared: false,
});

const known: Record<keyof ReadOptions, true> = {
  ttl: true,
  jitter: true,
  staleWhileRevalidate: true,
  staleIfError: true,
  refreshAhead: true,
  timeout: true,
  hardTimeout: true,
  version: true,
  schema: true,
  tags: true,
  forceFresh: true,
  collects: true,
  shared: true,
  signal: true,
};

const resolved = new WeakMap<Plan, WeakMap<object, Plan>>();

/**
 * Options on top of `base`. The same options object is resolved once; a frozen or hoisted one costs a lookup.
 *
 * @throws EverfreshError `EF_OPTION`
 */
export function planOf(base: Plan, options: ReadOptions | undefined): Plan {
  if (options === undefined) return base;
  let plans = resolved.get(base);
  if (plans === undefined) resolved.set(base, (plans = new WeakMap()));
  let plan = plans.get(options);
  if (plan === undefined) {
    plan = resolve(base, options);
    if (Object.isFrozen(options)) plans.set(options, plan);
  }
  return plan;
}

function resolve(base: Plan, options: ReadOptions): Plan {
  for (const name in options)
    if (!Object.hasOwn(known, name)) throw new EverfreshError("EF_OPTION", `there is no option ${name}`);
  return {
    ttlMs: options.ttl === undefined ? base.ttlMs : ttlMs(options.ttl),
    jitter: options.jitter === undefined ? base.jitter : fraction(options.jitter),
    tags: options.tags === undefined ? base.tags : checkTags(options.tags),
    staleMs: span(options.staleWhileRevalidate, "staleWhileRevalidate", base.staleMs),
    errorMs: span(options.staleIfError, "staleIfError", base.errorMs),
    aheadMs: span(options.refreshAhead, "refreshAhead", base.aheadMs),
    softMs: span(options.timeout, "timeout", base.softMs),
    hardMs: span(options.hardTimeout, "hardTimeout", base.hardMs),
    version: options.version === undefined ? base.version : hash(String(options.version)),
    schema: options.schema ?? base.schema,
    forceFresh: options.forceFresh ?? base.forceFresh,
    signal: options.signal ?? base.signal,
    collects: options.collects ?? base.collects,
    shared: options.shared ?? base.shared,
  };
}

/** @throws EverfreshError `EF_OPTION` */
export function ttlMs(ttl: Ttl): number {
  return ttl === "forever" ? Infinity : span(ttl, "ttl", 0);
}

const texts = new Map<string, number>();

/** A duration in milliseconds; texts that were seen before are not parsed again. */
export function span(duration: Duration | undefined, name: string, otherwise: number): number {
  if (duration === undefined) return otherwise;
  if (typeof duration !== "string") return durationMs(duration, name);
  let ms = texts.get(duration);
  if (ms === undefined) {
    ms = durationMs(duration, name);
    if (texts.size < 1_000) texts.set(duration, ms);
  }
  return ms;
}

function fraction(jitter: number): number {
  if (typeof jitter === "number" && jitter >= 0 && jitter < 1) return jitter;
  throw new EverfreshError("EF_OPTION", `jitter is ${String(jitter)}; it is a fraction from 0 to below 1`);
}

/** FNV-1a, 32 bits, never 0. Only tells versions apart that the same developer wrote. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  return value === 0 ? 1 : value;
}
