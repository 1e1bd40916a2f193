/** What a store may be told, and what it does where it is told nothing. */
import { type Clock, type Random, systemClock, systemRandom } from "../clock.ts";
import { EverfreshError, shown } from "../errors.ts";

export interface StoreOptions {
  /**
   * The memory for items, in bytes; rounded down to whole segments. At least 64 KiB, at most 4 GiB. It is reserved at
   * once and becomes real memory only as it is written to. Tables beside it take about 5 % more.
   */
  readonly limitBytes: number;
  /** The most items; above it the least used leave. Default: no limit but the memory. */
  readonly limitItems?: number;
  /** The largest item, counted as memcached counts (a header of 48 bytes, CAS, key, value). Default: 1 MiB. */
  readonly itemBytes?: number;
  /** Whether items are dropped to make room; where not, storing fails with `noMemory`. Default: true. */
  readonly evicts?: boolean;
  /** Default: the system's clock. */
  readonly clock?: Clock;
  /** Where the seed of the hash comes from, so that nobody can choose colliding keys. Default: the system's. */
  readonly random?: Random;
}

export interface ResolvedStoreOptions {
  readonly limitBytes: number;
  readonly limitItems: number;
  readonly itemBytes: number;
  readonly evicts: boolean;
  readonly clock: Clock;
  readonly seed: number;
}

export const smallestStoreBytes = 64 * 1024;
export const largestStoreBytes = 4 * 1024 ** 3;

/** @throws EverfreshError `EF_OPTION` for sizes that are no sizes or out of range */
export function resolveStoreOptions(options: StoreOptions): ResolvedStoreOptions {
  const seed = (options.random ?? systemRandom).bytes(4);
  return Object.freeze({
    limitBytes: within("limitBytes", options.limitBytes, smallestStoreBytes, largestStoreBytes),
    limitItems: within("limitItems", options.limitItems ?? 2 ** 31, 1, 2 ** 31),
    itemBytes: within("itemBytes", options.itemBytes ?? 1024 * 1024, 1024, 1024 ** 3),
    evicts: options.evicts ?? true,
    clock: options.clock ?? systemClock,
    seed: ((seed[0] ?? 0) << 24) | ((seed[1] ?? 0) << 16) | ((seed[2] ?? 0) << 8) | (seed[3] ?? 0),
  });
}

function within(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new EverfreshError(
    "EF_OPTION",
    `${name} is ${shown(value)}; a whole number from ${least} to ${most} is needed`,
  );
}
