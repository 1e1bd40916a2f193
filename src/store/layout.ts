/**
 * How an item lies in memory: nine 32-bit words, then the key, then the value, rounded up to whole words.
 *
 *     0 next     the next item of the same bucket of the table
 *     1 hash     of the key
 *     2 expires  the second in which it expires, counted as the store counts; 0 is never
 *     3 flags    the client's
 *     4 5 cas    low and high half
 *     6 length   of the value in bytes
 *     7 state    key length (8 bits), then the bits below
 *     8 time     the second of the last access
 *
 * An item is named by the index of its first word; index 0 is nobody.
 */
export const NEXT = 0;
export const HASH = 1;
export const EXPIRES = 2;
export const FLAGS = 3;
export const CAS_LOW = 4;
export const CAS_HIGH = 5;
export const LENGTH = 6;
export const STATE = 7;
export const TIME = 8;
export const headerWords = 9;
export const headerBytes = headerWords * 4;

/** Bits of the state word. */
export const KEY_LENGTH = 0xff;
export const USES = 0x300;
export const ONE_USE = 0x100;
export const LIVE = 0x400;
export const FETCHED = 0x800;
export const STALE = 0x1000;
export const WON = 0x2000;
export const BINARY_KEY = 0x4000;

/** The words an item takes. */
export function wordsOf(keyLength: number, valueLength: number): number {
  return headerWords + ((keyLength + valueLength + 3) >>> 2);
}
