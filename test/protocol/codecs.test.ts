/** The client's codecs: every reply is read alike however it is cut, and nothing that a caller writes breaks a command. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { speak, type ProtocolName } from "#src/protocol/dialect.ts";
import type { Command } from "#src/protocol/command.ts";
import { hashedKey, keyBytes, oddKey, plainKey } from "#src/protocol/key.ts";
import { Outgoing } from "#src/protocol/outgoing.ts";
import { moreRuns } from "../support/thoroughness.ts";
import { binaryReply, command, hear, limits, protocols, Recorder, spoken, value } from "./conversations.ts";

/** How often a property is tried. */
const runs = 200 * moreRuns;

test("many keys in binary: an error before the first hit does not count as a key, whatever was read before", () => {
  const asked = [
    ["a", "b", "c"],
    ["d", "e"],
  ].map((keys) => command("getMany", "", { details: { keys } }));
  const none = Buffer.alloc(0);
  const bytes = Buffer.concat([
    binaryReply(0x0d, 0x0d0a0d0a, 0, "c", Buffer.alloc(4), value),
    binaryReply(0x0a, 0x0d0a0d0a, 0, "", none, none),
    binaryReply(0x0d, 0x0d0a0d0b, 0x86, "", none, Buffer.from("Temporary failure")),
    binaryReply(0x0d, 0x0d0a0d0b, 0, "e", Buffer.alloc(4), value),
    binaryReply(0x0a, 0x0d0a0d0b, 0, "", none, none),
  ]);
  const told = hear("binary", asked, bytes, []);
  assert.deepEqual(
    told.map((line) => line.split("|")[0]),
    ["hit", "ok", "serverError", "hit", "ok"],
  );
});

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
  for (const size of [2 ** 30 + 1, 2 ** 32, 9_999_999_999, 10_000_000_000, 2 ** 53, `${2 ** 30}0000000000`]) {
    const meta = Buffer.from(`VA ${size} ka\r\n`);
    assert.deepEqual(hear("meta", [command("get", "a")], meta, []), ["EF_PROTOCOL"]);
    const text = Buffer.from(`VALUE a 0 ${size}\r\n`);
    assert.deepEqual(hear("text", [command("get", "a")], text, []), ["EF_PROTOCOL"]);
  }
  assert.deepEqual(hear("meta", [command("get", "a")], Buffer.alloc(5000, "x"), [100, 2000, 4000]), ["EF_PROTOCOL"]);
  const huge = binaryReply(0x0c, 0x0d0a0d0a, 0, "", Buffer.alloc(0), Buffer.alloc(0));
  huge.writeUInt32BE(0xffff_ffff, 8);
  assert.deepEqual(hear("binary", [command("get", "a")], huge, []), ["EF_PROTOCOL"]);
  huge.writeUInt32BE(2 ** 30 + 1, 8);
  assert.deepEqual(hear("binary", [command("get", "a")], huge, []), ["EF_PROTOCOL"]);
});

test("a value of as many bytes as allowed is kept, and one more is counted away, to be told with its size", () => {
  const full = Buffer.alloc(limits.valueBytes, "x");
  const over = Buffer.alloc(limits.valueBytes + 1, "x");
  const replies = {
    meta: (data: Buffer) => Buffer.concat([Buffer.from(`VA ${data.length} ka\r\n`), data, Buffer.from("\r\n")]),
    text: (data: Buffer) =>
      Buffer.concat([Buffer.from(`VALUE a 0 ${data.length}\r\n`), data, Buffer.from("\r\nEND\r\n")]),
    binary: (data: Buffer) => binaryReply(0x0c, 0x0d0a0d0a, 0, "a", Buffer.alloc(4), data),
  };
  for (const protocol of protocols) {
    assert.equal(hear(protocol, [command("get", "a")], replies[protocol](full), [])[0]?.split("|")[0], "hit");
    const [told = ""] = hear(protocol, [command("get", "a")], replies[protocol](over), []);
    assert.match(told, /^oversized\|.*\b65 bytes\b.*\b64\b/);
  }
});

test("counting a value away takes no memory", () => {
  const size = 64 * 2 ** 20;
  const piece = Buffer.alloc(65_536);
  const heads = {
    meta: Buffer.from(`VA ${size} ka\r\n`),
    text: Buffer.from(`VALUE a 0 ${size}\r\n`),
    binary: binaryReply(0x0c, 0x0d0a0d0a, 0, "a", Buffer.alloc(4), Buffer.alloc(0)),
  };
  heads.binary.writeUInt32BE(5 + size, 8);
  const ends = { meta: "\r\n", text: "\r\nEND\r\n", binary: "" };
  for (const protocol of protocols) {
    const recorder = new Recorder([command("get", "a")], true);
    const dialect = speak(protocol, recorder, limits);
    const before = process.memoryUsage().arrayBuffers;
    dialect.feed(heads[protocol]);
    for (let sent = 0; sent < size; sent += piece.length) dialect.feed(piece);
    assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20);
    if (ends[protocol] !== "") dialect.feed(Buffer.from(ends[protocol]));
    assert.match(recorder.told[0] ?? "", /^oversized/);
  }
});

test("what is counted away must still be an answer to its question, and end as it must", () => {
  const data = "x".repeat(limits.valueBytes + 1);
  const header = `${data.length}`;
  const wrong = [`VA ${header} kb\r\n${data}\r\n`, `VA ${header}\r\n${data}\r\n`, `VA ${header} ka\r\n${data}x\r\n`];
  for (const reply of wrong)
    assert.deepEqual(hear("meta", [command("get", "a")], Buffer.from(reply), []), ["EF_PROTOCOL"]);
  const count = Buffer.from(`VA ${header} ka\r\n${data}\r\n`);
  assert.deepEqual(hear("meta", [command("arithmetic", "a")], count, []), ["EF_PROTOCOL"]);
  assert.deepEqual(hear("meta", [command("store", "a")], count, []), ["EF_PROTOCOL"]);
  for (const key of ["a", "b"]) {
    const asked = key === "a" ? command("store", "a") : command("get", "a");
    const reply = binaryReply(0x0c, 0x0d0a0d0a, 0, key, Buffer.alloc(4), Buffer.from(data));
    assert.deepEqual(hear("binary", [asked], reply, []), ["EF_PROTOCOL"]);
  }
});

function counted(protocol: "meta" | "text", digits: string): string | undefined {
  const reply = protocol === "meta" ? `VA ${digits.length} ka\r\n${digits}\r\n` : `${digits}\r\n`;
  return hear(protocol, [command("arithmetic", "a")], Buffer.from(reply), [])[0]?.split("|")[0];
}

test("a count is digits, padded with spaces, or it breaks the protocol", () => {
  for (const protocol of ["meta", "text"] as const) {
    for (const digits of ["0", "7", "9 ", "18446744073709551615"]) assert.equal(counted(protocol, digits), "number");
    for (const digits of ["", " ", "abc", "0x10", "-5", "+5", " 5", "1.5", "1 2", "9".repeat(21)])
      assert.equal(counted(protocol, digits), "EF_PROTOCOL", `${protocol} ${JSON.stringify(digits)}`);
  }
});

test("flags end where their line ends, whatever an earlier line left behind it", () => {
  const data = "x".repeat(limits.valueBytes + 1);
  const asked = [command("get", "a"), command("get", "a"), command("get", "a")];
  // Cut behind its line, a block's line is read from the memory of the longer one before it.
  const long = `VA 1 ka f5 c9 h1 t-1 W Z\r\nx\r\n`;
  for (const line of ["ka ", "ka f5 ", "ka f5  "]) {
    const bytes = Buffer.from(`${long}VA 1 ${line}\r\nx\r\nVA ${data.length} ${line}\r\n${data}\r\n`);
    const whole = hear("meta", asked, bytes, []);
    assert.equal(whole.length, 3);
    assert.match(whole[1] ?? "", /^hit\|-?\d\|\d\|-\|-\|false\|false\|false\|/);
    assert.match(whole[2] ?? "", /^oversized\|-?\d\|\d\|-\|-\|false\|false\|false\|/);
    for (let cut = 1; cut < bytes.length; cut++) assert.deepEqual(hear("meta", asked, bytes, [cut]), whole);
  }
});

/** What is heard of one value in classic text. */
const gets = (line: string): string[] =>
  hear("text", [command("get", "a")], Buffer.from(`${line}\r\nx\r\nEND\r\n`), []);

test("spaces between flags are passed over", () => {
  const [told] = hear("meta", [command("get", "a")], Buffer.from("VA 1  ka   f5  W \r\nx\r\n"), []);
  assert.match(told ?? "", /^hit\|-?\d\|5\|-\|-\|true\|/);
});

test("a flag that brings a number without digits breaks the protocol", () => {
  for (const flag of ["c", "cx", "c1x", "f", "f-1", "s", "t", "tx", "h", "hx", "l"])
    for (const line of [`VA 1 ka ${flag}`, `VA 1 ${flag} ka`])
      assert.deepEqual(hear("meta", [command("get", "a")], Buffer.from(`${line}\r\nx\r\n`), []), ["EF_PROTOCOL"], line);
  assert.equal(gets("VALUE a 0 1 7 ")[0]?.split("|")[3], "7");
  for (const cas of ["x", "-1", "7x"]) assert.deepEqual(gets(`VALUE a 0 1 ${cas}`), ["EF_PROTOCOL"], cas);
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
  assert.ok(out.size() > 0);
  out.finish();
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
