/**
 * The hash functions of libmemcached (libhashkit), on keys as latin1 text: one character is one byte.
 *
 * Where its C code reads `char`, bytes from 0x80 on are negative; that is part of where a key lives, so it is kept.
 */

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

/** A byte as C's `signed char`. */
function signed(byte: number): number {
  return byte < 0x80 ? byte : byte - 0x100;
}
