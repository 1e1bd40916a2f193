/**
 * Key: proven short and printable.
 *
 * memcached's rule (protocol.txt, "Keys"): 1 to 250 bytes, no control characters, no whitespace. Bytes from 0x80 on are
 * legal. A {@link Key} is text whose character codes are the key's bytes, so that it can be joined into a command that
 * leaves as latin1: whoever holds one can no longer break out of the command line.
 */
import { createHash } from "node:crypto";

/** The longest key that memcached takes, in bytes. */
export const keyLimitBytes = 250;

/** How long the keys are that {@link hashedKey} makes, which classic text also gives to those that it cannot say. */
export const hashedLength = 50;

/** The longest key, in bytes, whose base64 form still fits into {@link keyLimitBytes}. */
export const encodedKeyLimitBytes = 186;

declare const proven: unique symbol;

/** A legal key as latin1 text: one character for one byte. */
export type Key = string & { readonly [proven]: "Key" };

/**
 * `key` as it goes over the wire, or undefined where the rule forbids it.
 *
 * Text counts as its UTF-8 bytes.
 */
export function plainKey(key: string | Uint8Array): Key | undefined {
  if (typeof key !== "string") return key instanceof Uint8Array ? legalBytes(latin1(key)) : undefined;
  const length = key.length;
  if (length === 0 || length > keyLimitBytes) return undefined;
  for (let at = 0; at < length; at++) {
    const code = key.charCodeAt(at);
    if (code <= 0x20) return undefined;
    if (code >= 0x7f) return isWellFormed(key) ? legalBytes(keyBytes(key)) : undefined;
  }
  return key as Key;
}

/** Whether a text has bytes of its own: half of a surrogate pair has none, and all of them become U+FFFD. */
export function isWellFormed(key: string): boolean {
  return !/\p{Surrogate}/u.test(key);
}

/** Whether a key could be taken for one that {@link hashedKey} has made. */
export function looksHashed(key: string): boolean {
  return key.length === hashedLength && /^sha256:[\w-]{43}$/.test(key);
}

/** A key of any length and alphabet, made legal. */
export interface OddKey {
  /** What goes over the wire. */
  readonly key: Key;
  /** Whether `key` is base64 of the bytes that the server is to store (protocol.txt, "Meta Commands", flag `b`). */
  readonly base64: boolean;
  /** What decides the placement: the bytes of the key itself. */
  readonly home: string;
}

/**
 * Makes a key legal that is not: short ones travel as base64, which the server undoes; long ones become their SHA-256,
 * and so do those that look like one. Undefined for what is no key, for which there is no honest answer.
 */
export function oddKey(key: string | Uint8Array): OddKey | undefined {
  if (typeof key === "string" ? !isWellFormed(key) : !(key instanceof Uint8Array)) return undefined;
  const bytes = keyBytes(key);
  if (bytes.length === 0) return undefined;
  if (bytes.length <= encodedKeyLimitBytes && !looksHashed(bytes))
    return { key: Buffer.from(bytes, "latin1").toString("base64") as Key, base64: true, home: bytes };
  const hashed = hashedKey(bytes);
  return { key: hashed, base64: false, home: hashed };
}

/** The bytes of a key that travels as base64. */
export function decodedKey(key: string): string {
  return Buffer.from(key, "base64").toString("latin1");
}

/** The name under which a key that cannot travel is kept: 50 characters, no two keys share one. */
export function hashedKey(bytes: string): Key {
  return `sha256:${createHash("sha256").update(bytes, "latin1").digest("base64url")}` as Key;
}

/** The bytes of a key as latin1 text; of a string its UTF-8 bytes. */
export function keyBytes(key: string | Uint8Array): string {
  return typeof key === "string" ? Buffer.from(key, "utf8").toString("latin1") : latin1(key);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

function legalBytes(bytes: string): Key | undefined {
  if (bytes.length === 0 || bytes.length > keyLimitBytes) return undefined;
  for (let at = 0; at < bytes.length; at++) {
    const code = bytes.charCodeAt(at);
    if (code <= 0x20 || code === 0x7f) return undefined;
  }
  return bytes as Key;
}
