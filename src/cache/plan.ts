/** Options, resolved: what one call does, with every default visible. */
import type { Random } from "../clock.ts";
import { durationMs, type Duration } from "../duration.ts";
import { EverfreshError, shown } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import { checkTags } from "./keys.ts";
import { readOptionNames, type ReadOptions, type StandardSchema, type Ttl } from "./options.ts";

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
  /** Whether a monitor may compute it again. */
  readonly monitored: boolean;
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
  monitored: true,
  shared: false,
});

/** Options on top of one plan. What is asked for again and again is resolved once. */
export class Plans {
  /** What holds where nothing is said. */
  readonly base: Plan;
  readonly #fixed = new WeakMap<object, Plan>();
  /** The options that were resolved last, as they were, and how many they are. */
  #latest: ReadOptions = {};
  #latestCount = 0;
  #latestPlan: Plan;

  constructor(base: Plan) {
    this.base = base;
    this.#latestPlan = base;
  }

  /** @throws EverfreshError `EF_OPTION` */
  of(options: ReadOptions | undefined): Plan {
    if (options === undefined) return this.base;
    if (typeof options !== "object" || options === null)
      throw new EverfreshError("EF_OPTION", `options are an object such as { ttl: "5m" }; got ${shown(options)}`);
    if (this.#isLatest(options)) return this.#latestPlan;
    let plan = this.#fixed.get(options);
    if (plan === undefined) {
      plan = resolve(this.base, options);
      if (isFixed(options)) this.#fixed.set(options, plan);
    }
    this.#remember(options, plan);
    return plan;
  }

  #remember(options: ReadOptions, plan: Plan): void {
    const latest: Record<string, unknown> = {};
    this.#latestCount = 0;
    for (const name in options) {
      // The caller's own list may change.
      latest[name] = name === "tags" && options.tags !== undefined ? plan.tags : options[name as keyof ReadOptions];
      this.#latestCount++;
    }
    this.#latest = latest;
    this.#latestPlan = plan;
  }

  #isLatest(options: ReadOptions): boolean {
    const latest = this.#latest;
    let count = 0;
    for (const name in options) {
      const said = options[name as keyof ReadOptions];
      if (said !== latest[name as keyof ReadOptions]) {
        if (name !== "tags" || !areSame(options.tags, latest.tags)) return false;
      } else if (said === undefined && !Object.hasOwn(latest, name)) return false;
      count++;
    }
    return count === this.#latestCount;
  }
}

function areSame(tags: readonly string[] | undefined, latest: readonly string[] | undefined): boolean {
  if (!Array.isArray(tags) || latest === undefined || tags.length !== latest.length) return false;
  for (let index = 0; index < latest.length; index++) if (tags[index] !== latest[index]) return false;
  return true;
}

/** Whether options cannot become others. */
function isFixed(options: ReadOptions): boolean {
  return Object.isFrozen(options) && (options.tags === undefined || Object.isFrozen(options.tags));
}

/** @throws EverfreshError `EF_OPTION` for options that could not be obeyed when their time comes */
export function checkOptions(options: ReadOptions): void {
  resolve(defaultPlan, options);
}

/** @throws EverfreshError `EF_OPTION` */
function resolve(base: Plan, options: ReadOptions): Plan {
  checkNames(options, readOptionNames, "this call");
  return {
    ttlMs: options.ttl === undefined ? base.ttlMs : ttlMs(options.ttl),
    jitter: options.jitter === undefined ? base.jitter : fraction(options.jitter),
    tags: options.tags === undefined ? base.tags : checkTags(options.tags),
    staleMs: span(options.staleWhileRevalidate, "staleWhileRevalidate", base.staleMs),
    errorMs: span(options.staleIfError, "staleIfError", base.errorMs),
    aheadMs: span(options.refreshAhead, "refreshAhead", base.aheadMs),
    softMs: span(options.timeout, "timeout", base.softMs),
    hardMs: span(options.hardTimeout, "hardTimeout", base.hardMs),
    version: options.version === undefined ? base.version : hash(checkedVersion(options.version)),
    schema: options.schema === undefined ? base.schema : checkedSchema(options.schema),
    forceFresh: options.forceFresh ?? base.forceFresh,
    signal: options.signal ?? base.signal,
    collects: options.collects ?? base.collects,
    monitored: options.monitored ?? base.monitored,
    shared: options.shared ?? base.shared,
  };
}

/** A time to live, shortened by a random part of up to `jitter`. */
export function jittered(ttl: number, jitter: number, random: Random): number {
  return jitter === 0 || ttl === Infinity ? ttl : ttl * (1 - jitter * random.fraction());
}

/** @throws EverfreshError `EF_OPTION` */
export function ttlMs(ttl: Ttl): number {
  if (ttl === undefined) throw new EverfreshError("EF_OPTION", `ttl is missing; it is a duration or "forever"`);
  if ((ttl as unknown) === Infinity)
    throw new EverfreshError("EF_OPTION", `ttl is Infinity; that is written "forever"`);
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
  throw new EverfreshError("EF_OPTION", `jitter is ${shown(jitter)}; it is a fraction from 0 to below 1`);
}

/** Objects have one text for all of them, and so would be one version. */
function checkedVersion(version: string | number): string {
  if (typeof version === "string" || typeof version === "number") return String(version);
  throw new EverfreshError("EF_OPTION", `version is a text or a number; got ${shown(version)}`);
}

function checkedSchema(schema: StandardSchema): StandardSchema {
  const isObject = (typeof schema === "object" || typeof schema === "function") && schema !== null;
  if (isObject && typeof schema["~standard"]?.validate === "function") return schema;
  throw new EverfreshError(
    "EF_OPTION",
    `schema is a Standard Schema, which has ["~standard"].validate; got ${shown(schema)}`,
  );
}

/** FNV-1a, 32 bits, never 0. Only tells versions apart that the same developer wrote. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  return value === 0 ? 1 : value;
}
