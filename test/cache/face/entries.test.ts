/** Entries, versions, schemas and what a caller brings along, on every backend. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { deferred } from "../../support/deferred.ts";
import { backend, cache, fresh, song, onEveryBackend } from "./backends.ts";

let number = 0;

onEveryBackend(() => {
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
});
