/** `createCache`: its options, checked once, and what caches on one backend share. */
import type { Backend } from "../backend/index.ts";
import { systemClock, systemRandom, type Clock, type Random } from "../clock.ts";
import type { Duration } from "../duration.ts";
import { EverfreshError, shown } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import { checkFunction } from "./arguments.ts";
import { Cache } from "./cache.ts";
import { deliveriesOf, type Deliveries } from "./deliveries.ts";
import { Engines } from "./engines.ts";
import { Generations } from "./generations.ts";
import { Loads } from "./loading.ts";
import { commonOptionNames, type CommonOptions } from "./options.ts";
import { defaultPlan, Plans, span, type Plan } from "./plan.ts";
import { Turns } from "./rounds.ts";
import type { Serializer } from "./serializer.ts";

/** The in-process tier over the servers. */
export interface LocalOptions {
  /**
   * A relaxation: values that the server was asked about less than this ago, or whose computation began so, are served without
   * asking it. What was invalidated by this cache or its namespaces is asked about at once; another `createCache` is to
   * this one as another process. Default: it is asked on every read.
   */
  readonly maxAge?: Duration | undefined;
  /** The most bytes that the tier of one namespace takes. Default: 32 MiB. */
  readonly limitBytes?: number | undefined;
  /** The most values in the tier of one namespace. Default: 10,000. */
  readonly limitEntries?: number | undefined;
}

export interface CacheOptions extends CommonOptions {
  /** Where values live: `memcached(...)`, `memory()`, `none()`. */
  readonly backend: Backend;
  /** Whose keys these are; caches of different namespaces never meet. Default: `everfresh`. */
  readonly namespace?: string | undefined;
  /** Keeps decoded values in this process; each read asks the server whether they still are right. Default: off. */
  readonly local?: boolean | LocalOptions | undefined;
  /** How long a lease lasts without being renewed; a process that died blocks a key for so long. Default: 5 s. */
  readonly lease?: Duration | undefined;
  /** How long a caller waits while another process computes, before it computes by itself. Default: 10 s. */
  readonly wait?: Duration | undefined;
  /** How long an invalidation may take before it rejects with `EF_INVALIDATION_PENDING`. Default: 2 s. */
  readonly invalidationTimeout?: Duration | undefined;
  /** Loads that run at a time where no cache server can be asked; all keys of `getOrSetMany` together are one. Default: 32. */
  readonly maxConcurrentLoads?: number | undefined;
  /** How values become bytes. Default: JSON where it is exact, otherwise V8's structured format. */
  readonly serializer?: Serializer | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

const localNames: Record<keyof LocalOptions, true> = { maxAge: true, limitBytes: true, limitEntries: true };

/** The in-process tier that was asked for, with its defaults. */
export interface Local {
  readonly maxAgeMs: number;
  readonly limitBytes: number;
  readonly limitEntries: number;
}

/** @throws EverfreshError `EF_OPTION` */
function localOf(local: boolean | LocalOptions): Local | undefined {
  if (local === false) return undefined;
  if (local !== true && (typeof local !== "object" || local === null))
    throw new EverfreshError("EF_OPTION", "local is true, false or an object");
  const options = local === true ? {} : local;
  checkNames(options, localNames, "local");
  return {
    maxAgeMs: span(options.maxAge, "local.maxAge", 0),
    limitBytes: positive(options.limitBytes ?? 32 * 1024 * 1024, "local.limitBytes"),
    limitEntries: positive(options.limitEntries ?? 10_000, "local.limitEntries"),
  };
}

function positive(value: number, name: string): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new EverfreshError("EF_OPTION", `${name} is ${shown(value)}; it is a whole number from 1`);
}

const optionNames: Record<keyof CacheOptions, true> = {
  ...commonOptionNames,
  backend: true,
  namespace: true,
  local: true,
  lease: true,
  wait: true,
  invalidationTimeout: true,
  maxConcurrentLoads: true,
  serializer: true,
  clock: true,
  random: true,
};

/** What caches on one backend have in common. */
export interface Shared {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly random: Random;
  readonly deliveries: Deliveries;
  readonly generations: Generations;
  readonly turns: Turns;
  readonly engines: Engines;
  readonly loads: Loads;
  readonly options: CacheOptions;
  /** Undefined: no tier. */
  readonly local: Local | undefined;
  readonly plan: Plan;
  readonly leaseSeconds: number;
  readonly waitMs: number;
  readonly invalidationMs: number;
  readonly life: Life;
}

/** Caches on one backend are closed together. */
class Life {
  closed = false;

  /** @throws EverfreshError `EF_CLOSED` */
  check(): void {
    if (this.closed) throw new EverfreshError("EF_CLOSED", "the cache is closed");
  }
}

/** Without them the first read would fail, where nobody expects that of a cache. */
function checkSerializer(serializer: Partial<Serializer> | null | undefined): void {
  if (serializer === undefined) return;
  for (const name of ["encode", "decode"] as const) checkFunction(serializer?.[name], `${name} of the serializer`);
}

const backendMethods = [
  "describe",
  "serverOf",
  "servers",
  "read",
  "claim",
  "expire",
  "replace",
  "renew",
  "drop",
  "put",
  "remove",
  "close",
] as const satisfies readonly (keyof Backend)[];

/** What is missing here would otherwise be missed by the first read, where nobody catches it. */
function checkBackend(backend: unknown): void {
  const isObject = typeof backend === "object" && backend !== null;
  const lacking = backendMethods.filter((name) => !isObject || typeof Reflect.get(backend, name) !== "function");
  if (lacking.length === 0) return;
  const given =
    typeof backend === "function"
      ? `a function; call it: ${backend.name || "backend"}(...)`
      : isObject
        ? "meta" in backend && "getMany" in backend
          ? "a client; write memcached(client)"
          : `an object without ${lacking.join(", ")}`
        : shown(backend);
  throw new EverfreshError("EF_OPTION", `createCache needs a backend, memcached(...) or memory(); got ${given}`);
}

/**
 * Makes a cache.
 *
 * @example
 * const cache = createCache({ backend: memcached("10.0.0.1:11211"), namespace: "shop", ttl: "10m" });
 * const song = await cache.getOrSet("song:7", () => db.song(7), { tags: ["songs"] });
 * await cache.invalidateTags(["songs"]); // whoever asks from now on sees the songs as they are now
 *
 * @throws EverfreshError `EF_OPTION` at once for options that are missing, unknown or out of range
 */
export function createCache(options: CacheOptions): Cache {
  checkNames(options, optionNames, "createCache");
  const { backend, clock = systemClock, random = systemRandom } = options;
  checkBackend(backend);
  checkSerializer(options.serializer);
  const leaseMs = span(options.lease, "lease", 5_000);
  // memcached counts whole seconds, and one second may be over at once.
  if (leaseMs < 2_000) throw new EverfreshError("EF_OPTION", `lease is ${leaseMs} ms; the shortest lease is 2 s`);
  const limit = positive(options.maxConcurrentLoads ?? 32, "maxConcurrentLoads");
  const values = Object.entries(options).filter(([name]) => Object.hasOwn(commonOptionNames, name));
  const deliveries = deliveriesOf(backend, clock, random);
  return new Cache(options.namespace ?? "everfresh", {
    backend,
    clock,
    random,
    deliveries,
    generations: new Generations(backend, deliveries, random),
    turns: new Turns(limit),
    engines: new Engines(),
    loads: new Loads(clock),
    options,
    local: localOf(options.local ?? false),
    plan: new Plans(defaultPlan).of(Object.fromEntries(values)),
    leaseSeconds: Math.ceil(leaseMs / 1000),
    waitMs: span(options.wait, "wait", 10_000),
    invalidationMs: span(options.invalidationTimeout, "invalidationTimeout", 2_000),
    life: new Life(),
  });
}
