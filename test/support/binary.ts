/** Binary requests by hand: just bytes. */

/** What may be said in a header; what is not said is 0, or the length of what is given. */
export interface BinaryParts {
  readonly opcode: number;
  readonly key?: string;
  readonly value?: string | Buffer;
  readonly extras?: Buffer;
  readonly cas?: bigint;
  readonly opaque?: number;
  readonly magic?: number;
  readonly keyLength?: number;
  readonly extrasLength?: number;
  readonly bodyLength?: number;
}

export function binaryRequest(parts: BinaryParts): Buffer {
  const key = Buffer.from(parts.key ?? "", "latin1");
  const value = typeof parts.value === "string" ? Buffer.from(parts.value, "latin1") : (parts.value ?? Buffer.alloc(0));
  const extras = parts.extras ?? Buffer.alloc(0);
  const header = Buffer.alloc(24);
  header.writeUInt8(parts.magic ?? 0x80, 0);
  header.writeUInt8(parts.opcode, 1);
  header.writeUInt16BE(parts.keyLength ?? key.length, 2);
  header.writeUInt8(parts.extrasLength ?? extras.length, 4);
  header.writeUInt32BE(parts.bodyLength ?? extras.length + key.length + value.length, 8);
  header.writeUInt32BE(parts.opaque ?? 0, 12);
  header.writeBigUInt64BE(parts.cas ?? 0n, 16);
  return Buffer.concat([header, extras, key, value]);
}

/** Extras of Set, Add and Replace. */
export function storeExtras(flags = 0, expires = 0): Buffer {
  const extras = Buffer.alloc(8);
  extras.writeUInt32BE(flags, 0);
  extras.writeUInt32BE(expires, 4);
  return extras;
}

/** Extras of Increment and Decrement. */
export function countExtras(delta: bigint, initial = 0n, expires = 0): Buffer {
  const extras = Buffer.alloc(20);
  extras.writeBigUInt64BE(delta, 0);
  extras.writeBigUInt64BE(initial, 8);
  extras.writeUInt32BE(expires, 16);
  return extras;
}

/** Extras of Touch, GAT and Flush. */
export function timeExtras(expires: number): Buffer {
  const extras = Buffer.alloc(4);
  extras.writeUInt32BE(expires, 0);
  return extras;
}
