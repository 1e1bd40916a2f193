/**
 * The hash functions of libmemcached (libhashkit), on keys as latin1 text: one character is one byte.
 *
 * Where its C code reads `char`, bytes from 0x80 on are negative; that is part of where a key lives, so it is kept.
 */
import { md5Words } from "./md5.ts";

/** A hash function: 32 bits, unsigned. */
export type Hash = (key: string) => number;

/** The names that pylibmc gives the functions; `default` is one-at-a-time. */
export type HashName =
  | "default"
  | "md5"
  | "crc"
  | "fnv1_32"
  | "fnv1a_32"
  | "fnv1_64"
  | "fnv1a_64"
  | "murmur"
  | "jenkins";

/** Bob Jenkins's one-at-a-time, libmemcached's default. */
export function oneAtATime(key: string): number {
  let value = 0;
  for (let at = 0; at < key.length; at++) {
    value = (value + signed(key.charCodeAt(at))) | 0;
    value = (value + (value << 10)) | 0;
    value ^= value >>> 6;
  }
  value = (value + (value << 3)) | 0;
  value ^= value >>> 11;
  value = (value + (value << 15)) | 0;
  return value >>> 0;
}

/** The first little-endian word of the MD5 digest. */
export function md5(key: string): number {
  return (md5Words(key)[0] ?? 0) >>> 0;
}

const crcTable = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value;
});

/** 15 bits from the middle of a CRC-32. */
function crc(key: string): number {
  let value = -1;
  for (let at = 0; at < key.length; at++) value = (value >>> 8) ^ (crcTable[(value ^ key.charCodeAt(at)) & 0xff] ?? 0);
  return (~value >>> 16) & 0x7fff;
}

const prime32 = 16_777_619;
const basis32 = 2_166_136_261;

function fnv1(key: string): number {
  let value = basis32 | 0;
  for (let at = 0; at < key.length; at++) value = Math.imul(value, prime32) ^ signed(key.charCodeAt(at));
  return value >>> 0;
}

function fnv1a(key: string): number {
  let value = basis32 | 0;
  for (let at = 0; at < key.length; at++) value = Math.imul(value ^ signed(key.charCodeAt(at)), prime32);
  return value >>> 0;
}

const prime64 = 0x100_0000_01b3n;
const basis64 = 0xcbf2_9ce4_8422_2325n;

/** Multiplies before it mixes; the low half of 64 bits. */
function fnv1Wide(key: string): number {
  let value = basis64;
  for (let at = 0; at < key.length; at++)
    value = BigInt.asUintN(64, BigInt.asUintN(64, value * prime64) ^ BigInt(signed(key.charCodeAt(at))));
  return Number(value & 0xffff_ffffn);
}

/** libhashkit keeps 32 bits here, from a basis and a prime cut to 32 bits. */
function fnv1aWide(key: string): number {
  let value = Number(basis64 & 0xffff_ffffn) | 0;
  const prime = Number(prime64 & 0xffff_ffffn);
  for (let at = 0; at < key.length; at++) value = Math.imul(value ^ signed(key.charCodeAt(at)), prime);
  return value >>> 0;
}

/** MurmurHash2 with the seed that libhashkit derives from the length. */
function murmur(key: string): number {
  const m = 0x5bd1_e995;
  let left = key.length;
  let value = Math.imul(0xdead_beef, left) ^ left;
  let at = 0;
  for (; left >= 4; left -= 4, at += 4) {
    let k = word(key, at);
    k = Math.imul(k, m);
    k = Math.imul(k ^ (k >>> 24), m);
    value = Math.imul(value, m) ^ k;
  }
  if (left >= 3) value ^= key.charCodeAt(at + 2) << 16;
  if (left >= 2) value ^= key.charCodeAt(at + 1) << 8;
  if (left >= 1) value = Math.imul(value ^ key.charCodeAt(at), m);
  value = Math.imul(value ^ (value >>> 13), m);
  return (value ^ (value >>> 15)) >>> 0;
}

/** Bob Jenkins's lookup3 (2006), started with 13 as libhashkit does. */
function jenkins(key: string): number {
  let left = key.length;
  let a = (0xdead_beef + left + 13) | 0;
  let b = a;
  let c = a;
  let at = 0;
  for (; left > 12; left -= 12, at += 12) {
    a = (a + word(key, at)) | 0;
    b = (b + word(key, at + 4)) | 0;
    c = (c + word(key, at + 8)) | 0;
    a = ((a - c) | 0) ^ turned(c, 4);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ turned(a, 6);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ turned(b, 8);
    b = (b + a) | 0;
    a = ((a - c) | 0) ^ turned(c, 16);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ turned(a, 19);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ turned(b, 4);
    b = (b + a) | 0;
  }
  if (left === 0) return c >>> 0;
  a = (a + word(key, at)) | 0;
  b = (b + word(key, at + 4)) | 0;
  c = (c + word(key, at + 8)) | 0;
  c = ((c ^ b) - turned(b, 14)) | 0;
  a = ((a ^ c) - turned(c, 11)) | 0;
  b = ((b ^ a) - turned(a, 25)) | 0;
  c = ((c ^ b) - turned(b, 16)) | 0;
  a = ((a ^ c) - turned(c, 4)) | 0;
  b = ((b ^ a) - turned(a, 14)) | 0;
  c = ((c ^ b) - turned(b, 24)) | 0;
  return c >>> 0;
}

/** Four bytes, little-endian; what lies behind the end is zero. */
function word(key: string, at: number): number {
  return byte(key, at) | (byte(key, at + 1) << 8) | (byte(key, at + 2) << 16) | (byte(key, at + 3) << 24);
}

function byte(key: string, at: number): number {
  return at < key.length ? key.charCodeAt(at) : 0;
}

function turned(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}

/** A byte as C's `signed char`. */
function signed(value: number): number {
  return value < 0x80 ? value : value - 0x100;
}

/** All functions by their names. */
export const hashes: Readonly<Record<HashName, Hash>> = {
  default: oneAtATime,
  md5,
  crc,
  fnv1_32: fnv1,
  fnv1a_32: fnv1a,
  fnv1_64: fnv1Wide,
  fnv1a_64: fnv1aWide,
  murmur,
  jenkins,
};
