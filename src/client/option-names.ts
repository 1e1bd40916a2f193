/**
 * The names that the options of single calls may have: a name that nobody knows is a mistake in one that somebody does,
 * and would be passed over in silence.
 */
import type { CallOptions } from "../connection/index.ts";
import type { EverfreshError } from "../errors.ts";
import { badArgument } from "./arguments.ts";
import type { GetManyOptions } from "./bulk.ts";
import type { CountOptions, DeleteOptions, GetOptions, StoreOptions } from "./command-types.ts";
import type { MetaArithmeticFlags, MetaDeleteFlags, MetaGetFlags, MetaSetFlags } from "./meta-types.ts";

/** The compiler holds each list to its type. */
function names<Options>(record: Readonly<Record<keyof Options, true>>): ReadonlySet<string> {
  return new Set(Object.keys(record));
}

const call = { timeoutMs: true, signal: true, on: true } as const;

export const callNames = names<CallOptions>(call);
export const getNames = names<GetOptions>({ as: true, cas: true, ...call });
export const getManyNames = names<GetManyOptions>({ as: true, ...call });
export const storeNames = names<StoreOptions>({ ttl: true, clientFlags: true, returnCas: true, ...call });
export const deleteNames = names<DeleteOptions>({ compareCas: true, ...call });
export const countNames = names<CountOptions>({ delta: true, initial: true, ttl: true, ...call });

export const metaGetNames = names<MetaGetFlags>({
  value: true,
  clientFlags: true,
  cas: true,
  ttl: true,
  size: true,
  hitBefore: true,
  lastAccess: true,
  noBump: true,
  touch: true,
  vivify: true,
  recache: true,
  ifChangedFrom: true,
  newCas: true,
  opaque: true,
});
export const metaSetNames = names<MetaSetFlags>({
  ttl: true,
  clientFlags: true,
  mode: true,
  compareCas: true,
  newCas: true,
  invalidate: true,
  returnCas: true,
  vivify: true,
  opaque: true,
});
export const metaDeleteNames = names<MetaDeleteFlags>({
  compareCas: true,
  newCas: true,
  invalidate: true,
  ttl: true,
  dropValue: true,
  opaque: true,
});
export const metaArithmeticNames = names<MetaArithmeticFlags>({
  mode: true,
  delta: true,
  vivify: true,
  initial: true,
  ttl: true,
  compareCas: true,
  newCas: true,
  cas: true,
  remaining: true,
  opaque: true,
});

/**
 * Checks the names of a call's options. As with the client's own, those that an object inherits do not count.
 *
 * @throws EverfreshError `EF_OPTION` for an unknown name, and for what is no object
 */
export function checkNames(options: object | undefined, known: ReadonlySet<string>): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null)
    throw badArgument(
      `options are an object with ${[...known].join(", ")}, not ${options === null ? "null" : `a ${typeof options}`}`,
    );
  // A list of the names would be one more object for each call.
  for (const name in options) if (!known.has(name) && Object.hasOwn(options, name)) throw unknown(name, known);
}

function unknown(name: string, known: ReadonlySet<string>): EverfreshError {
  return badArgument(`${name} is not an option of this call; there are ${[...known].join(", ")}`);
}
