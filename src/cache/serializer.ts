/**
 * Values to bytes and back, with their types.
 *
 * Trees of plain objects, arrays, texts, finite numbers, booleans and null travel as JSON, which is the fastest
 * there is for them; text and bytes travel as they are; everything else that JSON would change without a word (Date,
 * Map, Set, BigInt, undefined fields, NaN, -0, typed arrays, cycles) travels in the structured-clone format of V8.
 * What neither can carry back (functions, symbols, instances of classes) is refused, not flattened. Nothing that is
 * read is ever evaluated. `docs/decisions/serializer.md` has the comparison.
 */
import { deserialize, serialize } from "node:v8";
import { types } from "node:util";
import { disown, EverfreshError, shown } from "../errors.ts";
import { utf8Text } from "../protocol/index.ts";

/** How a payload is to be read; part of what is stored. */
export const formats = { json: 0, text: 1, bytes: 2, buffer: 3, structured: 4, custom: 5 } as const;
export type Format = (typeof formats)[keyof typeof formats];

/** A serializer of the user's own; both answer at once. `decode` may throw, and the reader then misses. */
export interface Serializer {
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

export interface Encoded {
  readonly format: Format;
  readonly bytes: Uint8Array | string;
}

/**
 * Turns a value into bytes, or into text that is to be written as UTF-8.
 *
 * @throws EverfreshError `EF_VALUE` when it holds something that would not come back as it was
 */
export function encode(value: unknown, serializer: Serializer | undefined): Encoded {
  if (serializer !== undefined) return { format: formats.custom, bytes: checkedBytes(serializer.encode(value)) };
  if (typeof value === "string" && !loneSurrogate.test(value)) return { format: formats.text, bytes: value };
  if (Buffer.isBuffer(value)) return { format: formats.buffer, bytes: value };
  if (value instanceof Uint8Array && isOfItsKind(value)) return { format: formats.bytes, bytes: value };
  if (isTree(value, 0)) return { format: formats.json, bytes: JSON.stringify(value) };
  disown(value);
  return { format: formats.structured, bytes: structured(value) };
}

/** V8 has errors of its own for what it cannot carry (memory that is shared), and trees can be too deep for either of us. */
function structured(value: unknown): Uint8Array {
  try {
    refuseStrangers(value, new Set());
    return serialize(value);
  } catch (error) {
    if (error instanceof EverfreshError) throw error;
    throw new EverfreshError("EF_VALUE", "the value cannot be turned into bytes; store plain data", { cause: error });
  }
}

/** An asynchronous serializer's promise, or numbers in a list, would fail or be lost further on. */
function checkedBytes(bytes: unknown): Uint8Array | string {
  if (bytes instanceof Uint8Array || typeof bytes === "string") return bytes;
  disown(bytes);
  throw new EverfreshError("EF_VALUE", `encode of the serializer answers with bytes, at once; got ${shown(bytes)}`);
}

/**
 * The bytes from `start` to `end` back to the value, which shares no memory with them. Throws on what is not of `format`.
 */
export function decode(
  format: Format,
  bytes: Buffer,
  start: number,
  end: number,
  serializer: Serializer | undefined,
): unknown {
  switch (format) {
    case formats.json:
      return JSON.parse(utf8Text(bytes, start, end));
    case formats.text:
      return utf8Text(bytes, start, end);
    case formats.bytes:
      return copied(bytes, start, end);
    case formats.buffer:
      return Buffer.from(bytes.subarray(start, end));
    case formats.structured:
      // V8 makes views of what it reads from, not copies: without this one, callers would share typed arrays.
      return deserialize(copied(bytes, start, end));
    case formats.custom:
    default:
      if (serializer === undefined) throw new EverfreshError("EF_VALUE", "the value needs its own serializer");
      return checkedValue(serializer.decode(copied(bytes, start, end)));
  }
}

/** A promise would be the value that its readers get, and where nobody reads it, its rejection would end the process. */
function checkedValue(value: unknown): unknown {
  if (!disown(value)) return value;
  throw new EverfreshError("EF_VALUE", "decode of the serializer answers with the value, at once; got a promise");
}

function copied(bytes: Buffer, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end));
}

/** UTF-8 cannot carry half of a pair; JSON escapes it. */
const loneSurrogate = /\p{Surrogate}/u;

/** Deeper trees go the structured way, which checks for cycles. */
const deepestTree = 100;

/** Whether JSON brings `value` back exactly as it is. */
function isTree(value: unknown, depth: number): boolean {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return true;
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== "object" || depth > deepestTree) return false;
  if (Array.isArray(value)) {
    if (!isOf(value, Array)) return false;
    for (const element of value) if (!isTree(element, depth + 1)) return false;
    return Object.keys(value).length === value.length && hasNoSymbols(value);
  }
  if (!isPlain(value)) return false;
  for (const name in value) if (!isTree((value as Record<string, unknown>)[name], depth + 1)) return false;
  return hasNoSymbols(value) && !("toJSON" in value);
}

function hasNoSymbols(value: object): boolean {
  return Object.getOwnPropertySymbols(value).length === 0;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Throws on what the structured format would drop or flatten without a word. */
function refuseStrangers(value: unknown, seen: Set<object>): void {
  if (typeof value === "function" || typeof value === "symbol") refuse(`a ${typeof value}`);
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  if (value instanceof Map && isOf(value, Map)) {
    for (const [key, entry] of value) {
      refuseStrangers(key, seen);
      refuseStrangers(entry, seen);
    }
  } else if (value instanceof Set && isOf(value, Set)) {
    for (const entry of value) refuseStrangers(entry, seen);
  } else if (Array.isArray(value) && isOf(value, Array)) {
    // Indices come first, so a name that is none comes last.
    if (Number.isNaN(Number(Object.keys(value).at(-1) ?? 0))) refuse("a list with properties");
    for (const entry of Object.values(value)) refuseStrangers(entry, seen);
  } else if (isPlain(value)) {
    for (const entry of Object.values(value)) refuseStrangers(entry, seen);
  } else if (!isKnown(value)) refuse(`an instance of ${nameOf(value)}`);
  if (losesProperties(value) && Object.keys(value).length > 0)
    refuse(`properties put on an instance of ${nameOf(value)}`);
  if (Object.getOwnPropertySymbols(value).some((name) => Object.prototype.propertyIsEnumerable.call(value, name)))
    refuse("a symbol as a name");
}

/** Whether `value` is of this very class and not of one that extends it, wherever the class comes from. */
function isOf(value: object, known: ArrayConstructor | MapConstructor | SetConstructor): boolean {
  return Object.getPrototypeOf(value) === known.prototype || nameOf(value) === known.name;
}

/** The errors that the structured format brings back as what they are. */
const errorNames = new Set([
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
]);

function isKnown(value: object): boolean {
  if (types.isNativeError(value)) return errorNames.has(nameOf(value));
  const isBuiltIn =
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isAnyArrayBuffer(value) ||
    ArrayBuffer.isView(value) ||
    types.isBoxedPrimitive(value);
  return isBuiltIn && isOfItsKind(value);
}

/** Whether it is what it comes back as, and not of a class that extends that: a date with a time zone, a list of bytes with methods. */
function isOfItsKind(value: object): boolean {
  return Buffer.isBuffer(value) || `[object ${nameOf(value)}]` === Object.prototype.toString.call(value);
}

/** Whether the structured format carries what `value` is and not what was put on it. */
function losesProperties(value: object): boolean {
  return (
    types.isMap(value) ||
    types.isSet(value) ||
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isNativeError(value) ||
    types.isAnyArrayBuffer(value)
  );
}

function nameOf(value: object): string {
  const { constructor } = value;
  return typeof constructor === "function" ? constructor.name : "a class";
}

function refuse(what: string): never {
  throw new EverfreshError("EF_VALUE", `the value holds ${what}, which would not come back as it is; store plain data`);
}

/** A copy of a tree that came out of JSON; a caller may change it without changing anybody else's. */
export function copyTree<T>(tree: T): T {
  if (typeof tree !== "object" || tree === null) return tree;
  if (Array.isArray(tree)) {
    const list = tree.slice() as unknown[];
    for (let index = 0; index < list.length; index++) {
      const value = list[index];
      if (typeof value === "object" && value !== null) list[index] = copyTree(value);
    }
    return list as T;
  }
  // Spreading copies a name like `__proto__` as what it is, and is the fastest there is.
  const copy = { ...tree } as Record<string, unknown>;
  for (const name in copy) {
    const value = copy[name];
    if (typeof value !== "object" || value === null) continue;
    if (name === "__proto__") Object.defineProperty(copy, name, { value: copyTree(value), ...open });
    else copy[name] = copyTree(value);
  }
  return copy as T;
}

const open = { writable: true, enumerable: true, configurable: true } as const;

/**
 * A value for each of several callers: the first gets it as it is, the others copies. What cannot be copied is shared.
 */
export function forEach(value: unknown, callers: number, serializer: Serializer | undefined): () => unknown {
  if (callers < 2 || typeof value !== "object" || value === null) return () => value;
  let encoded: Encoded;
  try {
    encoded = encode(value, serializer);
  } catch {
    return () => value;
  }
  const bytes = typeof encoded.bytes === "string" ? Buffer.from(encoded.bytes) : Buffer.from(encoded.bytes);
  let first = true;
  return () => {
    if (!first) return decode(encoded.format, bytes, 0, bytes.length, serializer);
    first = false;
    return value;
  };
}
