/** How caches are told: a hundred names at a time, within one deadline. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createCache, memory } from "everfresh";
import { createOutbox, tag, type InvalidationPendingError, type OutboxCache } from "everfresh/outbox";
import { ManualClock } from "../support/manual-clock.ts";
import { eventually, RememberingCache, openSqlite } from "./support.ts";

/** A SQLite handle with an outbox of `caches` that takes its time from a clock of the test's own. */
async function withClock(t: TestContext, caches: OutboxCache) {
  const handle = openSqlite(t);
  const clock = new ManualClock();
  const outbox = createOutbox({ db: handle, caches, relay: false, clock, deliveryTimeoutMs: 500 });
  await outbox.install();
  return { handle, clock, outbox };
}

test("many tags are told a hundred at a time, since a cache takes no more", async (t) => {
  const real = createCache({ backend: memory({ limitBytes: 1_000_000 }), namespace: "shop" });
  t.after(() => real.close());
  const sizes: number[] = [];
  const { handle, outbox } = await withClock(t, {
    name: "shop",
    invalidate: (keys) => real.invalidate(keys),
    async invalidateTags(tags) {
      sizes.push(tags.length);
      await real.invalidateTags(tags);
    },
  });
  await outbox.transaction(handle, (_tx, invalidate) =>
    invalidate(...Array.from({ length: 250 }, (_, n) => tag(`t${n}`))),
  );
  assert.deepEqual(sizes, [100, 100, 50]);
});

test("a cache that hangs for one key has one deadline, and the others are delivered within it", async (t) => {
  const hanging = new RememberingCache();
  const calls: string[][] = [];
  const { handle, clock, outbox } = await withClock(t, {
    name: "shop",
    invalidate(keys) {
      calls.push([...keys]);
      return keys.includes("away") ? new Promise(() => undefined) : hanging.invalidate(keys);
    },
    invalidateTags: () => Promise.reject(new Error("no tag was named")),
  });
  const startedAt = clock.monotonic();
  const call = outbox.transaction(handle, (_tx, invalidate) => invalidate("away", "a", "b"));
  const rejected = assert.rejects(call, (error: InvalidationPendingError) => {
    assert.deepEqual(
      error.pending.map(({ name }) => name),
      ["away"],
    );
    return true;
  });
  await eventually(() => calls.length === 1);
  await clock.advance(250);
  await eventually(() => hanging.told.length === 2);
  await clock.advance(250);
  await rejected;
  assert.equal(clock.monotonic() - startedAt, 500);
  assert.deepEqual(calls, [["away", "a", "b"], ["away"], ["a"], ["b"]]);
});
