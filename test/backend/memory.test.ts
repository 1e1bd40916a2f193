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

test("what is new is kept also where everything else was read lately, and an older value gives way", async () => {
  const backend = memory({ limitEntries: 2 });
  const item = { bytes: Buffer.from("value"), flags: 0 };
  for (const key of ["a", "b"]) await backend.put(key, item, 60, "set");
  for (const key of ["a", "b"]) await backend.read(key, {});
  const reading = await backend.read("new", { lease: 5 });
  assert.ok(reading.kind === "won");
  assert.ok(await backend.replace("new", reading.token, item, 60), "the lease still stood");
  const kinds = await Promise.all(["a", "b", "new"].map(async (key) => (await backend.read(key, {})).kind));
  assert.deepEqual(kinds, ["absent", "item", "item"]);
});

test("what is kept lies in memory of its own, not in a pool that is kept with it and is no part of the limit", async () => {
  const cache = createCache({ backend: memory() });
  const bytes = Buffer.from("small");
  const kept = async (key: string): Promise<number> => {
    const value = await cache.getOrSet(key, () => bytes, { shared: true });
    return value.buffer.byteLength;
  };
  await cache.set("set", bytes);
  await cache.set("touched", bytes);
  await cache.touch("touched", "5m");
  await kept("computed");
  for (const key of ["set", "touched", "computed"]) assert.ok((await kept(key)) < 200, key);
  await cache.close();
});

test("options that it does not have are refused: a limit that is misspelled would be none", () => {
  assert.throws(() => memory({ limit: 5e6 } as never), { code: "EF_OPTION", message: /no option limit; .*limitBytes/ });
  for (const wrong of [64e6, null, "64mb"])
    assert.throws(() => memory(wrong as never), { code: "EF_OPTION", message: /an object of options \(limitBytes, / });
});
