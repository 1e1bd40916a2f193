/** Values: compression, parts, and what other clients wrote. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import zlib, { deflateSync } from "node:zlib";
import {
  createClient,
  type ClientOptions,
  type GetResult,
  type MemcachedClient,
  type ProfileName,
} from "everfresh/client";
import { compress, decompress } from "#src/client/compression.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";

/** zstd came with Node 22.15. */
const hasZstd = "zstdCompressSync" in zlib;
const methods = ["deflate", "brotli", ...(hasZstd ? (["zstd"] as const) : [])] as const;

type Unpack = (bytes: Buffer) => Buffer;
const brotli: Unpack = (bytes) => zlib.brotliDecompressSync(bytes);

const valueOf = (result: GetResult): unknown => (result.kind === "hit" ? result.value : result.kind);

describe("values on a real memcached", needs("memcached"), () => {
  let server: RealMemcached;
  const clients: MemcachedClient[] = [];
  const clientOf = (options: Partial<ClientOptions>): MemcachedClient => {
    const client = createClient({ servers: server.address, ...options });
    clients.push(client);
    return client;
  };
  before(async () => {
    server = await startMemcached(["-m", "128"]);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await server.stop();
  });

  for (const method of methods) {
    test(`large values are compressed by ${method} and come back, small and incompressible ones stay as they are`, async () => {
      const client = clientOf({ compression: { aboveBytes: 100, method } });
      const noise = Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * at * 31 + (at >> 3)) % 251));
      for (const value of [
        "a".repeat(99),
        "é".repeat(5000),
        "b".repeat(500_000),
        noise,
        { deep: ["c".repeat(2000)] },
      ]) {
        await client.set("c", value);
        assert.deepEqual(valueOf(await client.get("c")), value);
        assert.deepEqual((await client.getMany(["c"])).values.get("c"), value);
      }
      await client.set("c", "b".repeat(500_000));
      const raw = await client.get("c", { as: "bytes" });
      assert.ok(raw.kind === "hit" && raw.value.length < 5000);
    });
  }

  test("a method that this Node lacks is refused; the default is the best that it has", async () => {
    if (!hasZstd) assert.throws(() => clientOf({ compression: { method: "zstd" } }), { code: "EF_OPTION" });
    const client = clientOf({ compression: { aboveBytes: 100 } });
    await client.set("best", "b".repeat(1000));
    const raw = await client.get("best", { as: "bytes" });
    assert.ok(raw.kind === "hit");
    const unpack = hasZstd ? (zlib as unknown as { zstdDecompressSync: Unpack }).zstdDecompressSync : brotli;
    assert.equal(unpack(raw.value).toString(), "b".repeat(1000));
  });

  test("a few bytes that would unpack to gigabytes are EF_VALUE", async () => {
    const client = clientOf({ valueLimitBytes: 100_000 });
    await client.set("bomb", deflateSync(Buffer.alloc(10_000_000)), { clientFlags: 8 });
    await assert.rejects(client.get("bomb"), { code: "EF_VALUE" });
    await client.set("bomb", deflateSync(Buffer.alloc(10_000_000)), { clientFlags: 8 });
    assert.equal((await client.getMany(["bomb"])).errors.get("bomb")?.code, "EF_VALUE");
  });

  for (const method of methods) {
    test(`what was appended to a value that ${method} has packed is not lost in silence`, async () => {
      const client = clientOf({ compression: { aboveBytes: 100, method } });
      for (const value of ["y".repeat(8000), "y".repeat(500_000), randomBytes(60_000).toString("base64")]) {
        for (const add of ["append", "prepend"] as const) {
          await client.set("spoilt", value);
          assert.equal(valueOf(await client.get("spoilt")), value);
          assert.equal((await client[add]("spoilt", "more")).kind, "stored");
          await assert.rejects(client.get("spoilt"), { code: "EF_VALUE" });
        }
      }
    });

    test(`what ${method} has packed small and unpacks large does not hold up the event loop`, async () => {
      const large = Buffer.alloc(10_000_000, "x");
      const unpacking = decompress(method, await compress(method, large), 64 * 2 ** 20);
      assert.ok(unpacking instanceof Promise);
      assert.ok((await unpacking).equals(large));
      const small = Buffer.alloc(8 * 16_384, "x");
      const unpacked = decompress(method, await compress(method, small), 64 * 2 ** 20);
      assert.ok(Buffer.isBuffer(unpacked) && unpacked.equals(small));
    });
  }

  test("values over the item limit are stored in parts and read back whole or not at all", async () => {
    const client = clientOf({ splitLargeValues: true });
    const big = Buffer.from(Array.from({ length: 3_500_001 }, (_, at) => (at * 13) % 256));
    assert.equal((await client.set("big", big, { ttl: "1h" })).kind, "stored");
    const whole = valueOf(await client.get("big"));
    assert.ok(Buffer.isBuffer(whole) && whole.equals(big));
    const many = (await client.getMany(["big"])).values.get("big");
    assert.ok(Buffer.isBuffer(many) && many.equals(big));
    const manifest = await client.get("big", { as: "text" });
    assert.ok(manifest.kind === "hit");
    const { id } = JSON.parse(manifest.value) as { id: string };
    await client.delete(`ef:part:${id}:2`);
    assert.equal(valueOf(await client.get("big")), "miss");
    assert.equal((await client.getMany(["big"])).values.size, 0);
    await client.set("big", "t".repeat(2_000_000));
    assert.equal(valueOf(await client.get("big")), "t".repeat(2_000_000));
    await client.set("big", '{"id":"x"}', { clientFlags: 512 });
    await assert.rejects(client.get("big"), { code: "EF_VALUE" });
  });

  test("a value in parts over the client's own limit is told as that, and its parts are not asked for", async () => {
    await clientOf({ splitLargeValues: true }).set("vast", Buffer.alloc(3_500_000));
    const client = clientOf({ splitLargeValues: true, valueLimitBytes: 2_000_000 });
    const refusal = { code: "EF_VALUE_TOO_LARGE", key: "vast", message: /3500000.*2000000/ };
    await assert.rejects(client.get("vast"), refusal);
    const { errors } = await client.getMany(["vast"]);
    assert.throws(() => assert.fail(errors.get("vast")), refusal);
    assert.ok(client.numbers().bytesRead < 10_000);
  });

  test("a read counts once, of many keys and of a value in parts as well", async () => {
    const client = clientOf({ splitLargeValues: true });
    const counted = (): number[] => [client.numbers().hits, client.numbers().misses];
    await client.set("counted", "c".repeat(2_500_000));
    await client.get("counted");
    assert.deepEqual(counted(), [1, 0]);
    await client.getMany(["counted", "absent", "with a space", "absent too"]);
    await client.getMany(["absent", "counted"]);
    assert.deepEqual(counted(), [3, 4]);
    await client.touch("counted", "1h");
    assert.deepEqual(counted(), [3, 4]);
    const manifest = await client.get("counted", { as: "text" });
    assert.ok(manifest.kind === "hit");
    const { id } = JSON.parse(manifest.value) as { id: string };
    await client.delete(`ef:part:${id}:1`);
    assert.equal(valueOf(await client.get("counted")), "miss");
    assert.deepEqual(counted(), [4, 5]);
  });

  test("the parts of a value live as long as the value: gat and touch reach them, too", async () => {
    const client = clientOf({ splitLargeValues: true });
    const big = "b".repeat(2_500_000);
    await client.set("parted", big, { ttl: "1m" });
    const manifest = await client.get("parted", { as: "text" });
    assert.ok(manifest.kind === "hit");
    const { id } = JSON.parse(manifest.value) as { id: string };
    const keys = ["parted", ...[0, 1, 2].map((part) => `ef:part:${id}:${part}`)];
    const shortest = async (): Promise<number> => {
      const found = await Promise.all(keys.map((key) => client.meta.get(key, { ttl: true })));
      return Math.min(...found.map((each) => (each.kind === "hit" ? (each.ttl ?? -1) : -1)));
    };
    assert.ok((await shortest()) <= 60);
    assert.equal(valueOf(await client.gat("parted", "10m")), big);
    assert.ok((await shortest()) > 590);
    assert.equal((await client.touch("parted", "1h")).kind, "touched");
    assert.ok((await shortest()) > 3590);
    await client.set("small", "s", { ttl: "1m" });
    assert.equal((await client.touch("small", "1h")).kind, "touched");
    assert.equal((await client.touch("nothing", "1h")).kind, "notFound");
    await client.delete(keys[2] ?? "");
    assert.equal((await client.touch("parted", "1h")).kind, "notFound");
  });

  /** What other clients put on the wire (read off them), and what it is. */
  const foreign: readonly (readonly [ProfileName, number, string | Uint8Array, unknown])[] = [
    ["pylibmc", 0, Buffer.from([1, 255]), Buffer.from([1, 255])],
    ["pylibmc", 2, "1", true],
    ["pylibmc", 2, "0", false],
    ["pylibmc", 2, "5", 5],
    ["everfresh", 2, "-1", -1],
    ["pylibmc", 4, "-5", -5],
    ["pylibmc", 4, "1180591620717411303424", 2n ** 70n],
    ["pylibmc", 16, "h\u00e9", "h\u00e9"],
    ["pylibmc", 24, deflateSync("packed"), "packed"],
    ["pymemcache", 2, "7", 7],
    ["pymemcache", 16, "text", "text"],
    ["memcached", 2, '{"a":1}', { a: 1 }],
    ["memcached", 8, "1.5", 1.5],
    ["memcached", 4, "bytes", Buffer.from("bytes")],
    ["memcached", 4, "\0\\\n\\\\\r\u00ff", Buffer.from([0, 10, 92, 13, 255])],
    ["memcached", 0, "a\\\r\\\nb\\", "a\r\nb\\"],
    ["memcache-client", 4, "1.5", 1.5],
    ["memcache-client", 8, "bytes", Buffer.from("bytes")],
    ["memjs", 0, "x", Buffer.from("x")],
    ["everfresh", 16, "pylibmc's text", "pylibmc's text"],
  ];
  test("what other clients wrote is read by their profile", async () => {
    for (const [flags, bits, stored, value] of foreign) {
      const client = clientOf({ flags });
      await client.set("foreign", stored, { clientFlags: bits });
      assert.deepEqual(valueOf(await client.get("foreign")), value, `${flags} ${bits}`);
    }
  });

  test("what npm's memcached would misread is written as it writes it itself", async () => {
    const client = clientOf({ flags: "memcached" });
    const wire = clientOf({ flags: "bytes" });
    for (const [value, written] of [
      ["a\r\nb\\\nc", "a\\\r\\\nb\\\\\nc"],
      [Buffer.from([0, 10, 255]), "\0\\\n\u00ff"],
      [new Uint8Array([13, 200]).subarray(1), "\u00c8"],
    ] as const) {
      await client.set("k", value);
      assert.equal(String(valueOf(await wire.get("k"))), written);
      assert.deepEqual(valueOf(await client.get("k")), typeof value === "string" ? value : Buffer.from(value));
    }
  });

  test("what is marked as a number or a boolean and is none is EF_VALUE", async () => {
    for (const flags of ["pylibmc", "everfresh"] as const)
      for (const bits of [2, 4])
        for (const stored of ["", "True", "abc", "1.5"]) {
          const client = clientOf({ flags });
          await client.set("odd", stored, { clientFlags: bits });
          await assert.rejects(client.get("odd"), { code: "EF_VALUE" }, `${flags} ${bits} ${stored}`);
        }
    for (const [flags, clientFlags] of [
      ["memcached", 8],
      ["memcache-client", 4],
    ] as const) {
      const client = clientOf({ flags });
      for (const stored of ["", "True", "abc", "0x10", "1.5.5"]) {
        await client.set("odd", stored, { clientFlags });
        await assert.rejects(client.get("odd"), { code: "EF_VALUE" }, `${flags} ${stored}`);
      }
      for (const number of [0, -1.5, 1e21, 1.5e-7, 2 ** 60, Infinity, NaN]) {
        await client.set("odd", number);
        assert.equal(valueOf(await client.get("odd")), number);
      }
      await client.set("odd", 10);
      await client.decr("odd");
      assert.equal(valueOf(await client.get("odd")), 9, "what memcached has padded");
    }
  });

  test("an error about a value says whose it is, of one key and of many", async () => {
    const client = clientOf({});
    await client.set("odd", "x", { clientFlags: 1 });
    const whose = { code: "EF_VALUE", server: server.address, key: "odd" };
    await assert.rejects(client.get("odd"), { ...whose, command: "get" });
    const { errors } = await client.getMany(["odd"]);
    await assert.rejects(Promise.reject(errors.get("odd")), { ...whose, command: "getMany" });
    await assert.rejects(client.set("odd", undefined as never), { code: "EF_VALUE", command: "set", key: "odd" });
    const stored = await client.setMany([["odd", NaN]]);
    assert.equal(stored.errors.get("odd")?.key, "odd");
  });

  test("what would come back as something else is not stored", async () => {
    const client = clientOf({});
    for (const value of [
      NaN,
      Infinity,
      -Infinity,
      undefined,
      new Uint16Array([1]),
      new DataView(new ArrayBuffer(1)),
      new ArrayBuffer(1),
    ])
      await assert.rejects(client.set("odd", value as never), { code: "EF_VALUE" });
  });

  test("what JSON would make an empty object of is refused: a promise, a Map, a Set", async () => {
    const client = clientOf({});
    await assert.rejects(client.set("k", Promise.resolve(1) as never), { code: "EF_VALUE", message: /await missing/ });
    for (const value of [new Map([[1, 2]]), new Set([1])])
      await assert.rejects(client.set("k", value as never), { code: "EF_VALUE", message: /store a list/ });
    // @ts-expect-error -- the types refuse them, too
    await assert.rejects(client.set("k", Promise.resolve({ a: 1 })));
    // @ts-expect-error
    await assert.rejects(client.set("k", new Map()));
    // @ts-expect-error
    await assert.rejects(client.set("k", () => 1));
  });

  test("the types take what is declared as an interface or a class, options that may be undefined, and know what is read", async () => {
    interface Song {
      readonly title: string;
    }
    class Blues implements Song {
      readonly title = "Blue in Green";
    }
    const client = clientOf({});
    const song: Song = { title: "So What" };
    await client.setMany(new Map<string, Song>([["declared", song]]));
    await client.set("made", new Blues(), { ttl: undefined, clientFlags: undefined });
    assert.deepEqual(valueOf(await client.get("declared", { as: undefined })), song);
    const made = await client.gat("made", "1h", { as: "text" });
    const text: string | undefined = made.kind === "hit" ? made.value : undefined;
    assert.equal(text, '{"title":"Blue in Green"}');
    const bytes: ReadonlyMap<string, Buffer> = (await client.getMany(["made"], { as: "bytes" })).values;
    assert.equal(bytes.get("made")?.toString(), text);
  });

  test("pickles are never opened", async () => {
    for (const flags of ["pylibmc", "pymemcache", "everfresh"] as const) {
      const client = clientOf({ flags });
      await client.set("pickle", "\u0080\u0005N.", { clientFlags: 1 });
      await assert.rejects(client.get("pickle"), { code: "EF_VALUE" });
    }
  });

  test("with failover the next server takes the keys of one that is down; without it they fail", async () => {
    const other = await startMemcached();
    const servers = [server.address, other.address];
    const [strict, loose] = [clientOf({ servers }), clientOf({ servers, failover: "next" })];
    const key =
      Array.from({ length: 100 }, (_, at) => `k${at}`).find((name) => strict.serverOf(name) === other.address) ?? "";
    await loose.set(key, "1");
    await other.stop();
    await assert.rejects(strict.get(key), { code: "EF_SERVER_DOWN" });
    await loose.get(key).catch(() => undefined);
    assert.equal((await loose.set(key, "2")).epoch.server, server.address);
    assert.equal(loose.serverOf(key), other.address);
  });
});
