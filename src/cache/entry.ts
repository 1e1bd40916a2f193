/** Declared values: one place that says how a value is named, computed and kept. */
import type { Cache } from "./cache.ts";
import type { EntryAnswer, LoadContext } from "./caller.ts";
import { EverfreshError, shown } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import { checkTags } from "./keys.ts";
import { checkFunction, checkList } from "./arguments.ts";
import { checkResult } from "./batch.ts";
import { commonOptionNames, type ReadOptions, type Relaxations, type Ttl, type ValueOptions } from "./options.ts";
import { checkOptions } from "./plan.ts";
import { settleAll } from "./settle-all.ts";

export interface EntryOptions<Args extends readonly unknown[], T>
  extends Omit<ValueOptions, "ttl">, Pick<ReadOptions, "collects" | "shared"> {
  /** Computes the value. */
  readonly load?: ((...args: Args) => T | Promise<T>) | undefined;
  /** Computes the value, with a context in front; instead of `load`. */
  readonly loadWith?: ((context: LoadContext, ...args: Args) => T | Promise<T>) | undefined;
  /** Computes the values of many lists of arguments, in their order; instead of `load`, or beside it for `getMany`. */
  readonly loadMany?:
    | ((all: readonly Args[], context: LoadContext) => readonly (T | undefined)[] | Promise<readonly (T | undefined)[]>)
    | undefined;
  /** How long it is fresh; may depend on the value. */
  readonly ttl?: Ttl | ((value: Awaited<T>, ...args: Args) => Ttl) | undefined;
  /** What it depends on; may depend on the arguments. */
  readonly tags?: readonly string[] | ((...args: Args) => readonly string[]) | undefined;
  /** Names the arguments within the entry. Default: their text; equal arguments, equal key. */
  readonly key?: ((...args: Args) => string) | undefined;
}

const optionNames: Record<keyof EntryOptions<readonly unknown[], unknown>, true> = {
  ...commonOptionNames,
  version: true,
  schema: true,
  collects: true,
  shared: true,
  load: true,
  loadWith: true,
  loadMany: true,
  tags: true,
  key: true,
};

/** A declared value, or one for each list of arguments. */
export interface Entry<Args extends readonly unknown[], T> {
  /** The value: cached, or computed now. */
  get(...args: Args): Promise<T>;
  /** With where it came from and its age. */
  getEntry(...args: Args): Promise<EntryAnswer<T> & { readonly value: T }>;
  /** The values of many lists of arguments, in their order; those that are missing by one call of `loadMany`. */
  getMany(all: readonly Args[]): Promise<(T | undefined)[]>;
  /** Invalidates and computes again: after a write the next read is already a hit. Rejects as `cache.refresh` does. */
  refresh(...args: Args): Promise<T>;
  /** Says that what it was computed from has changed. */
  invalidate(...args: Args): Promise<void>;
  /** The key under which it is kept, for `cache.invalidate` and for an outbox. */
  key(...args: Args): string;
}

/** Declares an entry of `cache`; users call `cache.entry`. */
export function defineEntry<Args extends readonly unknown[], T>(
  cache: Cache,
  name: string,
  options: EntryOptions<Args, T>,
): Entry<Args, T> {
  if (typeof name !== "string" || name === "" || /[(:]/.test(name))
    throw new EverfreshError("EF_OPTION", `an entry has a name without "(" and ":"; got ${shown(name)}`);
  checkNames(options, optionNames, `the entry ${name}`);
  const { load, loadWith, loadMany, ttl, tags, key: nameOf, ...rest } = options;
  if (load !== undefined && loadWith !== undefined)
    throw new EverfreshError("EF_OPTION", `the entry ${name} has load and loadWith; it takes one of them`);
  if (load === undefined && loadWith === undefined && loadMany === undefined)
    throw new EverfreshError("EF_OPTION", `the entry ${name} needs load, loadWith or loadMany`);
  for (const [given, what] of [
    [load, "load"],
    [loadWith, "loadWith"],
    [loadMany, "loadMany"],
    [nameOf, "key"],
  ] as const)
    if (given !== undefined) checkFunction(given, `${what} of the entry ${name}`);
  if (loadMany !== undefined && typeof ttl === "function")
    throw new EverfreshError("EF_OPTION", `the entry ${name} has loadMany, so its ttl cannot depend on the value`);
  const fixed: ReadOptions = Object.freeze({
    ...rest,
    ...(typeof ttl !== "function" && ttl !== undefined && { ttl }),
    ...(typeof tags !== "function" && tags !== undefined && { tags: Object.freeze(checkTags(tags)) }),
  });
  checkOptions(fixed);
  const forced: ReadOptions = Object.freeze({ ...fixed, forceFresh: true });
  const { staleWhileRevalidate, staleIfError } = rest;
  const relaxations: Relaxations = Object.freeze({
    ...(staleWhileRevalidate !== undefined && { staleWhileRevalidate }),
    ...(staleIfError !== undefined && { staleIfError }),
  });

  const keyOf = (...args: Args): string => {
    if (nameOf !== undefined) return `${name}:${checkedName(nameOf(...args), name)}`;
    return args.length === 0 ? name : `${name}:${argumentsText(args)}`;
  };
  const optionsOf = (base: ReadOptions, args: Args): ReadOptions =>
    typeof tags === "function" ? { ...base, tags: tags(...args) } : base;
  const loaderOf =
    (args: Args) =>
    async (context: LoadContext): Promise<T> => {
      const value = await computed(context, args);
      if (typeof ttl === "function" && value !== undefined) context.setTtl(ttl(value, ...args));
      return value as T;
    };
  const computed = async (context: LoadContext, args: Args): Promise<Awaited<T> | undefined> => {
    if (load !== undefined) return await load(...args);
    if (loadWith !== undefined) return await loadWith(context, ...args);
    const values = await loadMany?.([args], context);
    checkResult(values, 1);
    return values?.[0] as Awaited<T> | undefined;
  };
  const getMany = async (all: readonly Args[]): Promise<(T | undefined)[]> => {
    const form = "getMany of an entry takes a list of lists of arguments, such as [[7], [8]]";
    checkList(all, form);
    for (const args of all) checkList(args, form);
    // Arguments that have no key must not leave the others alone with what their loaders throw.
    if (loadMany === undefined) return await settleAll(all.map(async (args) => await get(...args)));
    const byKey = new Map(all.map((args) => [keyOf(...args), args]));
    const found = await cache.getOrSetMany<T>(
      [...byKey.keys()],
      (keys, context) =>
        loadMany(
          keys.map((key) => byKey.get(key) as Args),
          context,
        ),
      { ...fixed, ...(typeof tags === "function" && { tags: (key: string) => tags(...(byKey.get(key) as Args)) }) },
    );
    return all.map((args) => found.get(keyOf(...args)));
  };
  // Arguments without a key, and a function of the user's that throws, are told of as everything else: by the promise.
  const read = (base: ReadOptions, args: Args): Promise<T> => {
    try {
      return cache.getOrSet(keyOf(...args), loaderOf(args), optionsOf(base, args));
    } catch (error) {
      return Promise.reject(error);
    }
  };
  const get = (...args: Args): Promise<T> => read(fixed, args);

  return {
    get,
    getMany,
    getEntry(...args) {
      try {
        return cache.getOrSetEntry(keyOf(...args), loaderOf(args), optionsOf(fixed, args));
      } catch (error) {
        return Promise.reject(error);
      }
    },
    refresh: (...args) => read(forced, args),
    invalidate: async (...args) => await cache.invalidate(keyOf(...args), relaxations),
    key: keyOf,
  };
}

/** What has no text of its own would be one key for all of its kind. */
function checkedName(key: unknown, name: string): string {
  if (typeof key === "string" || (typeof key === "number" && !Number.isNaN(key))) return String(key);
  throw new EverfreshError("EF_OPTION", `key of the entry ${name} returns a text; got ${shown(key)}`);
}

/** Arguments as one text; other arguments, another text. */
export function argumentsText(args: readonly unknown[]): string {
  return args.map(argumentText).join(",");
}

/**
 * An argument as text: `main` for the text main, `=7` for the number 7, JSON with sorted names for the rest. What
 * separates arguments is escaped in them, so two lists of arguments never share a key.
 */
function argumentText(argument: unknown): string {
  if (typeof argument === "string") return argument.replaceAll(/[%,=]/g, escape);
  if (typeof argument === "bigint") return `=${argument}n`;
  if (argument === undefined) return "=";
  if (typeof argument === "number") return `=${argument}`;
  return `=${textOf(argument, 0).replaceAll(/[%,]/g, escape)}`;
}

function escape(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

const deepest = 100;

/** As JSON with sorted names, and what JSON has not in a way of its own. Nothing loses its identity without a word. */
function textOf(value: unknown, depth: number): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return String(value);
    case "bigint":
      return `${value}n`;
    case "boolean":
    case "undefined":
      return String(value);
    case "object":
      break;
    case "symbol":
    case "function":
    default:
      return refuse(`a ${typeof value}`);
  }
  if (value === null) return "null";
  if (depth > deepest) return refuse("what is nested that deep");
  if (Array.isArray(value)) return `[${Array.from(value, (element) => textOf(element, depth + 1)).join(",")}]`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return refuse("an instance of a class");
  if (Object.getOwnPropertySymbols(value).length > 0) return refuse("a symbol as a name");
  const fields: string[] = [];
  for (const [name, field] of Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
    // A field that is undefined is no field: options that were left out are often passed on like that.
    if (field !== undefined) fields.push(`${JSON.stringify(name)}:${textOf(field, depth + 1)}`);
  return `{${fields.join(",")}}`;
}

function refuse(what: string): never {
  throw new EverfreshError("EF_OPTION", `${what} in an argument has no text of its own; give the entry a key`);
}
