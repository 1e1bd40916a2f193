/**
 * Unsigned 64-bit numbers as two 32-bit halves, because CAS values and counters have all 64 bits and a BigInt per
 * command would be an object per command. Numbers below 2^53 take the quick way.
 */

/** Whether the two halves fit a number exactly. */
export function isSafe(high: number): boolean {
  return high >>> 0 < 0x20_0000;
}

/** The number of two halves; exact when `isSafe(high)`. */
export function toNumber(high: number, low: number): number {
  return (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
}

export function toBigInt(high: number, low: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** The high half of a number below 2^53, as a signed 32-bit integer. */
export function highOf(value: number): number {
  return Math.floor(value / 0x1_0000_0000) | 0;
}

/** The low half of a number below 2^53, as a signed 32-bit integer. */
export function lowOf(value: number): number {
  return value | 0;
}

/** Two halves that a function leaves for its caller, instead of making an object. */
export interface Halves {
  high: number;
  low: number;
}

/** Whether a < b, unsigned. */
export function isBelow(highA: number, lowA: number, highB: number, lowB: number): boolean {
  return highA === highB ? lowA >>> 0 < lowB >>> 0 : highA >>> 0 < highB >>> 0;
}

/** a + b modulo 2^64, into `a`. */
export function add(a: Halves, high: number, low: number): void {
  const sum = (a.low >>> 0) + (low >>> 0);
  a.high = (a.high + high + (sum > 0xffff_ffff ? 1 : 0)) | 0;
  a.low = sum | 0;
}

/** a - b, but not below 0, into `a`. */
export function subtract(a: Halves, high: number, low: number): void {
  if (isBelow(a.high, a.low, high, low)) {
    a.high = 0;
    a.low = 0;
    return;
  }
  const difference = (a.low >>> 0) - (low >>> 0);
  a.high = (a.high - high - (difference < 0 ? 1 : 0)) | 0;
  a.low = difference | 0;
}

/** Writes the decimal digits of two halves at `at`; returns where they end. */
export function writeDecimal(high: number, low: number, target: Uint8Array, at: number): number {
  if (isSafe(high)) return writeNumber(toNumber(high, low), target, at);
  const text = toBigInt(high, low).toString();
  for (let i = 0; i < text.length; i++) target[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/** Writes the decimal digits of a whole number from 0 to 2^53; returns where they end. */
export function writeNumber(value: number, target: Uint8Array, at: number): number {
  if (value < 10) {
    target[at] = 48 + value;
    return at + 1;
  }
  let digits = 2;
  for (let bound = 100; value >= bound; bound *= 10) digits++;
  const end = at + digits;
  let rest = value;
  let to = end;
  while (rest > 0x7fff_ffff) {
    const tenth = Math.floor(rest / 10);
    target[--to] = 48 + (rest - tenth * 10);
    rest = tenth;
  }
  rest |= 0;
  while (to > at) {
    const tenth = (rest / 10) | 0;
    target[--to] = 48 + (rest - tenth * 10);
    rest = tenth;
  }
  return end;
}

/**
 * Reads a decimal number as C's strtoull and memcached's safe_strtoull do: white space and a sign before it are fine,
 * at least one digit must come, and after it white space, a zero byte or the end.
 *
 * Returns false for what they refuse: no number, below zero, above 2^64 - 1.
 */
export function readDecimal(bytes: Uint8Array, start: number, end: number, into: Halves): boolean {
  let at = start;
  while (at < end && isSpace(bytes[at] as number)) at++;
  let negative = false;
  if (at < end && (bytes[at] === 43 || bytes[at] === 45)) negative = bytes[at++] === 45;
  const digits = at;
  let value = 0;
  while (at < end && at - digits < 15 && isDigit(bytes[at] as number))
    value = value * 10 + (bytes[at++] as number) - 48;
  if (at === digits) return false;
  into.high = highOf(value);
  into.low = lowOf(value);
  if (at < end && isDigit(bytes[at] as number)) {
    let big = BigInt(value);
    while (at < end && isDigit(bytes[at] as number)) {
      big = big * 10n + BigInt((bytes[at++] as number) - 48);
      if (big > 0xffff_ffff_ffff_ffffn) return false;
    }
    into.high = Number(big >> 32n) | 0;
    into.low = Number(big & 0xffff_ffffn) | 0;
  }
  if (negative && (into.high !== 0 || into.low !== 0)) return false;
  return at === end || bytes[at] === 0 || isSpace(bytes[at] as number);
}

export function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}
