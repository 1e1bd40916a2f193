/** What is refused on every backend, at once and with words that help. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cache, fresh, song, onEveryBackend } from "./backends.ts";

const ttlOf = async (given: object): Promise<number> => (await cache.getOrSetEntry(fresh(), song, given)).ttlMs;

onEveryBackend(() => {
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

  test("options that were said before are looked at again", async () => {
    const said = { tags: ["first"], ttl: "7s" as const };
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
    const answer = await cache.getOrSetEntry(key, () => "new", { signal: undefined });
    assert.deepEqual([answer.value, answer.status], ["new", "miss"]);
    const aborted = AbortSignal.abort();
    for (const nothing of [{ tags: [] }, { signal: undefined }, Object.create({ tags: [] }) as object]) {
      await assert.rejects(cache.getOrSet(key, song, { signal: aborted }), { code: "EF_ABORTED" });
      assert.equal(await cache.getOrSet(key, song, nothing), "new");
    }
    const inherited = Object.create({ tags: ["inherited"] }) as object;
    const other = fresh();
    await cache.getOrSet(fresh(), song, inherited);
    await cache.getOrSet(other, song, {});
    assert.deepEqual((await cache.getEntry(other)).tags, []);
  });
});
