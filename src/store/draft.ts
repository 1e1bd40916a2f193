/** What is to be stored and what came of it: the vocabulary of `Store`, in numbers, so that a request costs no object. */
import type { Halves } from "../protocol/index.ts";

export const nothing: Uint8Array = new Uint8Array(0);

/** What came of storing or counting. */
export const outcome = {
  stored: 0,
  notStored: 1,
  exists: 2,
  notFound: 3,
  tooLarge: 4,
  noMemory: 5,
  nonNumeric: 6,
} as const;
export type Outcome = (typeof outcome)[keyof typeof outcome];

/** How to store. */
export const mode = { set: 0, add: 1, replace: 2, append: 3, prepend: 4 } as const;
export type Mode = (typeof mode)[keyof typeof mode];

/** What to store: filled in by the caller before `put`, so that no object is made for it. */
export interface Draft {
  key: Uint8Array;
  keyStart: number;
  keyEnd: number;
  value: Uint8Array;
  valueStart: number;
  valueEnd: number;
  flags: number;
  /** The second of `Seconds.expiry`. */
  expires: number;
  /** Store only if the item's CAS is this one. */
  compares: boolean;
  cas: Halves;
  /** With `compares`: an older CAS is stored nevertheless, marked stale. */
  allowsStale: boolean;
  /** The CAS that the item shall get, instead of the next one. */
  chooses: boolean;
  newCas: Halves;
  /** Append and prepend create what is missing. */
  vivifies: boolean;
  binaryKey: boolean;
}

export function emptyDraft(): Draft {
  return {
    key: nothing,
    keyStart: 0,
    keyEnd: 0,
    value: nothing,
    valueStart: 0,
    valueEnd: 0,
    flags: 0,
    expires: 0,
    compares: false,
    cas: { high: 0, low: 0 },
    allowsStale: false,
    chooses: false,
    newCas: { high: 0, low: 0 },
    vivifies: false,
    binaryKey: false,
  };
}

/** What memcached 1.6 on 64 bits counts for an item: 48 bytes of header, 8 of CAS, and what is stored. */
export function memcachedSize(keyLength: number, flags: number, valueLength: number): number {
  return 48 + 8 + keyLength + 1 + (flags === 0 ? 0 : 4) + valueLength + 2;
}
