/** Loads when no server can be asked: how many run, and who is answered by which. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createCache, none, type Reading } from "everfresh";
import { deferred, type Deferred } from "../../support/deferred.ts";
import { settle } from "../../support/settle.ts";
import { world, clock, a, process, Source, advance } from "../processes.ts";

describe("loads past a server that cannot be asked", () => {
  test("with the server down a crowd costs two loads, and who came during the first gets the second", async () => {
    world.down();
    const source = new Source();
    const first = Array.from({ length: 100 }, () => a.getOrSet("k", source.slow));
    await settle();
    source.value = 2;
    const second = Array.from({ length: 100 }, () => a.getOrSet("k", source.slow));
    await settle();
    assert.equal(source.loads, 1);
    source.ends[0]?.resolve();
    assert.deepEqual(new Set(await Promise.all(first)), new Set([1]));
    await settle();
    source.ends[1]?.resolve();
    assert.deepEqual(new Set(await Promise.all(second)), new Set([2]));
    assert.equal(source.loads, 2);
  });

  test("a load takes no turn for what runs around another one that came in the same turn of the loop", async () => {
    world.down();
    const cache = process({ maxConcurrentLoads: 1 });
    const gate = deferred();
    let running = 0;
    let most = 0;
    const load = async (): Promise<void> => {
      most = Math.max(most, ++running);
      await turn();
      running--;
    };
    const outer = cache.getOrSet("outer", () => gate.promise.then(() => cache.getOrSet("inner", () => 1)));
    await settle();
    const others = Array.from({ length: 20 }, async (_, index) => {
      await gate.promise;
      await cache.getOrSet(`k${index}`, load);
    });
    gate.resolve();
    await Promise.all([outer, ...others]);
    assert.equal(most, 1);
  });

  test("who finds out that the server cannot be asked just when a load past it ends is answered by the next one", async () => {
    const asked: Deferred<never>[] = [];
    const read = (key: string): Promise<Reading> => {
      if (key !== "n=k") return Promise.resolve({ kind: "absent" });
      const answer = deferred<never>();
      asked.push(answer);
      return answer.promise;
    };
    const cache = process({ backend: { ...none(), read, reach: "fleet" } });
    const source = new Source();
    const early = cache.getOrSet("k", source.slow);
    await settle();
    const late = cache.getOrSet("k", source.slow);
    await settle();
    asked[0]?.reject(new Error("down"));
    await settle();
    // Between the answer to the first and the end of its round.
    void early.then(() => asked[1]?.reject(new Error("down")));
    source.ends[0]?.resolve();
    await settle();
    assert.equal(await early, 1);
    asked[2]?.reject(new Error("down"));
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await Promise.race([late, settle().then(() => "nothing")]), 1);
  });

  test("without a backend at most maxConcurrentLoads run at a time, also when loads are nested", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 2, clock });
    let running = 0;
    let most = 0;
    const load = async (): Promise<number> => {
      most = Math.max(most, ++running);
      await turn();
      running--;
      return 1;
    };
    await Promise.all(Array.from({ length: 10 }, (_, index) => cache.getOrSet(`k${index}`, load)));
    assert.equal(most, 2);
    const nested = (depth: number): Promise<number> =>
      cache.getOrSet(`nested${depth}`, () => (depth === 0 ? 0 : nested(depth - 1)));
    assert.equal(await nested(5), 0);
  });

  test("a load that is wanted inside another one does not wait for that one's turn", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 1, clock });
    const gate = deferred();
    const inner = (version?: number): Promise<number> => cache.getOrSet("inner", () => 2, version ? { version } : {});
    const outer = cache.getOrSet("outer", () => gate.promise.then(() => Promise.all([inner(), inner(3)])));
    await settle();
    const queued = inner();
    await settle();
    gate.resolve();
    assert.deepEqual(await Promise.all([outer, queued]), [[2, 2], 2]);
  });

  test("a load whose callers have all gone does not begin when its turn comes", async () => {
    const cache = process({ backend: none(), maxConcurrentLoads: 1 });
    const source = new Source();
    const first = cache.getOrSet("first", source.slow);
    const controller = new AbortController();
    const gone = assert.rejects(cache.getOrSet("gone", source.quick, { signal: controller.signal }), {
      code: "EF_ABORTED",
    });
    const stays = cache.getOrSet("stays", source.quick);
    await settle();
    controller.abort();
    await gone;
    source.ends[0]?.resolve();
    assert.deepEqual(await Promise.all([first, stays]), [1, 1]);
    assert.equal(source.loads, 2);
  });

  test("a load whose turn does not come is given up like one that does not end", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 1, hardTimeout: "200ms", clock });
    const all = Array.from({ length: 10 }, (_, index) =>
      assert.rejects(
        cache.getOrSet(`k${index}`, () => new Promise(() => {})),
        { code: "EF_LOAD_TIMEOUT" },
      ),
    );
    await advance(450);
    await Promise.all(all);
    assert.equal(await cache.getOrSet("k0", () => "next"), "next");
  });
});
