import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { createCache, memory, metaBackend } from "everfresh";
import { purgeInFront } from "everfresh/http";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock } from "../support/manual-clock.ts";

const settle = async (): Promise<void> => {
  for (let count = 0; count < 5; count++) await turn();
};

test("a cache in front hears of tags together, once they are invalidated, by the keys that responses carry", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }), namespace: "shop" });
  const calls: (readonly string[])[] = [];
  const end = purgeInFront((keys) => Promise.resolve(calls.push(keys)), { namespace: "shop" });
  await Promise.all([cache.invalidateTags(["song:7"]), cache.invalidateTags(["a b"])]);
  await cache.namespace("other").invalidateTags(["elsewhere"]);
  await settle();
  assert.deepEqual(calls, [["song:7", "a%20b"]]);
  end();
  await cache.invalidateTags(["later"]);
  await settle();
  assert.equal(calls.length, 1);
});

test("a purge that fails is tried again, with what came meanwhile", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  const clock = new ManualClock();
  const calls: (readonly string[])[] = [];
  const purge = (keys: readonly string[]): Promise<void> => {
    calls.push(keys);
    return calls.length === 1 ? Promise.reject(new Error("busy")) : Promise.resolve();
  };
  const end = purgeInFront(purge, { clock });
  await cache.invalidateTags(["a"]);
  await settle();
  await cache.invalidateTags(["b"]);
  await settle();
  assert.deepEqual(calls, [["a"]]);
  await clock.advance(300);
  await settle();
  assert.deepEqual(calls, [["a"], ["a", "b"]]);
  end();
});

test("a cache in front hears of a tag whose server could not confirm it in time, when it has", async () => {
  const [world, clock] = [new FakeMemcached(["fake:1", "fake:2"]), new ManualClock()];
  const backend = metaBackend(world.client());
  const [up = "", down = ""] = ["fake:1", "fake:2"].map((server) =>
    Array.from({ length: 50 }, (_, index) => `t${index}`).find(
      (tag) => backend.serverOf(`everfresh#${tag}`) === server,
    ),
  );
  const cache = createCache({ backend, clock });
  const calls: (readonly string[])[] = [];
  const end = purgeInFront((keys) => Promise.resolve(calls.push(keys)), { clock });
  world.down("fake:2");
  const rejected = assert.rejects(cache.invalidateTags([down, up]), { code: "EF_INVALIDATION_PENDING" });
  await settle();
  await clock.advance(2_100);
  await rejected;
  await settle();
  assert.deepEqual(calls, [[up]]);
  world.up("fake:2");
  await clock.advance(4_000);
  await settle();
  assert.deepEqual(calls, [[up], [down]]);
  end();
});

test("the manual explains every reason that Cache-Status can show, and no other", () => {
  const source = readFileSync("src/http/cache-status.ts", "utf8");
  const union = /export type Reason =([\s\S]*?);/.exec(source)?.[1] ?? "";
  const reasons = [...union.matchAll(/\| "([a-z-]+)"/g)].map((match) => match[1] ?? "");
  const manual = readFileSync("docs/pages.md", "utf8");
  const table = manual.slice(manual.indexOf("| detail | meaning |"), manual.indexOf("## Fragments"));
  const explained = [...table.matchAll(/`([a-z-]+)`/g)].map((match) => match[1] ?? "");
  assert.ok(reasons.length > 20);
  assert.deepEqual(
    reasons.filter((reason) => !explained.includes(reason)),
    [],
  );
  assert.deepEqual(
    explained.filter((word) => !reasons.includes(word) && word !== "when"),
    [],
  );
});
