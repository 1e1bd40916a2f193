/** Arguments of commands, checked once at the edge: after this no text of a caller's can break a command line. */
import type { Clock } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { isWellFormed, looksHashed, oddKey, plainKey, type Key } from "../protocol/index.ts";

/** Above 30 days memcached takes a number of seconds for a date (protocol.txt, "Expiration times"). */
const longestRelativeSeconds = 60 * 60 * 24 * 30;
/**
 * memcached reads dates as 32 bits with a sign, so that later ones are long gone; and 2^32 - 1 means "do not make" to the
 * binary counters. Whatever is to live longer lives until 2038-01-19.
 */
const latestSecond = 2 ** 31 - 1;

declare const token: unique symbol;

/** A token that a server gave for an item's version. Opaque: carry it, compare it, never calculate with it. */
export type Cas = string & { readonly [token]: "Cas" };

/** Proves a key, for commands that take it as it is. */
export function strictKey(key: string | Uint8Array): Key {
  const plain = plainKey(key);
  if (plain === undefined) throw badKey(key, "A key has 1 to 250 bytes, none of them a space or a control character.");
  return plain;
}

/** `key` where it goes over the wire as it is; undefined where {@link anyKey} makes another of it, or refuses it. */
export function ownKey(key: string | Uint8Array): Key | undefined {
  const plain = plainKey(key);
  return plain !== undefined && looksHashed(plain) ? undefined : plain;
}

function badKey(key: unknown, message: string): EverfreshError {
  const isHalf = typeof key === "string" && !isWellFormed(key);
  return new EverfreshError(
    "EF_KEY",
    isHalf ? "A key holds half of a surrogate pair: it has no bytes, so that other keys would be the same." : message,
  );
}

/** A key and what decides where it lives. */
export interface AnyKey {
  readonly key: Key;
  readonly base64: boolean;
  readonly home: string;
}

/** A key of any length and alphabet, see `protocol/key.ts`; refused is what is empty or has no bytes. */
export function anyKey(key: string | Uint8Array): AnyKey {
  const plain = ownKey(key);
  if (plain !== undefined) return { key: plain, base64: false, home: plain };
  const odd = oddKey(key);
  if (odd === undefined) throw badKey(key, "A key is text or bytes, and not empty.");
  return odd;
}

/** Seconds as memcached wants them: spans over 30 days become dates; -1 means "expired at once". */
export function wireSeconds(seconds: number, clock: Clock, name: string): number {
  if (!Number.isInteger(seconds) || seconds < -1)
    throw badArgument(
      `${name} is ${shown(seconds)}; it is a whole number of seconds from 0 (for ever), or -1 (expired)`,
    );
  if (seconds <= longestRelativeSeconds) return seconds;
  return Math.min(latestSecond, Math.floor(clock.now() / 1000) + seconds);
}

/** A whole number from 0 to `most`. */
export function wholeNumber(value: number, most: number, name: string): number {
  if (!Number.isInteger(value) || value < 0 || value > most)
    throw badArgument(`${name} is ${shown(value)}; it is a whole number from 0 to ${most}`);
  return value;
}

/** The longest that a timer of Node can wait. */
const longestTimeoutMs = 2 ** 31 - 1;

/** A deadline in milliseconds, from now on; fractions are rounded up. */
export function checkedTimeout(timeoutMs: number): number {
  if (!(timeoutMs > 0 && timeoutMs <= longestTimeoutMs))
    throw badArgument(`timeoutMs is a number of milliseconds above 0, up to ${longestTimeoutMs}`);
  return Math.ceil(timeoutMs);
}

/** A number that memcached counts with: 64 bits, unsigned. */
export function counter(value: bigint | number, name: string): bigint {
  if (typeof value !== "number" && typeof value !== "bigint")
    throw badArgument(`${name} is ${shown(value)}; it is a whole number or a bigint`);
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw badArgument(`${name} is ${shown(value)}; from 2^53 on use a bigint`);
  const big = BigInt(value);
  if (big < 0n || big > 0xffff_ffff_ffff_ffffn) throw badArgument(`${name} is ${big}; it is from 0 to 2^64 - 1`);
  return big;
}

/** The largest number of 64 bits. */
const largestCas = "18446744073709551615";

/** A token, as it came from a server. */
export function checkedCas(cas: string, name: string): string {
  if (typeof cas !== "string" || !/^\d{1,20}$/.test(cas) || (cas.length === 20 && cas > largestCas))
    throw badArgument(`${name} is not a token that a server gave`);
  return cas;
}

/** An opaque mark for `O`: at most 32 printable bytes. */
export function checkedOpaque(opaque: string): string {
  if (typeof opaque !== "string" || !/^[!-~]{1,32}$/.test(opaque))
    throw badArgument("opaque is 1 to 32 printable characters without spaces");
  return opaque;
}

/** A value as it can be sent: text or bytes. */
export function wireValue(value: string | Uint8Array): string | Uint8Array {
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  throw badArgument("a value for meta.set, append, prepend, or with clientFlags, is text or bytes");
}

/** What has one element for each key. A text has one for each of its characters. */
export function checkedList<T>(list: Iterable<T>, what: string): Iterable<T> {
  if (typeof list === "object" && list !== null && Symbol.iterator in list) return list;
  throw badArgument(`${what}, not ${list === null ? "null" : `a ${typeof list}`}`);
}

export function badArgument(message: string): EverfreshError {
  return new EverfreshError("EF_OPTION", `${message}.`);
}

function shown(value: unknown): string {
  return typeof value === "number" ? String(value) : typeof value;
}
