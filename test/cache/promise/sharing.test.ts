/** Who may share a computation with whom, within one process. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createCache, none } from "everfresh";
import { deferred } from "../../support/deferred.ts";
import { settle } from "../../support/settle.ts";
import { world, a, b, process, Source, advance, invalidateWhileHeld } from "../processes.ts";

describe("sharing within a process", () => {
  test("callers of one tick share a lookup", async () => {
    await a.getOrSet("k", () => 1);
    world.log.length = 0;
    await Promise.all([a.get("k"), a.get("k"), a.getOrSet("k", () => 2)]);
    assert.deepEqual(world.log, ["mg n!0", "mg n=k"]);
  });

  test("all who call namespace() with one name share its computations and what this process keeps of it", async () => {
    const source = new Source();
    const cache = createCache({ backend: none() });
    await Promise.all(Array.from({ length: 50 }, () => cache.namespace("eu").getOrSet("k", source.quick)));
    assert.equal(source.loads, 2, "a crowd that no server can confirm");
    const near = process({ local: { maxAge: "10s" } });
    const read = (): Promise<number> => near.namespace("eu", { ttl: "1m" }).getOrSet("k", source.quick);
    assert.equal(await read(), 1);
    source.value = 2;
    assert.equal(await read(), 1);
    await near.namespace("eu").invalidate("k");
    assert.equal(await read(), 2);
    assert.equal((await near.namespace("eu").getEntry("k")).ttlMs, 60_000);
  });

  test("a reader does not join a lookup that was sent before the reader came", async () => {
    await a.getOrSet("k", () => "old");
    world.hold();
    const early = a.getOrSet("k", () => "never");
    await settle();
    await world.execute("mg n!0");
    await world.execute("mg n=k");
    // The answer with the old value is on its way. Now another process invalidates, and is told that it is done.
    await invalidateWhileHeld();
    const late = a.getOrSet("k", () => "new");
    await settle();
    world.release();
    assert.equal(await early, "old");
    assert.equal(await late, "new");
  });

  test("who joins a load shares its value when the fill is confirmed", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    const late = a.getOrSet("k", source.slow);
    await settle();
    source.ends[0]?.resolve();
    assert.deepEqual([await early, await late], [1, 1]);
    assert.equal(source.loads, 1);
  });

  test("who names a tag does not join a load that did not read it", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    source.value = 2;
    await b.invalidateTags(["t"]);
    const late = a.getOrSet("k", source.quick, { tags: ["t"] });
    await settle();
    source.ends[0]?.resolve();
    await advance(100);
    assert.deepEqual([await early, await late], [1, 2]);
  });

  test("who reads another version does not share the load, whether it came later, in the same turn, or past the server", async () => {
    const end = deferred();
    const shape = (version: number): Promise<string> =>
      a.getOrSet("k", () => end.promise.then(() => `shape ${version}`), { version });
    const shapes = async (versions: number[]): Promise<string[]> => {
      const reading = Promise.all(versions.map(shape));
      await advance(500);
      return await reading;
    };
    const first = shape(1);
    await settle();
    const second = shape(2);
    await settle();
    end.resolve();
    await advance(100);
    assert.deepEqual([await first, await second], ["shape 1", "shape 2"]);
    await a.invalidate("k");
    assert.deepEqual(await shapes([1, 2, 1, 3]), ["shape 1", "shape 2", "shape 1", "shape 3"]);
    world.down();
    assert.deepEqual(await shapes([1, 2, 1, 3]), ["shape 1", "shape 2", "shape 1", "shape 3"]);
  });

  const ways: Record<string, () => Promise<unknown>> = {
    "who joined a load after it began starts over when the key was invalidated meanwhile": () => b.invalidate("k"),
    "who joined a load after it began starts over when one of its tags was invalidated meanwhile": () =>
      b.invalidateTags(["t"]),
    "who joined a load after it began starts over when the namespace was cleared meanwhile": () => b.clear(),
  };
  for (const [title, invalidate] of Object.entries(ways))
    test(title, async () => {
      const source = new Source();
      const early = a.getOrSet("k", source.slow, { tags: ["t"] });
      await settle();
      source.value = 2;
      await invalidate();
      const late = a.getOrSet("k", source.slow, { tags: ["t"] });
      await settle();
      source.ends[0]?.resolve();
      assert.equal(await early, 1);
      await settle();
      source.ends[1]?.resolve();
      assert.equal(await late, 2);
      assert.equal(await b.get("k"), 2);
    });

  test("nobody joins a load whose fill was sent", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    world.hold();
    source.ends[0]?.resolve();
    assert.equal(await early, 1);
    await world.execute("ms n=k");
    // Stored, but the answer is on its way. An invalidation comes in between, and is acknowledged.
    source.value = 2;
    await invalidateWhileHeld();
    const late = a.getOrSet("k", source.slow);
    await settle();
    world.release();
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await late, 2);
  });

  test("an unstored value is shared with late callers only if the lease still stood", async () => {
    let found: string | undefined;
    const ends = [deferred(), deferred()];
    let loads = 0;
    const load = async (): Promise<string | undefined> => {
      const seen = found;
      await ends[loads++]?.promise;
      return seen;
    };
    const early = a.getOrSet("k", load);
    await settle();
    found = "there now";
    await b.invalidate("k");
    const late = a.getOrSet("k", load);
    await settle();
    ends[0]?.resolve();
    assert.equal(await early, undefined);
    await settle();
    ends[1]?.resolve();
    assert.equal(await late, "there now");
  });
});
