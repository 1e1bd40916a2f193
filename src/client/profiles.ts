/**
 * What the 32 bits of client flags mean: one profile for each family of clients, so that a fleet may be mixed.
 *
 * The server keeps the flags and does not look at them; clients agree on them or misread each other. Nothing is ever
 * unpickled or evaluated: what only its writer can read is `EF_VALUE`.
 */
import { EverfreshError } from "../errors.ts";
import type { Answer } from "../protocol/index.ts";

/**
 * What typed commands store. Objects may also be of an interface or a class, which have no index signature. Not among them
 * is what JSON makes an empty object of: promises, Maps, Sets and the like have a tag, functions have an instance check.
 */
export type Value =
  | Uint8Array
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly unknown[]
  | { readonly [key: string]: unknown }
  | (object & { readonly [Symbol.toStringTag]?: never; readonly [Symbol.hasInstance]?: never });

/** The names of the profiles. */
export type ProfileName = "everfresh" | "pylibmc" | "pymemcache" | "memcached" | "memcache-client" | "memjs" | "bytes";

/** How compressed bytes were made. */
export type CompressionName = "zstd" | "brotli" | "deflate";

/** A value ready to be sent. Text is ASCII or still to be encoded as UTF-8. */
export interface Encoded {
  readonly data: string | Uint8Array;
  readonly flags: number;
}

/** One family's meaning of flags. */
export interface Profile {
  encode(value: Value): Encoded;
  /** Reads a value that is not compressed, or not any more; `answer` holds its bytes. */
  decode(answer: Answer, flags: number): unknown;
  /** The flag bit for each kind of compression that the family can read. */
  readonly compression: Readonly<Partial<Record<CompressionName, number>>>;
  /** The flags of a number that the server counts with. */
  readonly counterFlags: number;
  /** The bit for a value in several items; 0 where the family has none. */
  readonly split: number;
}

const asText = (answer: Answer): string => answer.textValue();
const asBytes = (answer: Answer): Buffer => answer.bytes();
const asJson = (answer: Answer): unknown => parseJson(answer.textValue());

/** Everfresh's own flags: what pylibmc can read too keeps pylibmc's numbers. */
const own = {
  bytes: 0,
  bool: 2,
  integer: 4,
  deflate: 8,
  text: 16,
  json: 32,
  zstd: 64,
  brotli: 128,
  bigint: 256,
  split: 512,
};

const everfresh: Profile = {
  counterFlags: own.integer | own.bigint,
  compression: { zstd: own.zstd, brotli: own.brotli, deflate: own.deflate },
  split: own.split,
  encode(value) {
    if (typeof value === "string") return { data: value, flags: own.text };
    if (value instanceof Uint8Array) return { data: value, flags: own.bytes };
    if (typeof value === "bigint") return { data: String(value), flags: own.integer | own.bigint };
    if (isWhole(value) && !Object.is(value, -0)) return { data: String(value), flags: own.integer };
    return { data: toJson(value), flags: own.json };
  },
  decode(answer, flags) {
    if (flags === own.text) return asText(answer);
    if (flags === own.bytes) return asBytes(answer);
    if (flags === own.json) return asJson(answer);
    if (flags === own.integer) return toInteger(answer);
    if (flags === (own.integer | own.bigint)) return toBigInt(answer);
    if (flags === own.bool) return toBooleanOrInteger(answer);
    throw unreadable(flags, "everfresh");
  },
};

const pylibmc: Profile = {
  counterFlags: 4,
  compression: { deflate: 8 },
  split: 0,
  encode(value) {
    if (typeof value === "string") return { data: value, flags: 16 };
    if (value instanceof Uint8Array) return { data: value, flags: 0 };
    if (typeof value === "boolean") return { data: value ? "1" : "0", flags: 2 };
    if (typeof value === "bigint" || isWhole(value)) return { data: String(value), flags: 4 };
    throw unwritable("pylibmc", "bytes, text, whole numbers and booleans");
  },
  decode(answer, flags) {
    // pylibmc looks at the low bits only.
    const kind = flags & 23;
    if (kind === 0) return asBytes(answer);
    if (kind === 16) return asText(answer);
    if (kind === 2) return toBooleanOrInteger(answer);
    if (kind === 4) return toInteger(answer);
    if (kind === 1) throw pickled();
    throw unreadable(flags, "pylibmc");
  },
};

const pymemcache: Profile = {
  counterFlags: 2,
  compression: { deflate: 8 },
  split: 0,
  encode(value) {
    if (typeof value === "string") return { data: value, flags: 16 };
    if (value instanceof Uint8Array) return { data: value, flags: 0 };
    if (typeof value === "bigint" || isWhole(value)) return { data: String(value), flags: 2 };
    throw unwritable("pymemcache", "bytes, text and whole numbers");
  },
  decode(answer, flags) {
    const kind = flags & 23;
    if (kind === 0) return asBytes(answer);
    if (kind === 16) return asText(answer);
    if (kind === 2 || kind === 4) return toInteger(answer);
    if (kind === 1) throw pickled();
    throw unreadable(flags, "pymemcache");
  },
};

const memcachedFlags = jsFamily("memcached", { json: 2, binary: 4, number: 8 });
/**
 * `memcached` of npm: JSON 2, binary 4, number 8; text has no flag. It cuts replies at line ends, so it puts a backslash
 * before each; bytes it sends as text, a character for each.
 */
const memcached: Profile = {
  ...memcachedFlags,
  encode(value) {
    if (typeof value === "string") return { data: escaped(value), flags: 0 };
    if (value instanceof Uint8Array)
      return { data: escaped(Buffer.from(value.buffer, value.byteOffset, value.length).toString("latin1")), flags: 4 };
    return memcachedFlags.encode(value);
  },
  decode(answer, flags) {
    if (flags === 0) return unescaped(answer.textValue());
    if (flags === 4) return Buffer.from(unescaped(answer.textValue()), "latin1");
    return memcachedFlags.decode(answer, flags);
  },
};

function escaped(text: string): string {
  return text.replaceAll(/[\r\n]/g, "\\$&");
}

function unescaped(text: string): string {
  return text.includes("\\") ? text.replaceAll(/\\([\r\n])/g, "$1") : text;
}

/** `memcache-client` of npm: compressed 1, JSON 2, number 4, binary 8. */
const memcacheClient = jsFamily("memcache-client", { json: 2, binary: 8, number: 4 });

function jsFamily(name: string, bits: { json: number; binary: number; number: number }): Profile {
  return {
    counterFlags: bits.number,
    compression: {},
    split: 0,
    encode(value) {
      if (typeof value === "string") return { data: value, flags: 0 };
      if (value instanceof Uint8Array) return { data: value, flags: bits.binary };
      if (typeof value === "number") return { data: String(value), flags: bits.number };
      return { data: toJson(value), flags: bits.json };
    },
    decode(answer, flags) {
      if (flags === 0) return asText(answer);
      if (flags === bits.binary) return asBytes(answer);
      if (flags === bits.number) return toNumber(answer);
      if (flags === bits.json) return asJson(answer);
      throw unreadable(flags, name);
    },
  };
}

/** `memjs`: no flags; everything is bytes, and numbers are their text. */
const memjs: Profile = {
  counterFlags: 0,
  compression: {},
  split: 0,
  encode(value) {
    if (typeof value === "string" || value instanceof Uint8Array) return { data: value, flags: 0 };
    if (typeof value === "number" || typeof value === "bigint") return { data: String(value), flags: 0 };
    throw unwritable("memjs", "bytes, text and numbers");
  },
  decode: asBytes,
};

/** Bytes in, bytes out, whatever the flags. */
const bytes: Profile = {
  counterFlags: 0,
  compression: {},
  split: 0,
  encode(value) {
    if (typeof value === "string" || value instanceof Uint8Array) return { data: value, flags: 0 };
    throw unwritable("bytes", "bytes and text");
  },
  decode: asBytes,
};

/** All profiles by their names. */
export const profiles: Readonly<Record<ProfileName, Profile>> = {
  everfresh,
  pylibmc,
  pymemcache,
  memcached,
  "memcache-client": memcacheClient,
  memjs,
  bytes,
};

function isWhole(value: Value): value is number {
  return Number.isSafeInteger(value);
}

function toJson(value: unknown): string {
  // JSON would make `null` of the numbers that it lacks, and an object of bytes that are not Uint8Arrays.
  if (typeof value === "number" && !Number.isFinite(value))
    throw new EverfreshError("EF_VALUE", `${value} has no JSON form.`);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer)
    throw new EverfreshError("EF_VALUE", "Bytes are a Uint8Array or a Buffer.");
  // JSON has it; only its writer leaves the sign out.
  if (Object.is(value, -0)) return "-0";
  if (value instanceof Promise) throw new EverfreshError("EF_VALUE", "The value is a promise; is an await missing?");
  // JSON makes `{}` of them.
  if (value instanceof Map || value instanceof Set)
    throw new EverfreshError("EF_VALUE", "A Map or a Set has no JSON form; store a list: [...value].");
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new EverfreshError("EF_VALUE", "The value has no JSON form.", { cause: error });
  }
  if (text === undefined) throw new EverfreshError("EF_VALUE", `${typeof value} is not a value that can be stored.`);
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EverfreshError("EF_VALUE", "The stored bytes are marked as JSON and are not.", { cause: error });
  }
}

/** memcached pads a counter that got shorter with spaces (protocol.txt, "decr"). */
function toInteger(answer: Answer): number | bigint {
  const big = toBigInt(answer);
  const small = Number(big);
  return Number.isSafeInteger(small) ? small : big;
}

/** pylibmc's `True` and `False`: "1" and "0". Older versions wrote whole numbers with the same flag. */
function toBooleanOrInteger(answer: Answer): boolean | number | bigint {
  const number = toInteger(answer);
  return number === 1 ? true : number === 0 ? false : number;
}

function toBigInt(answer: Answer): bigint {
  const text = answer.latin1Value().trimEnd();
  if (!/^-?\d{1,1000}$/.test(text)) throw noNumber();
  return BigInt(text);
}

/** What JavaScript writes for a number. `Number` itself would make 0 of nothing, and NaN of any word. */
function toNumber(answer: Answer): number {
  const text = answer.latin1Value().trimEnd();
  if (!/^(?:-?(?:\d{1,1000}(?:\.\d{1,1000})?(?:e[+-]\d{1,3})?|Infinity)|NaN)$/.test(text)) throw noNumber();
  return Number(text);
}

function noNumber(): EverfreshError {
  return new EverfreshError("EF_VALUE", "The stored bytes are marked as a number and are not.");
}

function pickled(): EverfreshError {
  return new EverfreshError("EF_VALUE", "The value was pickled by Python; unpickling runs code, so it is not done.");
}

function unreadable(flags: number, profile: string): EverfreshError {
  return new EverfreshError("EF_VALUE", `The flags ${flags} mean nothing in the profile ${profile}.`);
}

function unwritable(profile: string, what: string): EverfreshError {
  return new EverfreshError("EF_VALUE", `The profile ${profile} stores ${what}.`);
}
