/** Stale values, for those who asked for them and nobody else. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createCache, metaBackend, type Cache } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { deferred } from "../../support/deferred.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { settle } from "../../support/settle.ts";
import { world, clock, a, b, process, failing, Source, advance, begin } from "../processes.ts";

describe("relaxations that were asked for", () => {
  test("staleWhileRevalidate serves the old value while one in the fleet refreshes it", async () => {
    const options = { ttl: "10s", staleWhileRevalidate: "30s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(11_000);
    source.value = 2;
    const stale = await Promise.all([
      a.getOrSetEntry("k", source.slow, options),
      b.getOrSetEntry("k", source.slow, options),
    ]);
    assert.deepEqual(
      stale.map(({ value, status }) => [value, status]),
      [
        [1, "stale"],
        [1, "stale"],
      ],
    );
    await settle();
    assert.equal(source.loads, 2);
    assert.equal((await b.getOrSetEntry("k", source.slow, options)).status, "stale");
    source.ends[0]?.resolve();
    await settle();
    const fresh = await b.getOrSetEntry("k", source.slow, options);
    assert.deepEqual([fresh.value, fresh.status], [2, "hit"]);
  });

  test("who did not ask for it waits for the refresh, also after an invalidation that keeps the old value", async () => {
    const relaxed = process({ staleWhileRevalidate: "30s" });
    const source = new Source();
    await relaxed.getOrSet("k", source.quick);
    source.value = 2;
    await relaxed.invalidate("k");
    const stale = await relaxed.getOrSetEntry("k", source.slow);
    assert.deepEqual([stale.value, stale.status, stale.why], [1, "stale", "invalidated"]);
    const strict = b.getOrSet("k", source.slow);
    await settle();
    source.ends[0]?.resolve();
    await advance(100);
    assert.equal(await strict, 2);
    assert.equal(source.loads, 2);
  });

  test("staleIfError serves the old value when the loader fails, and only then", async () => {
    const options = { ttl: "10s", staleIfError: "1h" } as const;
    await a.getOrSet("k", () => 1, options);
    await advance(11_000);
    const answer = await a.getOrSetEntry("k", failing, options);
    assert.deepEqual([answer.value, answer.status, answer.why], [1, "stale", "the loader failed"]);
    await assert.rejects(b.getOrSet("k", failing, { ttl: "10s" }), /no database/);
    assert.equal(await b.getOrSet("k", () => 2, options), 2);
  });

  test("staleIfError serves the old value also where its tag cannot be asked about, for as long after it was made", async () => {
    begin(["fake:1", "fake:2"]);
    const cache = process();
    const home = world.serverOf("n=k");
    const tag = ["songs", "albums", "artists", "years"].find((name) => world.serverOf(`n#${name}`) !== home) ?? "";
    const options = { ttl: "1d", tags: [tag], staleIfError: "1h" } as const;
    await cache.getOrSet("k", () => 1, options);
    world.down(world.serverOf(`n#${tag}`));
    for (let read = 0; read < 2; read++) {
      const answer = await cache.getOrSetEntry("k", failing, options);
      assert.deepEqual([answer.value, answer.status, answer.why], [1, "stale", "the loader failed"]);
    }
    await advance(3_590_000);
    assert.equal((await cache.getOrSetEntry("k", failing, options)).value, 1);
    await advance(11_000);
    await assert.rejects(cache.getOrSet("k", failing, options), /no database/);
  });

  test("a fresh value is a hit whatever its reader's relaxations are, also where the server keeps nothing for so long", async () => {
    const month = { ttl: "1d", staleIfError: "30d" } as const;
    await a.getOrSet("k", () => 1, month);
    assert.equal((await b.getOrSetEntry("k", () => 2, month)).status, "hit");
    await a.set("by hand", 1, { ttl: "10m" });
    assert.equal((await b.getOrSetEntry("by hand", () => 2, { ttl: "10m", staleIfError: "1h" })).status, "hit");
  });

  test("a refresh that fails leaves the old value to those who allow it, and one that is slow does not keep them waiting", async () => {
    const options = { ttl: "1d", staleWhileRevalidate: "10s", staleIfError: "1h", timeout: "100ms" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await assert.rejects(a.refresh("k", failing, options), /no database/);
    source.value = 2;
    const refreshing = a.refresh("k", source.slow, options);
    await settle();
    for (const cache of [a, b]) {
      const { value, status } = await cache.getOrSetEntry("k", source.slow, options);
      assert.deepEqual([value, status], [1, "stale"]);
    }
    await advance(200);
    source.ends[0]?.resolve();
    assert.equal(await refreshing, 2);
    assert.equal(await b.get("k"), 2);
    await assert.rejects(a.refresh("k", failing, options), /no database/);
    await advance(11_000);
    assert.equal((await b.getOrSetEntry("k", failing, options)).why, "the loader failed");
  });

  test("who allows a stale value at once gets it also where somebody waits for the new one", async () => {
    const options = { ttl: "10s", staleIfError: "1h" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(11_000);
    const strict = a.getOrSet("k", source.slow, options);
    await settle();
    const relaxed = await a.getOrSetEntry("k", source.slow, { ...options, staleWhileRevalidate: "1h" });
    assert.deepEqual([relaxed.value, relaxed.status], [1, "stale"]);
    source.value = 2;
    source.ends[0]?.resolve();
    assert.equal(await strict, 1);
    assert.equal(source.loads, 2);
  });

  test("a loader that fails does not lengthen the time for which a stale value is served", async () => {
    const options = { ttl: "1d", staleIfError: "30s" } as const;
    const answers = async (): Promise<string> =>
      await a.getOrSetEntry("k", failing, options).then(
        ({ status }) => status,
        () => "failed",
      );
    await a.getOrSet("k", () => 1, options);
    await a.invalidate("k", options);
    const found: string[] = [];
    for (let count = 0; count < 4; count++) {
      found.push(await answers(), await answers());
      await advance(14_000);
    }
    assert.deepEqual(found, ["stale", "stale", "stale", "stale", "stale", "stale", "failed", "failed"]);
  });

  test("how long ago a value was invalidated is told by how long it is still kept", async () => {
    const options = { ttl: "1d", staleWhileRevalidate: "10s", staleIfError: "1h" } as const;
    await a.getOrSet("k", () => 1, options);
    await a.invalidate("k", options);
    await advance(8_000);
    assert.equal((await a.getOrSetEntry("k", failing, options)).why, "invalidated");
    await advance(3_000);
    assert.equal((await a.getOrSetEntry("k", failing, options)).why, "the loader failed");
    const lessRelaxed = { ttl: "1d", staleIfError: "30s" } as const;
    await assert.rejects(a.getOrSet("k", failing, lessRelaxed), /no database/);
    await advance(3_580_000);
    assert.equal((await a.getOrSetEntry("k", failing, options)).why, "the loader failed");
    await advance(10_000);
    await assert.rejects(a.getOrSet("k", failing, options), /no database/);
  });

  test("what is of another version, or refused by the schema, is served stale to nobody", async () => {
    const options = { ttl: "10s", staleWhileRevalidate: "1h", staleIfError: "1h" } as const;
    await a.getOrSet("k", () => "shape 1", { ...options, version: 1 });
    await advance(11_000);
    let seen: unknown = "nothing";
    const shape = ({ stale }: { stale: unknown }): string => {
      seen = stale;
      return "shape 2";
    };
    assert.equal(await b.getOrSet("k", shape, { ...options, version: 2 }), "shape 2");
    assert.equal(seen, undefined);
    await advance(11_000);
    const schema = { "~standard": { validate: () => ({ issues: [1] }) } };
    await assert.rejects(b.getOrSet("k", failing, { ...options, version: 2, schema }), /no database/);
    const slow = b.getOrSet("k", () => new Promise(() => {}), { ...options, version: 2, schema, timeout: "1s" });
    const rejected = assert.rejects(slow, { code: "EF_LOAD_TIMEOUT" });
    await advance(31_000);
    await rejected;
  });

  test("a tag that was invalidated during a slow load does not let its value be stale for longer", async () => {
    const options = { ttl: "1h", tags: ["songs"], staleIfError: "10s" } as const;
    const source = new Source();
    const slow = a.getOrSet("k", source.slow, options);
    await settle();
    await advance(1_000);
    await b.invalidateTags(["songs"]);
    await advance(8_000);
    source.ends[0]?.resolve();
    assert.equal(await slow, 1);
    await settle();
    assert.equal((await b.getOrSetEntry("k", failing, options)).ageMs, 9_000);
    await advance(1_500);
    await assert.rejects(b.getOrSet("k", failing, options), /no database/);
  });

  test("a value whose tag was invalidated is served stale for as long after it was made, whenever that was", async () => {
    const options = { ttl: "1h", tags: ["songs"], staleWhileRevalidate: "30s", staleIfError: "60s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(20_000);
    await a.invalidateTags(["songs"]);
    await advance(9_000);
    const early = await b.getOrSetEntry("k", failing, options);
    assert.deepEqual([early.value, early.status], [1, "stale"]);
    await settle();
    await advance(11_000);
    const failed = await b.getOrSetEntry("k", failing, options);
    assert.deepEqual([failed.value, failed.why], [1, "the loader failed"]);
    await advance(21_000);
    await assert.rejects(b.getOrSetEntry("k", failing, options), /no database/);
    source.value = 2;
    const late = await b.getOrSetEntry("k", source.quick, options);
    assert.deepEqual([late.value, late.status], [2, "miss"]);
  });

  test("what was deleted, alone or with others, is served stale to nobody", async () => {
    const relaxed = process({ staleWhileRevalidate: "30s" });
    for (const remove of [() => relaxed.delete("k"), () => relaxed.deleteMany(["k"])]) {
      await relaxed.set("k", 1);
      await remove();
      assert.equal((await relaxed.getOrSetEntry("k", () => 2)).value, 2, String(remove));
    }
  });

  test("a value that was refreshed ahead when it was invalidated is not stale for longer than the reader allows", async () => {
    const options = { ttl: "1h", refreshAhead: "1h", staleIfError: "10s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(1_000);
    const refreshing = deferred<number>();
    assert.equal(await a.getOrSet("k", () => refreshing.promise, options), 1);
    await settle();
    await b.invalidate("k");
    await advance(11_000);
    void b.getOrSet("k", source.slow, options);
    await settle();
    const joined = assert.rejects(a.getOrSet("k", failing, options), /no database/);
    await settle();
    refreshing.reject(new Error("no database"));
    await joined;
  });

  for (const [who, look] of [
    ["looks", (cache: Cache) => cache.get("k")],
    ["would change it", (cache: Cache) => cache.update("k", (value: number) => value + 1)],
    ["would give it time", (cache: Cache) => cache.touch("k", "1h")],
  ] as const)
    test(`who only ${who} does not keep others from computing a stale value anew`, async () => {
      const options = { ttl: "1d", staleWhileRevalidate: "1h" } as const;
      const source = new Source();
      await a.getOrSet("k", source.quick, options);
      source.value = 2;
      await a.invalidate("k", options);
      assert.ok([undefined, false].includes((await look(b)) as undefined));
      assert.equal((await a.getOrSetEntry("k", source.quick, options)).value, 1);
      await settle();
      assert.equal((await a.getOrSetEntry("k", source.quick, options)).value, 2);
    });

  test("who finds an expired value whose refresh somebody has won waits for it", async () => {
    const options = { ttl: "10s", refreshAhead: "2s", staleIfError: "1h" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(11_000);
    const reading = [a.getOrSet("k", source.slow, options)];
    await settle();
    reading.push(b.getOrSet("k", source.slow, options), process().getOrSet("k", source.slow, options));
    await settle();
    assert.equal(source.loads, 2);
    source.ends[0]?.resolve();
    await advance(100);
    assert.deepEqual(await Promise.all(reading), [1, 1, 1]);
  });

  test("a key whose computation was invalidated, and begun anew by a process that was killed, is free after the lease", async () => {
    const options = { ttl: "1d", staleIfError: "1h" } as const;
    const source = new Source();
    const killed = createCache({ backend: metaBackend(world.client()), namespace: "n", clock: new ManualClock() });
    void a.getOrSet("k", source.slow, options);
    await settle();
    await b.invalidate("k", options);
    void killed.getOrSet("k", source.slow, options);
    await settle();
    await advance(5_100);
    const read = b.getOrSetEntry("k", () => 3, options);
    await advance(100);
    assert.deepEqual(await read.then(({ value, status }) => [value, status]), [3, "miss"]);
  });

  test("who only looks at a lease that was kept as stale does not hold it", async () => {
    const options = { ttl: "1d", staleIfError: "1h" } as const;
    const source = new Source();
    const first = a.getOrSet("k", source.slow, options);
    await settle();
    await a.invalidate("k", options);
    assert.equal(await b.get("k"), undefined);
    assert.equal(await b.getOrSet("k", () => 2, options), 2);
    source.ends[0]?.resolve();
    assert.equal(await first, 1);
    await settle();
    assert.equal(await b.get("k"), 2);
  });

  test("a stale value whose computation was lost with its connection or its process is computed anew once that must be over", async () => {
    const options = { ttl: "1d", staleWhileRevalidate: "1h", hardTimeout: "5s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await a.invalidate("k", options);
    const killed = createCache({ backend: metaBackend(world.client()), namespace: "n", clock: new ManualClock() });
    void killed.getOrSet("k", source.slow, options);
    await settle();
    source.value = 3;
    const read = async (): Promise<unknown[]> => {
      const { value, status } = await b.getOrSetEntry("k", source.quick, options);
      await settle();
      return [value, status];
    };
    assert.deepEqual(await read(), [1, "stale"]);
    await advance(9_900);
    assert.deepEqual(await read(), [1, "stale"]);
    assert.equal(source.loads, 2);
    await advance(200);
    assert.deepEqual(await read(), [1, "stale"]);
    assert.deepEqual(await read(), [3, "hit"]);
    source.ends[0]?.resolve();
    await settle();
    assert.deepEqual(await read(), [3, "hit"]);
  });

  test("what takes longer to compute than the stale value is kept is computed once all the same", async () => {
    const options = { ttl: "1d", staleWhileRevalidate: "4s" } as const;
    const expiring = { ...options, ttl: "10s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await a.getOrSet("expired", source.quick, expiring);
    await advance(10_100);
    await a.invalidate("k", options);
    source.value = 2;
    const readBoth = (cache: Cache): Promise<number>[] => [
      cache.getOrSet("k", source.slow, options),
      cache.getOrSet("expired", source.slow, expiring),
    ];
    assert.deepEqual(await Promise.all(readBoth(a)), [1, 1]);
    await settle();
    await advance(12_000);
    const reads = [...readBoth(a), ...readBoth(b)];
    await settle();
    for (const end of source.ends) end.resolve();
    await advance(100);
    assert.deepEqual(await Promise.all(reads), [2, 2, 2, 2]);
    assert.equal(source.loads, 4);
  });

  test("a new value that cannot be stored gives back the lease beside the stale one", async () => {
    const backend = new ChunkingBackend(metaBackend(world.client(), { itemLimitBytes: 100 }));
    const cache = createCache({ backend, namespace: "n", clock });
    const options = { ttl: "1d", staleIfError: "1h" } as const;
    await cache.getOrSet("k", () => "old", options);
    await cache.invalidate("k", options);
    // Nobody waits for a lease here: time stands still.
    assert.equal(await cache.getOrSet("k", () => "x".repeat(50_000), options), "x".repeat(50_000));
    await settle();
    assert.equal(await cache.getOrSet("k", () => "small", options), "small");
    assert.equal(await b.get("k"), "small");
  });
});
