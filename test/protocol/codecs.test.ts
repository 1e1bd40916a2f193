/** The client's codecs: every reply is read alike however it is cut, and nothing that a caller writes breaks a command. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { EverfreshError } from "everfresh/client";
import type { Answer } from "#src/protocol/answer.ts";
import { want, type Command } from "#src/protocol/command.ts";
import { speak, type Dialect, type ProtocolName } from "#src/protocol/dialect.ts";
import { hashedKey, keyBytes, oddKey, plainKey } from "#src/protocol/key.ts";
import { Outgoing } from "#src/protocol/outgoing.ts";
import type { Asker } from "#src/protocol/reader.ts";

/** How often a property is tried; more by EVERFRESH_FUZZ=10 and the like. */
const runs = 200 * Number(process.env["EVERFRESH_FUZZ"] ?? 1);
const limits = { lineBytes: 2048, valueBytes: 1 << 20 };
const protocols = ["meta", "text", "binary"] as const;

/** Remembers what it was told; asks its commands in their order. */
class Recorder implements Asker {
  readonly told: string[] = [];
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
    const data = answer.hasData ? answer.bytes().toString("latin1") : "-";
    const { kind, index, clientFlags, cas = "-", ttl = "-", won, stale, leased, text } = answer;
    this.told.push([kind, index, clientFlags, cas, ttl, won, stale, leased, text, data, last].join("|"));
    if (last) this.#commands.shift();
  }
}

const command = (verb: Command["verb"], key: string, more: Partial<Command> = {}): Command => ({
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
function hear(
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
      // A copy, so that nothing may look beyond the piece it was given.
      if (cut > at) dialect.feed(Buffer.from(bytes.subarray(at, cut)));
      at = Math.max(at, cut);
    }
  } catch (error) {
    assert.ok(error instanceof EverfreshError, String(error));
    recorder.told.push(error.code);
  }
  return recorder.told;
}

function binaryReply(
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

/** One conversation in each protocol: what was asked, what the server says, what must be heard. */
const value = Buffer.from("VA 3 kx\r\n\u0000END\r\n\u00ff", "latin1");
const spoken: Readonly<
  Record<ProtocolName, { commands: readonly Command[]; bytes: Buffer; kinds: readonly string[] }>
> = {
  meta: {
    commands: [
      command("get", "a"),
      command("get", "b"),
      command("store", "c"),
      command("getMany", "", { details: { keys: ["d", "e", "f"] } }),
      command("delete", "g"),
      command("arithmetic", "h"),
      command("noop", ""),
      command("version", ""),
      command("stats", ""),
      command("get", "i"),
    ],
    bytes: Buffer.concat([
      Buffer.from(`VA ${value.length} ka f5 c9 W\r\n`),
      value,
      Buffer.from(
        "\r\nEN kb\r\nNS kc\r\nVA 1 kd f0 c1\r\nx\r\nEN\r\nVA 0 kf f0 c2 Z X\r\n\r\nHD kg\r\nVA 2 kh\r\n12\r\nMN\r\n",
      ),
      Buffer.from("VERSION 1.6.18\r\nSTAT pid 1\r\nSTAT uptime 2\r\nEND\r\nSERVER_ERROR out of memory\r\n"),
    ]),
    kinds: [
      "hit",
      "miss",
      "notStored",
      "hit",
      "miss",
      "hit",
      "deleted",
      "number",
      "ok",
      "ok",
      "line",
      "line",
      "ok",
      "serverError",
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
    ],
    bytes: Buffer.concat([
      Buffer.from(`VALUE a 5 ${value.length} 9\r\n`),
      value,
      Buffer.from("\r\nEND\r\nEND\r\nVALUE d 0 1\r\nx\r\nVALUE f 1 0\r\n\r\nEND\r\nSTORED\r\n12 \r\nNOT_FOUND\r\n"),
    ]),
    kinds: ["hit", "miss", "miss", "hit", "hit", "miss", "stored", "number", "notFound"],
  },
  binary: {
    commands: [
      command("get", "a"),
      command("get", "b"),
      command("getMany", "", { details: { keys: ["d", "e", "f"] } }),
      command("store", "c"),
      command("arithmetic", "h"),
    ],
    bytes: Buffer.concat([
      binaryReply(0x0c, 0x0d0a0d0a, 0, "a", Buffer.from([0, 0, 0, 5]), value),
      binaryReply(0x0c, 0x0d0a0d0b, 1, "b", Buffer.alloc(0), Buffer.alloc(0)),
      binaryReply(0x0d, 0x0d0a0d0c, 0, "d", Buffer.alloc(4), Buffer.from("x")),
      binaryReply(0x0d, 0x0d0a0d0c, 0, "f", Buffer.alloc(4), Buffer.alloc(0)),
      binaryReply(0x0a, 0x0d0a0d0c, 0, "", Buffer.alloc(0), Buffer.alloc(0)),
      binaryReply(0x01, 0x0d0a0d0d, 3, "", Buffer.alloc(0), Buffer.from("Too large.")),
      binaryReply(0x05, 0x0d0a0d0e, 0, "", Buffer.alloc(0), Buffer.from([0, 0, 0, 0, 0, 0, 0, 12])),
    ]),
    kinds: ["hit", "miss", "hit", "hit", "ok", "tooLarge", "number"],
  },
};

for (const protocol of protocols) {
  const { commands, bytes, kinds } = spoken[protocol];
  describe(`replies in ${protocol}`, () => {
    const whole = hear(protocol, commands, bytes, []);
    test("are read whole", () => {
      assert.deepEqual(
        whole.map((line) => line.split("|")[0]),
        kinds,
      );
      assert.ok(whole[0]?.includes(value.toString("latin1")));
    });
    test("are read alike byte by byte, and cut at every place", () => {
      for (const keeps of [false, true]) {
        assert.deepEqual(hear(protocol, commands, bytes, Array.from(bytes.keys()), keeps), whole);
        for (let cut = 1; cut < bytes.length; cut++)
          assert.deepEqual(hear(protocol, commands, bytes, [cut], keeps), whole);
      }
    });
    test("are read alike in any pieces", () => {
      fc.assert(
        fc.property(fc.array(fc.nat(bytes.length)), fc.boolean(), (places, keeps) => {
          assert.deepEqual(
            hear(
              protocol,
              commands,
              bytes,
              places.toSorted((a, b) => a - b),
              keeps,
            ),
            whole,
          );
        }),
        { numRuns: runs },
      );
    });
    test("with damaged bytes end in a typed error or a wrong but whole answer, the same however they are cut", () => {
      const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
      fc.assert(
        fc.property(damage, fc.array(fc.nat(bytes.length), { maxLength: 6 }), (changes, places) => {
          const damaged = Buffer.from(bytes);
          for (const [at, byte] of changes) damaged[at] = byte;
          const once = hear(protocol, commands, damaged, []);
          const pieces = hear(
            protocol,
            commands,
            damaged,
            places.toSorted((a, b) => a - b),
          );
          // A limit or a bad first byte may be seen earlier in pieces; what was told before is the same.
          const told = once.filter((line) => !line.startsWith("EF_"));
          assert.deepEqual(
            pieces.filter((line) => !line.startsWith("EF_")),
            told,
          );
        }),
        { numRuns: runs },
      );
    });
    test("of random bytes never do worse than a typed error", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
          hear(protocol, commands, Buffer.from(noise), [1, 2, 30]);
        }),
        { numRuns: runs },
      );
    });
    test("that were not asked for are an error", () => {
      assert.deepEqual(hear(protocol, [], bytes, []), ["EF_PROTOCOL"]);
    });
  });
}

test("what a peer can make us hold is bounded", () => {
  assert.deepEqual(hear("meta", [command("get", "a")], Buffer.from(`VA ${limits.valueBytes + 1} ka\r\n`), []), [
    "EF_PROTOCOL",
  ]);
  assert.deepEqual(hear("meta", [command("get", "a")], Buffer.alloc(5000, "x"), [100, 2000, 4000]), ["EF_PROTOCOL"]);
  const huge = binaryReply(0x0c, 0x0d0a0d0a, 0, "", Buffer.alloc(0), Buffer.alloc(0));
  huge.writeUInt32BE(0xffff_ffff, 8);
  assert.deepEqual(hear("binary", [command("get", "a")], huge, []), ["EF_PROTOCOL"]);
});

/** Everything that a caller may write as a key. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.constantFrom("a\r\nflush_all", "a b", "\0", "é".repeat(126)),
);

test("a key becomes one legal word, and different keys become different words", () => {
  fc.assert(
    fc.property(anyText, anyText, (one, other) => {
      const words = [one, other].map((key) => {
        const plain = plainKey(key);
        if (plain !== undefined) return `plain ${plain}`;
        const odd = oddKey(key);
        return odd === undefined ? "" : `${odd.base64 ? "base64" : "plain"} ${odd.key}`;
      });
      for (const [at, word] of words.entries()) {
        if (word === "") assert.equal([one, other][at], "");
        else assert.match(word, /^(?:plain|base64) [!-~\u0080-\u00ff]{1,250}$/);
      }
      if (keyBytes(one) !== keyBytes(other)) assert.notEqual(words[0], words[1]);
    }),
    { numRuns: runs },
  );
});

/** What `asked` is on the wire. */
function written(protocol: ProtocolName, asked: Command): Buffer {
  const out = new Outgoing();
  speak(protocol, new Recorder([]), limits).encode(asked, out);
  const pieces = [...out.pieces, out.text].map((piece) =>
    typeof piece === "string" ? Buffer.from(piece, "latin1") : piece,
  );
  assert.equal(out.size(), Buffer.concat(pieces).length);
  return Buffer.concat(pieces);
}

test("whatever the key and the value are, a command is one command", () => {
  fc.assert(
    fc.property(anyText, fc.uint8Array({ maxLength: 9000 }), (text, data) => {
      fc.pre(text !== "");
      const plain = plainKey(text);
      const { key, base64 } = plain === undefined ? (oddKey(text) ?? assert.fail()) : { key: plain, base64: false };
      const store = command("store", key, { base64, data, ttl: 60, details: { clientFlags: 3 } });
      const meta = written("meta", store);
      const line = meta.subarray(0, meta.indexOf("\r\n")).toString("latin1");
      assert.equal(line, `ms ${key} ${data.length} k${base64 ? " b" : ""} T60 F3`);
      assert.deepEqual(meta.subarray(line.length + 2), Buffer.concat([data, Buffer.from("\r\n")]));
      const classic = written("text", store);
      const name = base64 ? hashedKey(keyBytes(text)) : key;
      const head = `set ${name} 3 60 ${data.length}\r\n`;
      assert.deepEqual(classic, Buffer.concat([Buffer.from(head, "latin1"), data, Buffer.from("\r\n")]));
      const binary = written("binary", store);
      const keyOnWire = base64 ? keyBytes(text) : key;
      assert.equal(binary.length, 24 + 8 + keyOnWire.length + data.length);
      assert.equal(binary.subarray(32, 32 + keyOnWire.length).toString("latin1"), keyOnWire);
      for (const verb of ["get", "delete", "touch", "arithmetic"] as const) {
        for (const protocol of ["meta", "text"] as const) {
          const bytes = written(protocol, command(verb, key, { base64, ttl: verb === "touch" ? 5 : undefined }));
          assert.equal(bytes.indexOf("\r\n"), bytes.length - 2, `${protocol} ${verb}`);
        }
      }
    }),
    { numRuns: runs },
  );
});
