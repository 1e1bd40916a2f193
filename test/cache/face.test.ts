/** What users call, on every backend: values, misses, writes, counters, names, entries. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { getEventListeners } from "node:events";
import { after, before, describe, test } from "node:test";
import {
  createCache,
  isEverfreshError,
  memcached,
  memory,
  type Backend,
  type Cache,
  type CacheOptions,
} from "everfresh";
import { createServer, type CacheServer } from "everfresh/server";
import { deferred } from "../support/deferred.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";

let number = 0;

/** A key that no other test uses. */
const fresh = (): string => `key${number++}`;
const song = (): string => "song";
const list = (): { list: number[] } => ({ list: [1] });

/** Bytes as bytes, whichever view of them somebody has. */
const plain = (value: unknown): unknown => (Buffer.isBuffer(value) ? new Uint8Array(value) : value);

const meddle = (value: unknown): void => {
  if (value instanceof Map) value.set("evil", 1);
  else if (value instanceof Uint8Array) value[0] = 99;
  else Object.assign(value as object, { evil: 1 });
};

const isClosed = (error: unknown): boolean => isEverfreshError(error, "EF_CLOSED");

function face(open: () => Backend, options: Partial<CacheOptions> = {}): void {
  let backend: Backend;
  let cache: Cache;
  before(() => {
    backend = open();
    cache = createCache({ backend, namespace: "face", ttl: "10m", ...options });
  });
  after(() => cache.close());

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
    ];
    for (const [value, message] of strange) {
      await cache.set(key, "old");
      await assert.rejects(cache.set(key, value), { code: "EF_VALUE", message });
      assert.equal(await cache.get(key), undefined);
    }
    await cache.set(key, [1, undefined, new TypeError("x")]);
    assert.equal((await cache.get<unknown[]>(key))?.length, 3);
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

  test("the loader runs once for a crowd, and an error of it reaches all of them unchanged", async () => {
    const key = fresh();
    let loads = 0;
    const failure = new Error("no database");
    const calls = Array.from({ length: 50 }, () =>
      cache.getOrSet(key, () => {
        loads++;
        return Promise.reject(failure);
      }),
    );
    for (const result of await Promise.allSettled(calls))
      assert.equal(result.status === "rejected" ? result.reason : "fulfilled", failure);
    assert.equal(loads, 1);
    assert.equal(await cache.getOrSet(key, () => "again"), "again");
  });

  test("add stores only where nothing is", async () => {
    const key = fresh();
    assert.equal(await cache.add(key, 1), true);
    assert.equal(await cache.add(key, 2), false);
    assert.equal(await cache.get(key), 1);
  });

  test("counting is atomic, keeps the time to live, and may go below zero", async () => {
    const key = fresh();
    assert.equal(await cache.incr(key), undefined);
    assert.equal(await cache.incr(key, 1, { initial: 5, ttl: "1h" }), 5);
    await Promise.all(Array.from({ length: 20 }, () => cache.incr(key)));
    assert.equal(await cache.get(key), 25);
    assert.equal(await cache.decr(key, 30), -5);
    const { ttlMs } = await cache.getEntry(key);
    assert.ok(ttlMs > 3_590_000 && ttlMs <= 3_600_000, String(ttlMs));
    await cache.set(key, "text");
    await assert.rejects(cache.incr(key), { code: "EF_VALUE" });
    assert.equal(await cache.incr(fresh(), 1, { initial: 3, ttl: "0s" }), 3);
    for (const wrong of ["5", null, Number.NaN, Infinity]) {
      const refused = { code: "EF_OPTION", message: /a finite number; got / };
      await assert.rejects(cache.incr(key, 1, { initial: wrong as never }), refused);
      await assert.rejects(cache.incr(key, wrong as never), refused);
      await assert.rejects(cache.decr(key, wrong as never), refused);
    }
  });

  test("touch changes the time to live of what is there", async () => {
    const key = fresh();
    assert.equal(await cache.touch(key, "1h"), false);
    await cache.set(key, { a: 1 }, { ttl: "5s" });
    assert.equal(await cache.touch(key, "2h"), true);
    const { ttlMs, value } = await cache.getEntry(key);
    assert.ok(ttlMs > 7_190_000);
    assert.deepEqual(value, { a: 1 });
    assert.equal(await cache.touch(key, "0s"), true);
    assert.equal(await cache.get(key), undefined);
  });

  test("many at once", async () => {
    const [a, b, c] = [fresh(), fresh(), fresh()];
    assert.deepEqual(
      await cache.setMany([
        [a, 1],
        [b, null],
      ]),
      [],
    );
    assert.deepEqual(
      await cache.getMany([a, b, c]),
      new Map([
        [a, 1],
        [b, null],
      ]),
    );
    await cache.deleteMany([a, b]);
    assert.equal((await cache.getMany([a, b, c])).size, 0);
  });

  for (const key of ["ö", "two words", "x".repeat(251), "é".repeat(130), "line\r\nget a", "\0"])
    test(`the key ${JSON.stringify(key.slice(0, 12))} of length ${key.length} works`, async () => {
      assert.equal(await cache.set(key, key), true);
      assert.equal(await cache.get(key), key);
      assert.equal(await cache.getOrSet(key, () => "other"), key);
      assert.equal(await cache.delete(key), true);
    });

  test("an empty key is refused", async () => {
    await assert.rejects(cache.get(""), { code: "EF_KEY" });
  });

  test("a time to live without a unit is refused, also when the type checker was silenced", async () => {
    const key = fresh();
    await assert.rejects(cache.set(key, 1, { ttl: 60 as never }), { code: "EF_OPTION" });
    await assert.rejects(
      cache.getOrSet(key, () => 1, { tll: "1m" } as never),
      { code: "EF_OPTION", message: /no option tll; there are ttl, / },
    );
  });

  test("options that say nothing clear are refused, whatever was asked for before", async () => {
    const key = fresh();
    const refused = { code: "EF_OPTION" };
    for (const wrong of [300, "5m", null, true]) {
      await cache.getOrSet(key, () => 1, {});
      await assert.rejects(
        cache.getOrSet(key, () => 1, wrong as never),
        refused,
      );
      await assert.rejects(cache.set(key, 1, wrong as never), refused);
    }
    await assert.rejects(cache.touch(key, undefined as never), refused);
    assert.equal(await cache.get(key), 1);
    await assert.rejects(cache.incr(key, 1, { ttll: "1m" } as never), refused);
    await assert.rejects(
      cache.update(key, () => 1, { ttll: "1m" } as never),
      refused,
    );
    assert.throws(() => cache.namespace(undefined as never), refused);
    assert.throws(() => cache.namespace(""), refused);
  });

  test("more than 100 tags at a time are refused, one that is named twice counts once", async () => {
    await cache.invalidateTags(Array.from({ length: 120 }, (_, index) => `t${index % 60}`));
    await assert.rejects(cache.invalidateTags(Array.from({ length: 101 }, (_, index) => `t${index}`)), {
      code: "EF_OPTION",
      message: /at most 100 tags at a time; got 101/,
    });
  });

  test("a text in the place of a list of tags is refused, not dropped or cut into letters", async () => {
    const refused = { code: "EF_OPTION", message: /list/ };
    assert.throws(() => cache.entry("declared", { load: () => 1, tags: "songs" as never }), refused);
    const entry = cache.entry("named", { load: () => 1, tags: () => "songs" as never });
    await assert.rejects(entry.get(), refused);
    await assert.rejects(
      cache.getOrSet(fresh(), (context) => context.addTags("songs" as never)),
      refused,
    );
  });

  test("what is no function in the place of a loader is refused, and nothing waits for it", async () => {
    const key = fresh();
    const refused = { code: "EF_OPTION", message: /is a function; got / };
    for (const wrong of [undefined, null, 5, { ttl: "5m" }]) {
      await assert.rejects(cache.getOrSet(key, wrong as never), refused);
      await assert.rejects(cache.getOrSetEntry(key, wrong as never), refused);
      await assert.rejects(cache.refresh(key, wrong as never), refused);
      await assert.rejects(cache.getOrSetMany([key], wrong as never), refused);
      await assert.rejects(cache.fragment("f", [key], wrong as never), refused);
      await assert.rejects(cache.update(key, wrong as never), refused);
      assert.throws(() => cache.wrap("f", wrong as never), refused);
    }
    const promise = Promise.resolve(1);
    await assert.rejects(cache.getOrSet(key, promise as never), { message: /got a promise; write \(\) => before/ });
    assert.equal(await cache.getOrSet(key, () => 1), 1);
  });

  test("what is no list in the place of keys is refused, not cut into letters", async () => {
    const refused = { code: "EF_OPTION", message: /list of/ };
    for (const wrong of ["songs", undefined, 5, new Set(["songs"])]) {
      await assert.rejects(cache.getMany(wrong as never), refused);
      await assert.rejects(cache.deleteMany(wrong as never), refused);
      await assert.rejects(
        cache.getOrSetMany(wrong as never, (keys) => keys),
        refused,
      );
      await assert.rejects(cache.invalidateTags(wrong as never), refused);
      if (wrong !== "songs") await assert.rejects(cache.invalidate(wrong as never), refused);
      await assert.rejects(
        cache.fragment("f", wrong as never, () => ""),
        { code: "EF_OPTION", message: /a list of what it varies on/ },
      );
    }
    const entry = cache.entry("lists", { load: (id: string) => id });
    for (const wrong of ["ab", ["ab", "cd"], undefined])
      await assert.rejects(entry.getMany(wrong as never), { code: "EF_OPTION", message: /lists of arguments/ });
  });

  test("options of the wrong form are refused where they would be passed over or found out much later", async () => {
    for (const [wrong, message] of [
      [{ signal: 5 }, /signal is an AbortSignal/],
      [{ signal: {} }, /signal is an AbortSignal/],
      [{ schema: {} }, /schema is a Standard Schema/],
      [{ schema: null }, /schema is a Standard Schema/],
      [{ version: { shape: 2 } }, /version is a text or a number/],
      [{ ttl: Infinity }, /"forever"/],
      [{ ttl: 5n }, /bigint 5n;/],
    ] as const)
      await assert.rejects(
        cache.getOrSet(fresh(), () => 1, wrong as never),
        { code: "EF_OPTION", message },
      );
    assert.throws(() => cache.monitor({ sampel: 1 } as never), { code: "EF_OPTION", message: /sampel/ });
    assert.throws(() => cache.monitor({ sample: "1" } as never), { code: "EF_OPTION", message: /sample/ });
    for (const maxConcurrent of [0, Number.NaN, "many"])
      assert.throws(() => cache.monitor({ maxConcurrent } as never), { code: "EF_OPTION", message: /maxConcurrent/ });
  });

  test("an entry refuses when it is declared what it could not obey when it is read", async () => {
    for (const [wrong, message] of [
      [undefined, /the entry declared takes an object of options \(ttl, .*; got undefined/],
      [{ load: () => 1, tll: "1m" }, /the entry declared has no option tll; there are ttl, /],
      [{ load: () => 1, forceFresh: true }, /no option forceFresh/],
      [{ load: 5 }, /load of the entry declared is a function; got 5/],
      [{ load: () => 1, key: "id" }, /key of the entry declared is a function; got "id"/],
      [{ load: () => 1, ttl: 300 }, /ttl is number 300/],
      [{ load: () => 1, version: {} }, /version is a text or a number/],
    ] as const)
      assert.throws(() => cache.entry("declared", wrong as never), { code: "EF_OPTION", message });
    assert.throws(() => cache.entry({ name: "declared", load: () => 1 } as never, undefined as never), {
      code: "EF_OPTION",
    });
  });

  test("a key of an entry that is no text is refused: all of its kind would be one key", async () => {
    for (const name of [undefined, null, {}, Number.NaN, Promise.resolve("a")]) {
      const entry = cache.entry("odd", { load: () => 1, key: () => name as never });
      assert.throws(() => entry.key(), { code: "EF_OPTION", message: /key of the entry odd returns a text; got / });
    }
  });

  test("a time to live of zero means that nothing is stored, and what was there is gone", async () => {
    const key = fresh();
    await cache.set(key, 1);
    assert.equal(await cache.set(key, 2, { ttl: "0s" }), false);
    assert.equal(await cache.get(key), undefined);
    assert.equal(await cache.getOrSet(key, () => 3, { ttl: "0s" }), 3);
    assert.equal(await cache.get(key), undefined);
  });

  test("an entry says where its value came from", async () => {
    const key = fresh();
    const miss = await cache.getOrSetEntry(key, song, { ttl: "5m", tags: ["songs"] });
    assert.deepEqual(
      { ...miss, ageMs: 0 },
      { value: "song", status: "miss", ageMs: 0, ttlMs: 300_000, tags: ["songs"], why: "absent" },
    );
    const hit = await cache.getEntry(key);
    assert.equal(hit.status, "hit");
    assert.ok(hit.ageMs >= 0 && hit.ttlMs <= 300_000);
  });

  test("invalidated by key, by tag and by namespace, a value is computed again, and the entry says why", async () => {
    const key = fresh();
    let version = 1;
    const read = (): Promise<{ value: number; status: string; why: string | undefined }> =>
      cache.getOrSetEntry(key, () => version, { tags: ["one", "two"] });
    await read();
    version = 2;
    assert.equal((await read()).value, 1);
    await cache.invalidate(key);
    assert.equal((await read()).value, 2);
    version = 3;
    await cache.invalidateTags(["two"]);
    assert.deepEqual(((answer) => [answer.value, answer.why])(await read()), [3, "tag two"]);
    version = 4;
    await cache.clear();
    assert.deepEqual(((answer) => [answer.value, answer.why])(await read()), [4, "cleared"]);
    assert.equal((await read()).status, "hit");
  });

  test("a value without a tag that its reader names is a miss, and is there for both afterwards", async () => {
    const key = fresh();
    let version = 1;
    const read = (tags: readonly string[]): Promise<{ value: number; status: string; why: string | undefined }> =>
      cache.getOrSetEntry(key, () => version, { tags });
    await read(["one"]);
    version = 2;
    assert.equal((await read(["one"])).value, 1);
    assert.deepEqual(((answer) => [answer.value, answer.why])(await read(["one", "two"])), [2, "tag two"]);
    for (const tags of [["two"], ["one"], ["two", "one"], []]) assert.equal((await read(tags)).status, "hit");
    version = 3;
    await cache.invalidateTags(["two"]);
    assert.equal((await read(["one", "two"])).value, 3);
  });

  test("clearing a namespace leaves the others alone", async () => {
    const other = cache.namespace("other");
    await other.set("kept", 1);
    await cache.set("gone", 1);
    await cache.clear();
    assert.equal(await other.get("kept"), 1);
    assert.equal(await cache.get("gone"), undefined);
    await other.clear();
    assert.equal(await other.get("kept"), undefined);
  });

  test("another version of an entry does not read the old shape", async () => {
    const key = fresh();
    await cache.getOrSet(key, () => "old shape", { version: 1 });
    const answer = await cache.getOrSetEntry(key, () => "new shape", { version: 2 });
    assert.deepEqual([answer.value, answer.status, answer.why], ["new shape", "miss", "version"]);
    assert.equal(await cache.getOrSet(key, () => "newer", { version: 2 }), "new shape");
  });

  test("what a schema refuses is a miss", async () => {
    const key = fresh();
    const schema = {
      "~standard": {
        validate: (value: unknown) => (typeof value === "number" ? { value } : { issues: [{ message: "no number" }] }),
      },
    };
    await cache.set(key, "text");
    const answer = await cache.getOrSetEntry(key, () => 7, { schema });
    assert.deepEqual([answer.value, answer.why], [7, "schema"]);
    assert.equal(await cache.getOrSet(key, () => 8, { schema }), 7);
  });

  test("a schema that throws fails its own reader, and nobody else who reads in the same turn", async () => {
    const key = fresh();
    const schema = {
      "~standard": {
        validate: () => {
          throw new TypeError("no field a of null");
        },
      },
    };
    await cache.set(key, 1);
    for (let read = 0; read < 2; read++) {
      const failed = assert.rejects(
        cache.getOrSet(key, () => 2, { schema }),
        /no field a/,
      );
      assert.equal(await cache.getOrSet(key, () => 3), 1);
      await failed;
    }
  });

  test("a schema that changes what it checks changes nobody's value", async () => {
    const key = fresh();
    const schema = {
      "~standard": {
        validate: (value: unknown) => {
          (value as { n: number }).n = -1;
          return { value, issues: undefined };
        },
      },
    };
    await cache.set(key, { n: 1 });
    for (let read = 0; read < 3; read++)
      assert.deepEqual(await cache.getOrSet(key, () => ({ n: 2 }), { schema }), { n: 1 });
  });

  test("a declared entry is read, refreshed and invalidated by its arguments", async () => {
    let loads = 0;
    const entry = cache.entry(`queue${number++}`, {
      load: (name: string, page: number) => `${name} ${page} ${++loads}`,
      ttl: "10m",
      tags: (name) => [name],
    });
    assert.equal(await entry.get("main", 1), "main 1 1");
    assert.equal(await entry.get("main", 1), "main 1 1");
    assert.equal(await entry.get("main", 2), "main 2 2");
    assert.equal(await entry.refresh("main", 1), "main 1 3");
    assert.equal(await entry.get("main", 1), "main 1 3");
    await entry.invalidate("main", 1);
    assert.equal(await entry.get("main", 1), "main 1 4");
    await cache.invalidateTags(["main"]);
    assert.equal(await entry.get("main", 2), "main 2 5");
    assert.notEqual(entry.key("a,b", 1), entry.key("a", 1));
  });

  test("a loader may set the ttl, see its signal, and keep its value from being stored", async () => {
    const name = `context${number++}`;
    const entry = cache.entry(name, {
      loadWith: (context, what: string) => {
        assert.equal(context.signal.aborted, false);
        context.setTtl("7s");
        if (what === "skipped") context.skip();
        return what;
      },
    });
    const { ttlMs } = await entry.getEntry("stored");
    assert.equal(ttlMs, 7_000);
    await entry.get("skipped");
    assert.equal(await cache.has(entry.key("skipped")), false);
    assert.equal(await cache.has(entry.key("stored")), true);
  });

  test("of many keys those that are there are taken, and the others computed together", async () => {
    const [there, missing, another] = [fresh(), fresh(), fresh()];
    await cache.set(there, "there");
    const asked: (readonly string[])[] = [];
    const load = (keys: readonly string[]): string[] => (asked.push(keys), keys.map((key) => `computed ${key}`));
    const read = async (): Promise<unknown[]> => [
      ...(await cache.getOrSetMany([there, missing, another], load)).values(),
    ];
    const expected = ["there", `computed ${missing}`, `computed ${another}`];
    assert.deepEqual(await read(), expected);
    assert.deepEqual(await read(), expected);
    assert.deepEqual(asked, [[missing, another]]);
  });

  test("a value that will soon expire is refreshed in the background while it is served", async () => {
    if (!backend.keepsStale) return;
    const key = fresh();
    let loads = 0;
    const refreshed = deferred();
    const load = (): number => {
      if (++loads === 2) refreshed.resolve();
      return loads;
    };
    // It must not be found too late for a server that counts whole seconds.
    const ahead = { ttl: "4s", refreshAhead: "4s" } as const;
    assert.equal(await cache.getOrSet(key, load, ahead), 1);
    assert.equal(await cache.getOrSet(key, load, ahead), 1);
    await refreshed.promise;
    while ((await cache.getOrSet(key, load, ahead)) === 1);
  });

  test("an invalidated entry with staleWhileRevalidate of its own is served once more while it is computed", async () => {
    const loaded = deferred<string>();
    const values = [Promise.resolve("old"), loaded.promise];
    const entry = cache.entry(`relaxed${number++}`, {
      load: async () => await (values.shift() ?? "newer"),
      staleWhileRevalidate: "1m",
    });
    assert.equal(await entry.get(), "old");
    await entry.invalidate();
    const reading = entry.getEntry();
    if (backend.keepsStale) assert.deepEqual([(await reading).value, (await reading).status], ["old", "stale"]);
    loaded.resolve("new");
    if (!backend.keepsStale) assert.deepEqual([(await reading).value, (await reading).status], ["new", "miss"]);
  });

  test("a caller's signal ends the waiting of that caller alone", async () => {
    const key = fresh();
    const controller = new AbortController();
    const [begun, loaded] = [deferred(), deferred<string>()];
    const load = (): Promise<string> => (begun.resolve(), loaded.promise);
    const given = cache.getOrSet(key, load, { signal: controller.signal });
    const patient = cache.getOrSet(key, load);
    controller.abort();
    await assert.rejects(given, { code: "EF_ABORTED" });
    assert.equal(await cache.get(key), undefined, "who only looks does not wait");
    await begun.promise;
    loaded.resolve("late");
    assert.equal(await patient, "late");
  });

  test("a version that a namespace has counts for every read of it", async () => {
    const key = fresh();
    const first = cache.namespace("shape");
    assert.equal(await first.getOrSet(key, () => "old"), "old");
    const next = cache.namespace("shape", { version: 2 });
    assert.equal(await next.getOrSet(key, () => "new"), "new");
    assert.equal(await next.getOrSet(key, () => "newer"), "new");
  });

  test("options that were said before are looked at again", async () => {
    const said = { tags: ["first"], ttl: "7s" as const };
    const ttlOf = async (given: object): Promise<number> => (await cache.getOrSetEntry(fresh(), song, given)).ttlMs;
    assert.equal(await ttlOf(said), 7_000);
    const key = fresh();
    said.tags[0] = "second";
    await cache.getOrSet(key, song, said);
    assert.deepEqual((await cache.getEntry(key)).tags, ["second"]);
    assert.equal(await ttlOf({ ...said, ttl: "8s" }), 8_000);
    assert.equal(await ttlOf({ ttl: "8s" }), 8_000);
    await assert.rejects(ttlOf({ ...said, tll: "7s" }), { code: "EF_OPTION" });
    await assert.rejects(ttlOf({ ...said, tags: "second" }), { code: "EF_OPTION" });
    await assert.rejects(ttlOf({ ...said, tags: [""] }), { code: "EF_OPTION" });
    await assert.rejects(cache.getOrSet("", song), { code: "EF_KEY" });
  });

  test("options that say nothing are not taken for those of the call before", async () => {
    const key = fresh();
    const relaxed = { staleWhileRevalidate: "30s" } as const;
    await cache.getOrSet(key, () => "old", relaxed);
    await cache.invalidate(key, relaxed);
    const answer = await cache.getOrSetEntry(key, () => "new", { signal: undefined } as object);
    assert.deepEqual([answer.value, answer.status], ["new", "miss"]);
    const aborted = AbortSignal.abort();
    for (const nothing of [{ tags: [] }, { signal: undefined } as object, Object.create({ tags: [] }) as object]) {
      await assert.rejects(cache.getOrSet(key, song, { signal: aborted }), { code: "EF_ABORTED" });
      assert.equal(await cache.getOrSet(key, song, nothing), "new");
    }
    const inherited = Object.create({ tags: ["inherited"] }) as object;
    const other = fresh();
    await cache.getOrSet(fresh(), song, inherited);
    await cache.getOrSet(other, song, {});
    assert.deepEqual((await cache.getEntry(other)).tags, []);
  });

  test("a signal that outlives its calls keeps nothing of them", async () => {
    const key = fresh();
    const { signal } = new AbortController();
    await cache.getOrSet(key, song, { signal });
    await cache.getOrSet(key, song, { signal });
    assert.deepEqual(getEventListeners(signal, "abort"), []);
  });

  test("reads that share a signal share one listener, and each ends when it fires", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const reads = Array.from({ length: 20 }, () =>
      cache.getOrSet(fresh(), () => deferred<string>().promise, { signal }),
    );
    assert.equal(getEventListeners(signal, "abort").length, 1);
    controller.abort();
    for (const read of await Promise.allSettled(reads)) assert.equal(read.status, "rejected");
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });
}

describe("in memory", () => face(() => memory()));

describe("on the embedded server", () => {
  let server: CacheServer;
  before(async () => {
    server = await createServer().listen();
  });
  after(() => server.close());
  face(() => memcached(server.address));
});

describe("on memcached", needs("memcached"), () => {
  let server: RealMemcached;
  before(async () => {
    server = await startMemcached();
  });
  after(() => server.stop());
  face(() => memcached(server.address));

  describe("with the classic text commands alone", () => face(() => memcached(server.address, { protocol: "text" })));
  describe("with the binary commands alone", () => face(() => memcached(server.address, { protocol: "binary" })));
  describe("with the in-process tier", () => face(() => memcached(server.address), { local: true }));

  test("a value over the item limit is read back whole, or not at all", async () => {
    const backend = memcached(server.address);
    const cache = createCache({ backend, namespace: "large" });
    const value = Array.from({ length: 60_000 }, (_, id) => ({ id, title: `Row number ${id}`, odd: id % 2 === 1 }));
    assert.ok(JSON.stringify(value).length > 2_500_000);
    assert.deepEqual(await cache.getOrSet("rows", () => value), value);
    const other = createCache({ backend: memcached(server.address), namespace: "large" });
    // The first caller has its value before all chunks are stored; the others wait for them, and do not compute.
    assert.deepEqual(await other.getOrSet("rows", () => []), value);
    assert.equal(await cache.set("text", "x".repeat(3_000_000)), true);
    assert.equal((await other.get<string>("text"))?.length, 3_000_000);
    await other.invalidate("rows");
    assert.equal(await cache.get("rows"), undefined);
    await Promise.all([cache.close(), other.close()]);
  });

  test("two caches on one server share values and computations", async () => {
    const [a, b] = [1, 2].map(() => createCache({ backend: memcached(server.address), namespace: "fleet" }));
    assert.ok(a && b);
    let loads = 0;
    const load = async (): Promise<number> => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return ++loads;
    };
    const calls = [a, b].flatMap((cache) => Array.from({ length: 100 }, () => cache.getOrSet("cold", load)));
    assert.deepEqual(new Set(await Promise.all(calls)), new Set([1]));
    await b.invalidate("cold");
    assert.equal(await a.getOrSet("cold", load), 2);
    await Promise.all([a.close(), b.close()]);
  });

  test("a closed cache refuses calls", async () => {
    const cache = createCache({ backend: memcached(server.address) });
    await cache.close();
    await assert.rejects(cache.get("a"), isClosed);
  });

  test("a cache and its namespaces are closed together, whichever of them is told", async () => {
    const cache = createCache({ backend: memory() });
    const inner = cache.namespace("inner");
    await inner.close();
    await assert.rejects(inner.getOrSet("a", song), isClosed);
    await assert.rejects(cache.getOrSet("a", song), isClosed);
    await assert.rejects(cache.set("a", 1), isClosed);
  });

  test("a script that awaits an invalidation which nobody confirms is told so before it ends", () => {
    const script = `
      import { createCache, memcached } from "everfresh";
      const cache = createCache({ backend: memcached("127.0.0.1:1"), invalidationTimeout: "100ms" });
      await cache.invalidate("a").catch(({ code }) => console.log(code));`;
    const args = ["--input-type=module", "--eval", script];
    assert.equal(execFileSync(process.execPath, args, { encoding: "utf8" }).trim(), "EF_INVALIDATION_PENDING");
  });
});
