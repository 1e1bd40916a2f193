/** Plain writes, counters and many keys at once, on every backend. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cache, fresh, onEveryBackend } from "./backends.ts";

onEveryBackend(() => {
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

  test("a time to live of zero means that nothing is stored, and what was there is gone", async () => {
    const key = fresh();
    await cache.set(key, 1);
    assert.equal(await cache.set(key, 2, { ttl: "0s" }), false);
    assert.equal(await cache.get(key), undefined);
    assert.equal(await cache.getOrSet(key, () => 3, { ttl: "0s" }), 3);
    assert.equal(await cache.get(key), undefined);
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
});
