/** What the memory of one process gives up for what. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCache, memory } from "everfresh";

test("a value that can never fit is not stored, and nothing else gives way to it", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 100_000 }) });
  const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
  for (const key of keys) await cache.set(key, key);
  const large = "x".repeat(110_000);
  assert.equal(await cache.set("large", large), false);
  assert.equal(await cache.add("large", large), false);
  assert.equal(await cache.getOrSet("large", () => large), large);
  assert.equal(await cache.get("large"), undefined);
  assert.equal(
    await cache.getOrSet("large", () => "at once: the lease was given back"),
    "at once: the lease was given back",
  );
  assert.equal(await cache.set("k7", large), false);
  assert.equal(await cache.get("k7"), undefined, "nor is the value from before kept");
  assert.equal((await cache.getMany(keys)).size, 99);
  await cache.close();
});
