/** What may be stored: only what was computed under a lease that still stands. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createCache, memory, metaBackend } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { settle } from "../../support/settle.ts";
import { world, clock, a, b, Source, advance } from "../processes.ts";

describe("fills", () => {
  test("a value that was invalidated while it was computed is not stored", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow);
    await settle();
    await b.invalidate("k");
    source.ends[0]?.resolve();
    await reading;
    await settle();
    assert.equal(await b.get("k"), undefined);
  });

  test("a lease from before a restart does not fill, although the numbers match again", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow);
    await settle();
    world.restart();
    source.value = 2;
    // Whoever comes now gets the same number again from the server that counts anew.
    const second = new Source();
    second.value = 2;
    const other = b.getOrSet("k", second.slow);
    await settle();
    source.ends[0]?.resolve();
    assert.equal(await reading, 1);
    await settle();
    assert.equal(world.peek("n=k")?.length, 0, "the lease of the other process is untouched");
    second.ends[0]?.resolve();
    assert.equal(await other, 2);
    assert.equal(await a.get("k"), 2);
  });

  test("a value is stored although its computation began before the clock that says when, as where a test has set that to 0", async () => {
    const stopped = { now: () => 0, monotonic: () => clock.monotonic(), after: clock.after.bind(clock) };
    const cache = createCache({ backend: memory(), clock: stopped });
    const reading = cache.getOrSet("k", async () => {
      await clock.advance(5);
      return 1;
    });
    assert.equal(await reading, 1);
    assert.equal(await cache.get("k"), 1);
  });

  test("a lease does not outlive its connection, even on a server that kept everything", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow);
    await settle();
    world.disconnect();
    source.ends[0]?.resolve();
    assert.equal(await reading, 1);
    await settle();
    assert.equal(world.peek("n=k")?.length, 0);
  });

  test("a loader that fails gives its lease back at once", async () => {
    await assert.rejects(
      a.getOrSet("k", () => Promise.reject(new Error("no"))),
      /no/,
    );
    await settle();
    assert.equal(await b.getOrSet("k", () => "next"), "next");
  });

  test("a lease is renewed while its value is computed, and lost when its holder dies", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow);
    await settle();
    const waiting = b.getOrSet("k", () => "b computed too");
    await advance(8_000);
    source.ends[0]?.resolve();
    assert.equal(await reading, 1);
    await advance(100);
    assert.equal(await waiting, 1);

    const dead = metaBackend(world.client());
    await dead.read("n=dead", { lease: 5 });
    const next = a.getOrSet("dead", () => "computed by who came next");
    await advance(4_900);
    assert.equal(await Promise.race([next, turn("waits")]), "waits");
    await advance(200);
    assert.equal(await next, "computed by who came next");
  });

  test("a value that cannot be stored gives its lease back, too", async () => {
    const backend = new ChunkingBackend(metaBackend(world.client(), { itemLimitBytes: 100 }));
    const cache = createCache({ backend, namespace: "n", clock });
    const large = "x".repeat(50_000);
    // Nobody waits for a lease here: time stands still.
    for (const key of ["one", "one", "one", "two"]) {
      assert.equal(await cache.getOrSet(key, () => large), large);
      await settle();
    }
    await assert.rejects(cache.add("two", large), { code: "EF_VALUE_TOO_LARGE" });
    await settle();
    assert.equal(await cache.getOrSet("two", () => "small"), "small");
  });

  test("who waits too long computes by itself and stores nothing", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow);
    await settle();
    const waiting = b.getOrSetEntry("k", () => "own");
    await advance(10_200);
    assert.deepEqual(await waiting.then(({ value, status, why }) => [value, status, why]), [
      "own",
      "bypass",
      "gave up waiting",
    ]);
    source.ends[0]?.resolve();
    assert.equal(await reading, 1);
    await settle();
    assert.equal(await b.get("k"), 1);
  });

  test("a fill whose answer is lost is taken for refused by late callers, and they look again", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    const late = a.getOrSet("k", () => "not needed");
    await settle();
    world.hold();
    source.ends[0]?.resolve();
    await early;
    await world.fail("ms n=k", true);
    world.release();
    assert.equal(await late, 1);
  });
});
