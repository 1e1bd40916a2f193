/**
 * Commands in memcached's binary protocol (protocol-binary.txt), which SASL needs.
 *
 *     magic 0x80 | opcode | key length u16 | extras length u8 | 0 | 0 u16 | body length u32 | opaque u32 | cas u64 | extras | key | value
 *
 * Big-endian. The opaque numbers the commands of a connection, so that each answer can be held against its question.
 */
import type { Command, StoreMode } from "./command.ts";
import { decodedKey } from "./key.ts";
import type { Outgoing } from "./outgoing.ts";

/** What the protocol calls its commands (protocol-binary.txt, "Command Opcodes"). */
export const opcode = {
  set: 0x01,
  add: 0x02,
  replace: 0x03,
  delete: 0x04,
  increment: 0x05,
  decrement: 0x06,
  flush: 0x08,
  noop: 0x0a,
  version: 0x0b,
  getKey: 0x0c,
  getKeyQuiet: 0x0d,
  append: 0x0e,
  prepend: 0x0f,
  stat: 0x10,
  touch: 0x1c,
  saslAuth: 0x21,
  getAndTouchKey: 0x23,
} as const;

const storeOpcodes: Readonly<Record<StoreMode, number>> = {
  set: opcode.set,
  add: opcode.add,
  replace: opcode.replace,
  append: opcode.append,
  prepend: opcode.prepend,
};

/** For arithmetic: "do not make a counter" (protocol-binary.txt, "Increment, Decrement"). */
const neverMake = 0xffff_ffff;
/** A date long gone. A span is unsigned here, so that -1 would mean the year 2106. */
const longAgo = 60 * 60 * 24 * 30 + 1;

/**
 * The number of a connection's first command. It holds line ends, so that a server that knows text only sees the end of a
 * line and says that it does not understand, instead of waiting for more.
 */
export const firstOpaque = 0x0d0a_0d0a;

/** Adds `command` to `out` under the number `opaque`. */
export function encodeBinary(command: Command, opaque: number, out: Outgoing): void {
  const key = command.base64 ? decodedKey(command.key) : command.key;
  const { details, data = "" } = command;
  switch (command.verb) {
    case "get":
      if (command.ttl === undefined) frame(out, opcode.getKey, opaque, key);
      else frame(out, opcode.getAndTouchKey, opaque, key, numbers(expiry(command.ttl)));
      return;
    case "getMany":
      details?.keys?.forEach((each, at) => {
        frame(out, opcode.getKeyQuiet, opaque, details.encoded?.[at] === true ? decodedKey(each) : each);
        out.mark();
      });
      frame(out, opcode.noop, opaque, "");
      return;
    case "store": {
      const mode = details?.mode ?? "set";
      const extras =
        mode === "append" || mode === "prepend" ? "" : numbers(details?.clientFlags ?? 0, expiry(command.ttl ?? 0));
      frame(out, storeOpcodes[mode], opaque, key, extras, data, details?.compareCas);
      return;
    }
    case "delete":
      frame(out, opcode.delete, opaque, key, "", "", details?.compareCas);
      return;
    case "touch":
      frame(out, opcode.touch, opaque, key, numbers(expiry(command.ttl ?? 0)));
      return;
    case "arithmetic": {
      const code = details?.subtract === true ? opcode.decrement : opcode.increment;
      const exptime = details?.vivify === undefined ? neverMake : expiry(details.vivify);
      const extras = wide(details?.delta ?? 1n) + wide(details?.initial ?? 0n) + numbers(exptime);
      frame(out, code, opaque, key, extras, "", details?.compareCas);
      return;
    }
    case "noop":
      frame(out, opcode.noop, opaque, "");
      return;
    case "version":
      frame(out, opcode.version, opaque, "");
      return;
    case "flush":
      frame(out, opcode.flush, opaque, "");
      return;
    case "stats":
      frame(out, opcode.stat, opaque, details?.argument ?? "");
      return;
    case "sasl":
      frame(out, opcode.saslAuth, opaque, details?.argument ?? "PLAIN", "", data);
      return;
    case "debug":
    case "cluster":
    case "login":
      throw new TypeError(`the binary protocol has no ${command.verb}`);
  }
}

/** Adds one frame; `key` and `extras` are latin1, one character for one byte. */
function frame(
  out: Outgoing,
  code: number,
  opaque: number,
  key: string,
  extras = "",
  data: string | Uint8Array = "",
  cas?: string,
): void {
  // Text that is ASCII is its own bytes.
  const isWider = typeof data === "string" && Buffer.byteLength(data, "utf8") > data.length;
  const value = isWider ? Buffer.from(data, "utf8") : data;
  const header = Buffer.alloc(24);
  header[0] = 0x80;
  header[1] = code;
  header.writeUInt16BE(key.length, 2);
  header[4] = extras.length;
  header.writeUInt32BE(extras.length + key.length + value.length, 8);
  header.writeUInt32BE(opaque, 12);
  if (cas !== undefined) header.writeBigUInt64BE(BigInt(cas), 16);
  out.text += header.toString("latin1") + extras + key;
  if (typeof value === "string") out.text += value;
  else out.data(value);
}

function numbers(...values: number[]): string {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => bytes.writeUInt32BE(value, at * 4));
  return bytes.toString("latin1");
}

function wide(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes.toString("latin1");
}

function expiry(seconds: number): number {
  return seconds < 0 ? longAgo : seconds;
}
