/** Keys are placed where libmemcached places them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseServers } from "#src/client/address.ts";
import { hashes, type HashName } from "#src/client/hash.ts";
import { md5Words } from "#src/client/md5.ts";
import { placement, type PlacementOptions } from "#src/client/ring.ts";
import { keyBytes } from "#src/protocol/key.ts";

/** Read off pylibmc 1.6.3 on libmemcached 1.1.4. */
const hashVectors: Readonly<Partial<Record<HashName, readonly [number, number]>>> = {
  default: [596_015_325, 1_540_699_185],
  md5: [3_675_831_724, 1_206_407_358],
  crc: [3187, 7739],
  fnv1_32: [1_083_137_555, 1_671_187_102],
  fnv1a_32: [2_851_307_223, 3_948_832_576],
  fnv1_64: [1_805_727_027, 4_139_542_302],
  fnv1a_64: [4_275_688_823, 3_574_771_936],
};

test("the hash functions give libmemcached's numbers, also for bytes from 0x80 on", () => {
  for (const [name, numbers] of Object.entries(hashVectors)) {
    const hash = hashes[name as HashName];
    assert.deepEqual([hash("foo"), hash(keyBytes("héllo"))], numbers, name);
  }
});

test("md5 is md5, for texts of any length", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const expected = createHash("md5").update(bytes).digest();
      assert.deepEqual(
        Array.from(md5Words(text), (word) => word >>> 0),
        [0, 4, 8, 12].map((at) => expected.readUInt32LE(at)),
      );
    }),
  );
});

describe("servers for keys, as pylibmc chooses them", () => {
  const servers = parseServers("10.0.1.1:11211 10.0.1.2:11211 10.0.1.3:11212 10.0.1.4:11211");
  const keys = ["foo", "queue", ":1:queue", "key_0", "key_1", "key_2", "key_3", "user:42", "héllo", "a".repeat(250)];
  const vectors: readonly (readonly [string, PlacementOptions, string])[] = [
    ["modula", { kind: "modula" }, "1 1 1 2 1 0 0 2 1 0"],
    ["modula by md5", { kind: "modula", hash: "md5" }, "0 1 3 2 0 0 1 2 2 3"],
    ["modula by crc", { kind: "modula", hash: "crc" }, "3 1 1 2 1 0 3 3 3 3"],
    ["modula by fnv1_32", { kind: "modula", hash: "fnv1_32" }, "3 2 1 3 2 1 0 0 2 3"],
    ["modula by fnv1_64", { kind: "modula", hash: "fnv1_64" }, "3 2 1 3 2 1 0 0 2 3"],
    ["modula by fnv1a_32", { kind: "modula", hash: "fnv1a_32" }, "3 0 1 3 0 1 2 2 0 3"],
    ["modula by fnv1a_64", { kind: "modula", hash: "fnv1a_64" }, "3 0 1 3 0 1 2 2 0 3"],
    ["modula by murmur", { kind: "modula", hash: "murmur" }, "3 0 1 1 3 1 2 2 0 2"],
    ["modula by jenkins", { kind: "modula", hash: "jenkins" }, "1 0 2 1 0 3 3 2 3 1"],
    ["ketama", { kind: "ketama" }, "0 3 0 1 3 2 0 1 0 1"],
    ["ketama by md5", { kind: "ketama", hash: "md5" }, "3 1 1 3 0 0 0 1 2 2"],
    ["ketama_weighted", { kind: "ketama_weighted" }, "3 3 1 1 3 0 3 3 2 3"],
    ["consistent ketama spy", { kind: "ketama_spy" }, "0 3 2 0 0 3 2 2 2 0"],
    ["consistent weighted by the default hash", { kind: "ketama_weighted", hash: "default" }, "1 0 1 3 1 2 2 2 0 2"],
  ];
  for (const [name, options, expected] of vectors) {
    test(name, () => {
      const place = placement(servers, options);
      assert.equal(keys.map((key) => place(keyBytes(key))).join(" "), expected);
    });
  }
});

test("weights are taken as pylibmc takes them", () => {
  const servers = parseServers(
    "10.0.1.1:11211:1 10.0.1.2:11211:2 10.0.1.3:12003:3 10.0.1.4:11211:4 10.0.1.5:11211:1 10.0.1.6:12006:2 10.0.1.7:11211:3",
  );
  const keys = [
    "k668835601",
    "k274281998",
    "k796487718",
    "k384974575",
    "k853832589",
    "k741361655",
    "k903565516",
    "k794460042",
    "é48",
    "é49",
  ];
  for (const [kind, expected] of [
    ["ketama", "6 1 3 0 1 3 6 2 1 2"],
    ["ketama_weighted", "0 6 1 3 3 2 3 5 1 3"],
  ] as const) {
    const place = placement(servers, { kind });
    assert.equal(keys.map((key) => place(keyBytes(key))).join(" "), expected);
  }
});

test("every placement spreads keys over all servers, and rendezvous moves few of them when a server is added", () => {
  const three = parseServers("a:1 b:1 c:1");
  const four = parseServers("a:1 b:1 c:1 d:1");
  const keys = Array.from({ length: 20_000 }, (_, at) => `key:${at}`);
  for (const kind of ["ketama", "ketama_weighted", "modula", "rendezvous"] as const) {
    const before = placement(three, { kind });
    const after = placement(four, { kind });
    const counts = [0, 0, 0];
    let moved = 0;
    for (const key of keys) {
      const home = before(key);
      counts[home] = (counts[home] ?? 0) + 1;
      if (after(key) !== home) moved++;
    }
    assert.ok(Math.min(...counts) > 4000, `${kind}: ${counts.join(" ")}`);
    if (kind !== "modula") assert.ok(moved < 0.35 * keys.length, `${kind} moved ${moved}`);
  }
});

test("weights share the keys out", () => {
  for (const kind of ["ketama", "rendezvous"] as const) {
    const place = placement(parseServers("a:1:1 b:1:3"), { kind });
    const heavy = Array.from({ length: 20_000 }, (_, at) => place(`key:${at}`)).filter((server) => server === 1).length;
    assert.ok(heavy > 13_500 && heavy < 16_500, `${kind}: ${heavy}`);
  }
});
