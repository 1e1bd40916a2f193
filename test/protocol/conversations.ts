/** Conversations with every protocol's reader: what was asked, what the server says, what is heard. */
import assert from "node:assert/strict";
import { EverfreshError } from "everfresh/client";
import type { Answer } from "#src/protocol/answer.ts";
import { want, type Command } from "#src/protocol/command.ts";
import { speak, type Dialect, type ProtocolName } from "#src/protocol/dialect.ts";
import type { Asker } from "#src/protocol/reader.ts";

/** What a peer may make the readers hold. */
export const limits = { lineBytes: 2048, valueBytes: 64 };
export const protocols = ["meta", "text", "binary"] as const;

/** Remembers what it was told; asks its commands in their order. */
export class Recorder implements Asker {
  readonly told: string[] = [];
  /** The bytes that were given away, and what they were then. */
  readonly given: { bytes: Buffer; text: string }[] = [];
  readonly #commands: Command[];
  readonly #keeps: boolean;
  constructor(commands: readonly Command[], keeps = false) {
    this.#commands = [...commands];
    this.#keeps = keeps;
  }
  oldest(): Command | undefined {
    return this.#commands[0];
  }
  keepsBytes(): boolean {
    return this.#keeps;
  }
  answered(answer: Answer, last: boolean): void {
    let data = "-";
    if (answer.hasData) {
      const bytes = answer.bytes();
      data = bytes.toString("latin1");
      this.given.push({ bytes, text: data });
    }
    const { kind, index, clientFlags, cas = "-", ttl = "-", won, stale, leased, text } = answer;
    this.told.push([kind, index, clientFlags, cas, ttl, won, stale, leased, text, data, last].join("|"));
    if (last) this.#commands.shift();
  }
}

/** A command with what most have. */
export const command = (verb: Command["verb"], key: string, more: Partial<Command> = {}): Command => ({
  verb,
  key,
  base64: false,
  wanted: verb === "get" || verb === "getMany" ? want.value | want.flags | want.cas : 0,
  data: undefined,
  ttl: undefined,
  details: undefined,
  ...more,
});

/** Feeds `bytes` in pieces that end at `cuts`; tells what was heard, and the code of the error if there was one. */
export function hear(
  protocol: ProtocolName,
  commands: readonly Command[],
  bytes: Buffer,
  cuts: readonly number[],
  keeps = false,
): string[] {
  const recorder = new Recorder(commands, keeps);
  const dialect: Dialect = speak(protocol, recorder, limits);
  try {
    let at = 0;
    for (const cut of [...cuts, bytes.length]) {
      // A copy, so that nothing may look beyond the piece it was given, nor at it once it was read.
      const piece = Buffer.from(bytes.subarray(at, Math.max(at, cut)));
      if (piece.length > 0) dialect.feed(piece);
      piece.fill(0xee);
      at = Math.max(at, cut);
    }
  } catch (error) {
    assert.ok(error instanceof EverfreshError, String(error));
    recorder.told.push(error.code);
  }
  for (const { bytes: kept, text } of recorder.given) assert.equal(kept.toString("latin1"), text);
  return recorder.told;
}

export function binaryReply(
  code: number,
  opaque: number,
  state: number,
  key: string,
  extras: Buffer,
  value: Buffer,
  cas = 7n,
): Buffer {
  const header = Buffer.alloc(24);
  header[0] = 0x81;
  header[1] = code;
  header.writeUInt16BE(key.length, 2);
  header[4] = extras.length;
  header.writeUInt16BE(state, 6);
  header.writeUInt32BE(key.length + extras.length + value.length, 8);
  header.writeUInt32BE(opaque, 12);
  header.writeBigUInt64BE(cas, 16);
  return Buffer.concat([header, extras, Buffer.from(key, "latin1"), value]);
}

/** A value that looks like everything else. */
export const value = Buffer.from("VA 3 kx\r\n\u0000END\r\n\u00ff", "latin1");
/** One that is over the limit; its pieces look like replies, too. */
export const oversized = Buffer.concat(Array.from({ length: 5 }, () => value));
/** One conversation in each protocol: what was asked, what the server says, what must be heard. */
export const spoken: Readonly<
  Record<ProtocolName, { commands: readonly Command[]; bytes: Buffer; kinds: readonly string[] }>
> = {
  meta: {
    commands: [
      command("get", "a"),
      command("get", "b"),
      command("store", "c"),
      // Keys in base64 can be said in meta only.
      command("getMany", "", { details: { keys: ["d", "e", "f"], encoded: [false, true] } }),
      command("getMany", "", { details: { keys: ["l", "m", "n"] } }),
      command("delete", "g"),
      command("arithmetic", "h"),
      command("noop", ""),
      command("version", ""),
      command("stats", ""),
      command("get", "i"),
      command("get", "o"),
      command("getMany", "", { details: { keys: ["p", "q"], encoded: [true] } }),
      command("getMany", "", { details: { keys: ["r", "s"] } }),
    ],
    bytes: Buffer.concat([
      Buffer.from(`VA ${value.length} ka f5 c9 W\r\n`),
      value,
      Buffer.from("\r\nEN kb\r\nNS kc\r\nVA 1 kd f0 c1\r\nx\r\nEN\r\nVA 0 kf f0 c2 Z X\r\n\r\n"),
      Buffer.from("VALUE l 0 1 7\r\nx\r\nVALUE n 1 0 8\r\n\r\nEND\r\nHD kg\r\nVA 2 kh\r\n12\r\nMN\r\n"),
      Buffer.from("VERSION 1.6.18\r\nSTAT pid 1\r\nSTAT uptime 2\r\nEND\r\nSERVER_ERROR out of memory\r\n"),
      Buffer.from(`VA ${oversized.length} ko f5 c9 W\r\n`),
      oversized,
      Buffer.from(`\r\nVA ${oversized.length} kp f5 c9\r\n`),
      oversized,
      Buffer.from(`\r\nVA 1 kq f0\r\nx\r\nVALUE r 0 ${oversized.length} 7\r\n`),
      oversized,
      Buffer.from("\r\nVALUE s 1 0 8\r\n\r\nEND\r\n"),
    ]),
    kinds: [
      "hit",
      "miss",
      "notStored",
      "hit",
      "miss",
      "hit",
      "hit",
      "hit",
      "miss",
      "deleted",
      "number",
      "ok",
      "ok",
      "line",
      "line",
      "ok",
      "serverError",
      "oversized",
      "oversized",
      "hit",
      "oversized",
      "hit",
      "miss",
    ],
  },
  text: {
    commands: [
      command("get", "a"),
      command("get", "b"),
      command("getMany", "", { details: { keys: ["d", "e", "f"] } }),
      command("store", "c"),
      command("arithmetic", "h"),
      command("touch", "h"),
      command("get", "o"),
      command("getMany", "", { details: { keys: ["p", "q"] } }),
    ],
    bytes: Buffer.concat([
      Buffer.from(`VALUE a 5 ${value.length} 9\r\n`),
      value,
      Buffer.from("\r\nEND\r\nEND\r\nVALUE d 0 1\r\nx\r\nVALUE f 1 0\r\n\r\nEND\r\nSTORED\r\n12 \r\nNOT_FOUND\r\n"),
      Buffer.from(`VALUE o 5 ${oversized.length} 9\r\n`),
      oversized,
      Buffer.from(`\r\nEND\r\nVALUE p 5 ${oversized.length} 9\r\n`),
      oversized,
      Buffer.from("\r\nVALUE q 1 0\r\n\r\nEND\r\n"),
    ]),
    kinds: [
      "hit",
      "miss",
      "miss",
      "hit",
      "hit",
      "miss",
      "stored",
      "number",
      "notFound",
      "oversized",
      "miss",
      "oversized",
      "hit",
      "miss",
    ],
  },
  binary: {
    commands: [
      command("get", "a"),
      command("get", "b"),
      command("getMany", "", { details: { keys: ["d", "e", "f"] } }),
      command("store", "c"),
      command("arithmetic", "h"),
      command("get", "o"),
      command("get", "p", { ttl: 9 }),
      command("getMany", "", { details: { keys: ["q", "r"] } }),
    ],
    bytes: Buffer.concat([
      binaryReply(0x0c, 0x0d0a0d0a, 0, "a", Buffer.from([0, 0, 0, 5]), value),
      binaryReply(0x0c, 0x0d0a0d0b, 1, "b", Buffer.alloc(0), Buffer.alloc(0)),
      binaryReply(0x0d, 0x0d0a0d0c, 0, "d", Buffer.alloc(4), Buffer.from("x")),
      binaryReply(0x0d, 0x0d0a0d0c, 0, "f", Buffer.alloc(4), Buffer.alloc(0)),
      binaryReply(0x0a, 0x0d0a0d0c, 0, "", Buffer.alloc(0), Buffer.alloc(0)),
      binaryReply(0x01, 0x0d0a0d0d, 3, "", Buffer.alloc(0), Buffer.from("Too large.")),
      binaryReply(0x05, 0x0d0a0d0e, 0, "", Buffer.alloc(0), Buffer.from([0, 0, 0, 0, 0, 0, 0, 12])),
      binaryReply(0x0c, 0x0d0a0d0f, 0, "o", Buffer.alloc(4), oversized),
      binaryReply(0x23, 0x0d0a0d10, 0, "p", Buffer.alloc(4), oversized),
      binaryReply(0x0d, 0x0d0a0d11, 0, "q", Buffer.alloc(4), oversized),
      binaryReply(0x0d, 0x0d0a0d11, 0, "r", Buffer.alloc(4), Buffer.from("x")),
      binaryReply(0x0a, 0x0d0a0d11, 0, "", Buffer.alloc(0), Buffer.alloc(0)),
    ]),
    kinds: [
      "hit",
      "miss",
      "hit",
      "hit",
      "ok",
      "tooLarge",
      "number",
      "oversized",
      "oversized",
      "oversized",
      "hit",
      "ok",
    ],
  },
};
