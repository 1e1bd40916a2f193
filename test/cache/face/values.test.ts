/** Values on every backend, under whatever key: they keep their types, and are each caller's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cache, fresh, list, onEveryBackend } from "./backends.ts";

/** Bytes as bytes, whichever view of them somebody has. */
const plain = (value: unknown): unknown => (Buffer.isBuffer(value) ? new Uint8Array(value) : value);

const meddle = (value: unknown): void => {
  if (value instanceof Map) value.set("evil", 1);
  else if (value instanceof Uint8Array) value[0] = 99;
  else Object.assign(value as object, { evil: 1 });
};

onEveryBackend(() => {
  test("what was set is read back, and a key without a value is undefined", async () => {
    const key = fresh();
    assert.equal(await cache.get(key), undefined);
    assert.equal(await cache.set(key, "hello"), true);
    assert.equal(await cache.get(key), "hello");
    assert.equal(await cache.has(key), true);
    assert.equal(await cache.delete(key), true);
    assert.equal(await cache.delete(key), false);
    assert.equal(await cache.has(key), false);
  });

  for (const value of [null, false, 0, "", [], {}, -0, Number.NaN, 10n ** 30n])
    test(`${typeof value} ${JSON.stringify(typeof value === "bigint" ? "big" : value)} is a value, not a miss`, async () => {
      const key = fresh();
      let loads = 0;
      const load = (): unknown => (loads++, value);
      assert.deepEqual(await cache.getOrSet(key, load), value);
      assert.deepEqual(await cache.getOrSet(key, load), value);
      assert.equal(loads, 1);
      assert.equal(await cache.has(key), true);
    });

  for (const key of ["ö", "two words", "x".repeat(251), "é".repeat(130), "line\r\nget a", "\0"])
    test(`the key ${JSON.stringify(key.slice(0, 12))} of length ${key.length} works`, async () => {
      assert.equal(await cache.set(key, key), true);
      assert.equal(await cache.get(key), key);
      assert.equal(await cache.getOrSet(key, () => "other"), key);
      assert.equal(await cache.delete(key), true);
    });

  test("values keep their types", async () => {
    const value = {
      date: new Date(7),
      map: new Map([["a", new Set([1n])]]),
      bytes: new Uint8Array([1, 2]),
      nothing: undefined,
      list: [1, "two", null],
      error: new RangeError("far"),
    };
    const key = fresh();
    await cache.set(key, value);
    const read = await cache.get<typeof value>(key);
    assert.deepEqual(read, value);
    assert.ok(read && "nothing" in read);
  });

  test("no caller can change another's value, whatever it is made of", async () => {
    const values: unknown[] = [
      { list: [{ a: 1 }] },
      Buffer.from([1, 2, 3, 4]),
      new Uint8Array([1, 2, 3, 4]),
      { bytes: new Uint8Array([1, 2, 3, 4]), wide: new Float64Array([1, 2]) },
      new Map([["a", { b: 1 }]]),
    ];
    const spoil = (value: unknown): void => {
      if (ArrayBuffer.isView(value)) new Uint8Array(value.buffer, value.byteOffset, value.byteLength).fill(9);
      else if (value instanceof Map) value.clear();
      else if (typeof value === "object" && value !== null)
        for (const [name, inner] of Object.entries(value)) {
          spoil(inner);
          delete (value as Record<string, unknown>)[name];
        }
    };
    for (const value of values) {
      const key = fresh();
      const expected = structuredClone(value);
      const read = (): Promise<unknown> => cache.getOrSet(key, () => structuredClone(value));
      const same = (given: unknown): void => assert.deepEqual(plain(given), plain(expected));
      for (let round = 0; round < 3; round++) {
        const given = await Promise.all([read(), read(), cache.get(key)]);
        for (const one of given.slice(0, 2)) {
          same(one);
          spoil(one);
        }
      }
      same(await cache.get(key));
    }
  });

  test("what a caller does to its value is not seen by who shares one, nor kept when the time to live changes", async () => {
    const values = [new Map([["a", 1]]), new Uint8Array([1, 2, 3]), { list: [1] }, Buffer.from([1, 2, 3])];
    for (const value of values) {
      const key = fresh();
      await cache.set(key, value);
      const share = (): Promise<unknown> => cache.getOrSet(key, () => "computed", { shared: true });
      meddle(await cache.get(key));
      const shared = await share();
      assert.deepEqual(plain(shared), plain(value));
      meddle(await cache.get(key));
      meddle(await cache.get(key));
      assert.deepEqual(plain(shared), plain(value));
      assert.deepEqual(plain(await share()), plain(value));
      await cache.touch(key, "1h");
      assert.deepEqual(plain(await cache.get(key)), plain(value));
    }
  });

  test("a value with a name like __proto__ comes back as it was", async () => {
    const key = fresh();
    const value = JSON.parse('{"__proto__":{"a":1},"b":2}') as object;
    await cache.set(key, value);
    const read = (await cache.get(key)) as object;
    assert.deepEqual(Object.keys(read), ["__proto__", "b"]);
    assert.equal(Object.getPrototypeOf(read), Object.prototype);
  });

  test("what would not come back as it was is refused, and the value from before is gone", async () => {
    const key = fresh();
    class Song {
      readonly title = "Blue";
    }
    class Gone extends Error {}
    class Songs extends Map {}
    class Playlist extends Array {}
    class ZonedDate extends Date {}
    class Digest extends Uint8Array {}
    let deep = {};
    for (let depth = 0; depth < 50_000; depth++) deep = { deep };
    const strange: [value: unknown, message: RegExp][] = [
      [new Song(), /instance of Song/],
      [new Gone("x"), /instance of Gone/],
      [{ inner: new Songs() }, /instance of Songs/],
      [Playlist.from(["a"]), /instance of Playlist/],
      [new Set([Object.assign([1, undefined], { more: 1 })]), /a list with properties/],
      [{ matched: /a/.exec("a") }, /a list with properties/],
      [{ [Symbol("s")]: 1, nothing: undefined }, /a symbol as a name/],
      [[{ [Symbol("s")]: 1 }], /a symbol as a name/],
      [Object.assign([1], { [Symbol("s")]: 1 }), /a symbol as a name/],
      [Object.assign(new Error("x"), { code: "E" }), /put on an instance of Error/],
      [Object.assign(new Map(), { total: 1 }), /put on an instance of Map/],
      [[Object.assign(new Date(0), { zone: "UTC" })], /put on an instance of Date/],
      [new ZonedDate(0), /instance of ZonedDate/],
      [{ at: new ZonedDate(0) }, /instance of ZonedDate/],
      [new Digest(2), /instance of Digest/],
      [new Map([["digest", new Digest(2)]]), /instance of Digest/],
      [new SharedArrayBuffer(2), /cannot be turned into bytes/],
      [deep, /cannot be turned into bytes/],
    ];
    for (const [value, message] of strange) {
      await cache.set(key, "old");
      await assert.rejects(cache.set(key, value), { code: "EF_VALUE", message });
      assert.equal(await cache.get(key), undefined);
    }
    const known = [
      1,
      undefined,
      new TypeError("x"),
      Buffer.from("x"),
      new DataView(new ArrayBuffer(1)),
      new String("x"),
    ];
    await cache.set(key, known);
    assert.equal((await cache.get<unknown[]>(key))?.length, known.length);
  });

  test("an undefined result is handed out and not stored", async () => {
    const key = fresh();
    let loads = 0;
    const load = (): undefined => void loads++;
    assert.equal(await cache.getOrSet(key, load), undefined);
    assert.equal(await cache.getOrSet(key, load), undefined);
    assert.equal(loads, 2);
  });

  test("nobody can change another caller's value", async () => {
    const key = fresh();
    const [first, second] = await Promise.all([cache.getOrSet(key, list), cache.getOrSet(key, list)]);
    first.list.push(2);
    assert.deepEqual(second.list, [1]);
    const third = await cache.getOrSet(key, list);
    third.list.push(3);
    assert.deepEqual(await cache.getOrSet(key, list), { list: [1] });
  });
});
