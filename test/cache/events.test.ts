/** What the channels tell of a cache: each thing once, and what it was. */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { test, type TestContext } from "node:test";
import { createCache, metaBackend } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { settle } from "../support/settle.ts";

const failing = (): Promise<number> => Promise.reject(new Error("no database"));

/** The reads that are told of in the test `t`: key, status, why. */
function readsOf(t: TestContext): string[] {
  const told: string[] = [];
  const listen = (message: unknown): void => {
    const { key, status, why } = message as { key: string; status: string; why: string | undefined };
    told.push(`${key}: ${status}${why === undefined ? "" : `, ${why}`}`);
  };
  subscribe("everfresh:cache:read", listen);
  t.after(() => unsubscribe("everfresh:cache:read", listen));
  return told;
}

test("a value that cannot be stored is told of with its reason, not as one that was invalidated meanwhile", async (t) => {
  const world = new FakeMemcached();
  const backend = new ChunkingBackend(metaBackend(world.client(), { itemLimitBytes: 100 }));
  const cache = createCache({ backend, namespace: "n", clock: new ManualClock() });
  const told: string[] = [];
  const listen = (message: unknown): void => {
    const { outcome, why } = message as { outcome: string; why: string };
    told.push(`${outcome}, ${why}`);
  };
  subscribe("everfresh:cache:load", listen);
  t.after(() => unsubscribe("everfresh:cache:load", listen));
  await cache.getOrSet("k", () => "x".repeat(50_000));
  await settle();
  await cache.getOrSet("k", async () => {
    await cache.invalidate("k");
    return 1;
  });
  await settle();
  assert.deepEqual(told, ["unstored, a value of 50028 bytes does not fit into chunks", "refused, absent"]);
});

test("each read is told of once, when it is answered: also one that computes, waits for who does, or starts over", async (t) => {
  const world = new FakeMemcached();
  const clock = new ManualClock();
  const cache = createCache({ backend: metaBackend(world.client()), namespace: "n", clock });
  const told = readsOf(t);
  const relaxed = { ttl: "10s", staleIfError: "1h" } as const;

  const first = deferred<number>();
  const early = [cache.getOrSet("k", () => first.promise, relaxed), cache.getOrSet("k", () => 0, relaxed)];
  await settle();
  early.push(cache.getOrSet("k", () => 0, relaxed));
  assert.deepEqual(told, []);
  first.resolve(1);
  await Promise.all(early);
  await cache.getOrSetMany(["k", "l"], () => [2]);
  assert.deepEqual(told.splice(0), [
    "k: miss, absent",
    "k: miss, absent",
    "k: miss, absent",
    "k: hit",
    "l: miss, absent",
  ]);

  world.nowMs += 11_000;
  await clock.advance(11_000);
  await cache.getOrSet("k", failing, relaxed);
  await assert.rejects(cache.getOrSet("m", failing), /no database/);
  await cache.getOrSet("u", () => undefined);
  await cache.get("none");
  assert.deepEqual(told.splice(0), ["k: stale, the loader failed", "u: miss, absent", "none: miss, absent"]);

  world.down();
  const past = deferred<number>();
  const rounds = [cache.getOrSet("k", () => past.promise)];
  await settle();
  rounds.push(cache.getOrSet("k", () => 4));
  await settle();
  past.resolve(3);
  assert.deepEqual(await Promise.all(rounds), [3, 4]);
  const aborted = AbortSignal.abort();
  await assert.rejects(
    cache.getOrSet("k", () => 5, { signal: aborted }),
    { code: "EF_ABORTED" },
  );
  assert.deepEqual(told, ["k: bypass, unreachable", "k: bypass, unreachable"]);
});
