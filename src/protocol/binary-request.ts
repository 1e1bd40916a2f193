/**
 * The header of a binary request (protocol-binary.txt).
 *
 *      0        1        2        3        4        5        6        7
 *     magic   opcode   key length        extras   type     vbucket
 *     total body length                  opaque
 *     CAS
 */

/** Bytes of a header. */
export const binaryHeader = 24;
export const requestMagic = 0x80;
export const responseMagic = 0x81;

/** What a response says about its request. */
export const status = {
  ok: 0,
  notFound: 1,
  exists: 2,
  tooLarge: 3,
  invalid: 4,
  notStored: 5,
  nonNumeric: 6,
  authFailed: 0x20,
  unknown: 0x81,
  outOfMemory: 0x82,
} as const;
export type Status = (typeof status)[keyof typeof status];

export class BinaryRequest {
  opcode = 0;
  keyLength = 0;
  extrasLength = 0;
  bodyLength = 0;
  opaque = 0;
  casHigh = 0;
  casLow = 0;
  /** Where in the bytes the extras, the key and the value begin, and where the request ends. */
  extras = 0;
  key = 0;
  value = 0;
  end = 0;

  /** Reads the header at `at`; false when it is none. */
  read(bytes: Uint8Array, at: number): boolean {
    if (bytes[at] !== requestMagic) return false;
    this.opcode = bytes[at + 1] as number;
    this.keyLength = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    this.extrasLength = bytes[at + 4] as number;
    this.bodyLength = readUint32(bytes, at + 8) >>> 0;
    this.opaque = readUint32(bytes, at + 12);
    this.casHigh = readUint32(bytes, at + 16);
    this.casLow = readUint32(bytes, at + 20);
    this.extras = at + binaryHeader;
    this.key = this.extras + this.extrasLength;
    this.value = this.key + this.keyLength;
    this.end = this.extras + this.bodyLength;
    return true;
  }

  get valueLength(): number {
    return this.end - this.value;
  }
}

/** Four bytes, big-endian, as a signed number. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}
