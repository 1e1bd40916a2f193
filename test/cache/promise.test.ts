/**
 * The promise, one interleaving at a time: a read that starts after an acknowledged invalidation never returns a
 * value computed from what the source held before it. `docs/promise.md` draws each of these.
 */
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, describe, test } from "node:test";
import { createCache, memory, metaBackend, none, type Cache, type CacheOptions, type Reading } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { deferred, type Deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";

let world: FakeMemcached;
let clock: ManualClock;
let a: Cache;
let b: Cache;

/** One process: a client, a cache, nothing shared with others. */
function process(options: Partial<CacheOptions> = {}): Cache {
  return createCache({
    backend: metaBackend(world.client()),
    namespace: "n",
    clock,
    random: seededRandom(number++),
    ...options,
  });
}
let number = 1;

const failing = (): Promise<number> => Promise.reject(new Error("no database"));

/** A source that is read slowly: each load sees what the source held when it began. */
class Source {
  value = 1;
  loads = 0;
  readonly ends: Deferred<void>[] = [];
  readonly slow = async (): Promise<number> => {
    this.loads++;
    const seen = this.value;
    const end = deferred();
    this.ends.push(end);
    await end.promise;
    return seen;
  };
  readonly quick = (): number => {
    this.loads++;
    return this.value;
  };
}

/** Lets everything happen that needs no time. */
async function settle(): Promise<void> {
  for (let count = 0; count < 20; count++) await turn();
}

async function advance(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    world.nowMs += Math.min(left, 50);
    await clock.advance(Math.min(left, 50));
  }
}

/** Another process invalidates `k` while answers are held back, and is told that it is done. */
async function invalidateWhileHeld(): Promise<void> {
  const invalidation = b.invalidate("k");
  await settle();
  await world.run("md n=k");
  await world.run("md n*0=k");
  await invalidation;
}

beforeEach(() => {
  world = new FakeMemcached();
  clock = new ManualClock();
  a = process();
  b = process();
});

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

  test("who joined a load after it began starts over when the key was invalidated meanwhile", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    source.value = 2;
    await b.invalidate("k");
    const late = a.getOrSet("k", source.slow);
    await settle();
    source.ends[0]?.resolve();
    assert.equal(await early, 1);
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await late, 2);
    assert.equal(await b.get("k"), 2);
  });

  test("who joined a load after it began starts over when one of its tags was invalidated meanwhile", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow, { tags: ["t"] });
    await settle();
    source.value = 2;
    await b.invalidateTags(["t"]);
    const late = a.getOrSet("k", source.slow, { tags: ["t"] });
    await settle();
    source.ends[0]?.resolve();
    assert.equal(await early, 1);
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await late, 2);
  });

  test("who joined a load after it began starts over when the namespace was cleared meanwhile", async () => {
    const source = new Source();
    const early = a.getOrSet("k", source.slow);
    await settle();
    source.value = 2;
    await b.clear();
    const late = a.getOrSet("k", source.slow);
    await settle();
    source.ends[0]?.resolve();
    assert.equal(await early, 1);
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await late, 2);
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

describe("tags", () => {
  test("generations are read before the load: a tag that changes during it makes the value a miss", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow, { tags: ["t"] });
    await settle();
    await b.invalidateTags(["t"]);
    source.ends[0]?.resolve();
    await reading;
    await settle();
    const answer = await b.getEntry("k");
    assert.deepEqual([answer.value, answer.why], [undefined, "tag t"]);
  });

  test("a missing tag is a miss, and two who create it agree", async () => {
    await a.getOrSet("k", () => 1, { tags: ["t"] });
    world.evict("n#t");
    assert.equal((await a.getEntry("k")).why, "tag t");
    const [one, two] = await Promise.all([
      a.getOrSet("x", () => 1, { tags: ["t"] }),
      b.getOrSet("y", () => 2, { tags: ["t"] }),
    ]);
    assert.deepEqual([one, two], [1, 2]);
    await settle();
    assert.deepEqual([await b.get("x"), await a.get("y")], [1, 2]);
  });

  test("an attempt to invalidate a tag that arrives late does not bring an old generation back", async () => {
    const source = new Source();
    await a.getOrSet("k", source.quick, { tags: ["t"] });
    world.hold();
    const invalidation = b.invalidateTags(["t"]);
    await settle();
    await world.fail("ms n#t");
    world.release();
    await advance(100);
    await invalidation;
    const sets = world.log.filter((text) => text === "ms n#t").length;
    source.value = 2;
    assert.equal(await a.getOrSet("k", source.quick, { tags: ["t"] }), 2);
    assert.equal(sets, 2, "one creates it, one confirms the invalidation");
  });

  test("tags that a loader adds guard its value from the next computation on", async () => {
    let value = 1;
    const entry = { loads: 0 };
    const read = (): Promise<number> =>
      a.getOrSet("k", (context) => {
        entry.loads++;
        context.addTags(["added"]);
        return value;
      });
    await read();
    await settle();
    assert.equal(await b.get("k"), undefined, "not stored: the tag was not known before");
    await read();
    await read();
    assert.equal(entry.loads, 2);
    value = 2;
    await b.invalidateTags(["added"]);
    assert.equal(await read(), 2);
  });
});

describe("servers that fail", () => {
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

  test("an invalidation that no server confirms is pending, and nothing is read from that server before", async () => {
    await a.getOrSet("k", () => "old");
    world.down();
    const rejected = assert.rejects(a.invalidate("k"), { code: "EF_INVALIDATION_PENDING", server: "fake:1" });
    await advance(2_100);
    await rejected;
    assert.equal(a.health().servers[0]?.pendingInvalidations, 1);
    world.log.length = 0;
    world.up();
    const answer = await a.getOrSetEntry("k", () => "new");
    assert.deepEqual([answer.value, answer.status, answer.why], ["new", "bypass", "pending"]);
    assert.deepEqual(world.log, [], "the server has the old value still and was not asked");
    await advance(4_000);
    assert.equal(world.log[0], "md n=k");
    assert.equal(a.health().servers[0]?.pendingInvalidations, 0);
    assert.equal(await a.getOrSet("k", () => "from the source"), "from the source");
  });

  test("a caller's signal ends its waiting for the invalidation of a refresh, which goes on", async () => {
    await a.set("k", 1);
    world.down();
    const controller = new AbortController();
    const { signal } = controller;
    const rejected = Promise.all([
      assert.rejects(
        a.refresh("k", () => 2, { signal }),
        { code: "EF_ABORTED" },
      ),
      assert.rejects(
        a.getOrSetMany(["k"], () => [2], { signal, forceFresh: true }),
        { code: "EF_ABORTED" },
      ),
    ]);
    await settle();
    controller.abort();
    await rejected;
    world.up();
    await advance(3_000);
    assert.equal(await b.get("k"), undefined);
    assert.equal(a.health().servers[0]?.pendingInvalidations, 0);
  });

  test("an invalidation that is repeated while its first attempt is on the way is confirmed by a later one", async () => {
    world.down();
    const first = a.invalidate("k");
    await advance(50);
    world.up();
    world.hold();
    await advance(200);
    await world.execute("md n=k");
    await world.run("md n*0=k");
    // The first attempt was executed. What is asked now must be executed after now.
    const second = a.invalidate("k");
    await settle();
    await world.run("md n=k");
    await first;
    assert.equal(await Promise.race([second, turn("open")]), "open");
    await world.run("md n=k");
    await world.run("md n*0=k");
    await second;
  });

  test("what is to be deleted is not kept as stale because it was invalidated, too, before its server was back", async () => {
    const relaxed = { staleWhileRevalidate: "1h" } as const;
    await a.set("k", "old");
    world.down();
    const pending = { code: "EF_INVALIDATION_PENDING" };
    const calls = [a.delete("k"), a.invalidate("k", relaxed)].map(async (call) => await assert.rejects(call, pending));
    await advance(2_500);
    await Promise.all(calls);
    world.up();
    await advance(3_000);
    const { value, status } = await b.getOrSetEntry("k", () => "new", relaxed);
    assert.deepEqual([value, status], ["new", "miss"]);
  });

  test("a set that fails does not leave the value from before", async () => {
    await a.set("k", "old");
    world.hold();
    const setting = a.set("k", "new");
    await settle();
    await world.run("mg n!0");
    await world.fail("ms n=k");
    world.release();
    assert.equal(await setting, false);
    assert.equal(await b.get("k"), undefined);
  });

  test("a tag whose server is down makes its values misses, and their loads are shared", async () => {
    world = new FakeMemcached(["fake:1", "fake:2"]);
    a = process();
    const tag = ["t0", "t1", "t2", "t3"].find((name) => world.serverOf(`n#${name}`) !== world.serverOf("n=k")) ?? "";
    await a.getOrSet("k", () => "old", { tags: [tag] });
    world.down(world.serverOf(`n#${tag}`));
    const answer = await a.getOrSetEntry("k", () => "new", { tags: [tag] });
    assert.deepEqual([answer.value, answer.status], ["new", "bypass"]);
  });

  test("a value whose tag cannot be asked about is not replaced by a write for which nothing must be there", async () => {
    world = new FakeMemcached(["fake:1", "fake:2"]);
    a = process();
    const tag = ["t0", "t1", "t2", "t3"].find((name) => world.serverOf(`n#${name}`) !== world.serverOf("n=k")) ?? "";
    await a.set("k", 7, { tags: [tag] });
    world.down(world.serverOf(`n#${tag}`));
    assert.equal(await a.add("k", 1), false);
    const down = { code: "EF_SERVER_DOWN" };
    await assert.rejects(a.incr("k", 1, { initial: 1 }), down);
    await assert.rejects(
      a.update("k", (value: number) => value + 1),
      down,
    );
    await assert.rejects(a.touch("k", "1h"), down);
    world.up(world.serverOf(`n#${tag}`));
    assert.equal(await a.incr("k", 1, { initial: 1 }), 8);
  });

  test("previous servers are invalidated, too", async () => {
    const before = new FakeMemcached(["old:1"]);
    const old = createCache({ backend: metaBackend(before.client()), namespace: "n", clock });
    const backend = metaBackend(world.client(), { previous: metaBackend(before.client()) });
    const cache = createCache({ backend, namespace: "n", clock });
    await old.getOrSet("k", () => "old", { tags: ["t"] });
    await old.getOrSet("l", () => "old", { tags: ["t"] });
    await old.getOrSet("m", () => "old");
    await cache.invalidate("k");
    assert.equal(await old.get("k"), undefined);
    await cache.invalidateTags(["t"]);
    assert.equal(await old.get("l"), undefined);
    await cache.clear();
    assert.equal(await old.get("m"), undefined);
  });

  test("the health of a server that is in both sets is told once", () => {
    const before = new FakeMemcached(["fake:1", "old:1"]);
    const backend = metaBackend(world.client(), { previous: metaBackend(before.client()) });
    const { servers } = createCache({ backend, namespace: "n", clock }).health();
    assert.deepEqual(
      servers.map(({ name }) => name),
      ["fake:1", "old:1"],
    );
  });

  test("what is set is there on the current servers and gone from the previous ones", async () => {
    const before = new FakeMemcached(["old:1"]);
    const old = createCache({ backend: metaBackend(before.client()), namespace: "n", clock });
    const backend = metaBackend(world.client(), { previous: metaBackend(before.client()) });
    const cache = createCache({ backend, namespace: "n", clock });
    await old.set("k", "old");
    assert.equal(await cache.set("k", "new"), true);
    assert.equal(await cache.get("k"), "new");
    assert.equal(await old.get("k"), undefined);
  });

  test("what is added, counted, changed or removed here is gone from the previous servers", async () => {
    const before = new FakeMemcached(["old:1"]);
    const old = createCache({ backend: metaBackend(before.client()), namespace: "n", clock });
    const backend = metaBackend(world.client(), { previous: metaBackend(before.client()) });
    const cache = createCache({ backend, namespace: "n", clock });
    const writes: [string, () => Promise<unknown>][] = [
      ["add", () => cache.add("add", 1)],
      ["incr", () => cache.incr("incr")],
      ["incr with initial", () => cache.incr("incr with initial", 1, { initial: 1 })],
      ["touch", () => cache.touch("touch", "1h")],
      ["update", () => cache.update("update", () => 2)],
      ["remove", async () => (await cache.update("remove", () => undefined)) === undefined],
    ];
    for (const [key, write] of writes) {
      if (!key.startsWith("add") && key !== "incr with initial") await cache.set(key, 1);
      await old.set(key, "old");
      assert.ok(await write(), key);
      assert.equal(await old.get(key), undefined, key);
    }
    assert.deepEqual(await Promise.all(writes.map(([key]) => cache.get(key))), [1, 2, 1, 1, 2, undefined]);
  });

  test("a plain write reaches what other servers' users made from a key that has not moved, whose page has", async () => {
    world = new FakeMemcached(Array.from({ length: 7 }, (_, at) => `s:${at}`));
    const home = world.serverOf("n!0");
    const key = Array.from({ length: 100 }, (_, at) => `k${at}`).find(
      (name) => world.serverOf(`n=${name}`) === home && world.serverOf(`n*0=${name}`) !== home,
    ) as string;
    const client = world.client();
    const only = {
      ...client,
      serverOf: () => home,
      servers: () => client.servers().filter(({ name }) => name === home),
    };
    const old = createCache({ backend: metaBackend(only), namespace: "n", clock });
    const backend = metaBackend(world.client(), { previous: metaBackend(only) });
    const cache = createCache({ backend, namespace: "n", clock });
    const page = (): Promise<unknown> => old.getOrSet("page", () => old.get(key), { collects: true });
    await cache.set(key, 1);
    for (const write of [() => cache.set(key, 2), () => cache.incr(key), () => cache.update(key, () => undefined)]) {
      assert.equal(await page(), await cache.get(key));
      await write();
      await settle();
      assert.equal(await page(), await cache.get(key), String(write));
    }
  });

  test("what is set stays where the set of servers has changed and the key has not moved", async () => {
    const backend = metaBackend(world.client(), { previous: metaBackend(world.client()) });
    const cache = createCache({ backend, namespace: "n", clock });
    assert.equal(await cache.set("k", "new"), true);
    assert.equal(await cache.get("k"), "new");
  });
});

describe("what is read", () => {
  test("bytes that are no envelope, and another key under the same digest, are misses", async () => {
    world.plant("n=k", Buffer.from("what pylibmc left"));
    const answer = await a.getOrSetEntry("k", () => "computed");
    assert.deepEqual([answer.value, answer.why], ["computed", "undecodable"]);
    assert.equal(await b.get("k"), "computed");

    const long = "x".repeat(300);
    await a.set(long, "mine");
    const wire = world.log.findLast((text) => text.startsWith("ms n~="))?.slice(3) ?? "";
    const bytes = Buffer.from(world.peek(wire) ?? "");
    bytes[bytes.indexOf(long)] = "y".charCodeAt(0);
    world.plant(wire, bytes);
    assert.equal((await a.getEntry(long)).why, "collision");
    assert.equal(await a.getOrSet(long, () => "again"), "again");
  });

  test("every damage to the bytes is a miss or the same value, never an exception", async () => {
    const value = { date: new Date(1), list: [1, 2, 3] };
    await a.set("k", value, { tags: ["t", "u"] });
    const bytes = Buffer.from(world.peek("n=k") ?? "");
    for (let length = 0; length < bytes.length; length++) {
      world.plant("n=k", bytes.subarray(0, length));
      assert.equal(await a.get("k"), undefined, `cut after ${length}`);
    }
    for (let index = 0; index < 60; index++) {
      const damaged = Buffer.from(bytes);
      damaged[index] = (damaged[index] ?? 0) ^ 0xff;
      world.plant("n=k", damaged);
      await a.getEntry("k");
    }
  });

  test("a value expires by the clock of its envelope, though the server still has it", async () => {
    await a.set("k", 1, { ttl: "1500ms" });
    await clock.advance(1_499);
    assert.equal(await a.get("k"), 1);
    await clock.advance(1);
    assert.equal((await a.getEntry("k")).why, "expired");
    assert.equal(await a.getOrSet("k", () => 2), 2);
  });

  test("jitter shortens the time to live, by no more than its fraction", async () => {
    const left: number[] = [];
    for (let index = 0; index < 50; index++) {
      await a.set(`k${index}`, 1, { ttl: "100s", jitter: 0.2 });
      left.push((await a.getEntry(`k${index}`)).ttlMs);
    }
    assert.ok(left.every((ttlMs) => ttlMs > 80_000 && ttlMs <= 100_000));
    assert.ok(new Set(left).size > 40);
  });
});

describe("what users bring along and what goes wrong in it", () => {
  test("a loader runs in the async context of the caller who brought it", async () => {
    const request = new AsyncLocalStorage<string>();
    const local = createCache({ backend: memory(), clock });
    const without = createCache({ backend: none(), clock });
    for (const cache of [a, local, without]) {
      const who = (key: string) => async (): Promise<string | undefined> =>
        await request.run(key, () => cache.getOrSet(key, () => request.getStore()));
      const many = async (keys: string[]): Promise<unknown[]> =>
        await request.run(keys.join(), async () => {
          const found = await cache.getOrSetMany(keys, (missing) => missing.map(() => request.getStore()));
          return [...found.values()];
        });
      const names = ["anna", "bert", "carl"];
      assert.deepEqual(await Promise.all(names.map((name) => who(name)())), names);
      assert.deepEqual(await Promise.all([many(["d", "e"]), many(["f", "g"])]), [
        ["d,e", "d,e"],
        ["f,g", "f,g"],
      ]);
    }
  });

  test("who starts over brings its context along", async () => {
    const request = new AsyncLocalStorage<string>();
    const end = deferred();
    const load = async (): Promise<string | undefined> => {
      await end.promise;
      return request.getStore();
    };
    const early = request.run("early", () => a.getOrSet("k", load));
    await settle();
    await b.invalidate("k");
    const late = request.run("late", () => a.getOrSet("k", load));
    await settle();
    end.resolve();
    assert.deepEqual([await early, await late], ["early", "late"]);
  });

  test("a serializer that throws on reading is a miss, and on writing hands the value out unstored", async () => {
    let broken = false;
    const serializer = {
      encode(value: unknown): Uint8Array {
        if (broken) throw new Error("cannot encode");
        return Buffer.from(JSON.stringify(value));
      },
      decode(bytes: Uint8Array): unknown {
        if (broken) throw new Error("cannot decode");
        return JSON.parse(Buffer.from(bytes).toString());
      },
    };
    const cache = process({ serializer });
    assert.deepEqual(await cache.getOrSet("k", () => ({ a: 1 })), { a: 1 });
    assert.deepEqual(await cache.get("k"), { a: 1 });
    broken = true;
    assert.equal((await cache.getEntry("k")).why, "undecodable");
    assert.deepEqual(await Promise.all([1, 2].map(() => cache.getOrSet("k", () => ({ a: 2 })))), [{ a: 2 }, { a: 2 }]);
    await assert.rejects(cache.set("k", 1), /cannot encode/);
  });

  test("a serializer that is none is refused, and one that answers with no bytes hands the value out unstored", async () => {
    for (const wrong of [{}, null, { encode: () => Buffer.from("") }, 5])
      assert.throws(() => process({ serializer: wrong as never }), { code: "EF_OPTION", message: /of the serializer/ });
    for (const answer of [Promise.resolve(Buffer.from("1")), undefined, {}, [1, 2]]) {
      const cache = process({ serializer: { encode: () => answer as never, decode: () => 1 } });
      assert.equal(await cache.getOrSet("k", () => 2), 2);
      assert.equal(await cache.get("k"), undefined);
      await assert.rejects(cache.set("k", 1), { code: "EF_VALUE", message: /bytes, at once; got / });
    }
  });

  test("a serializer that fails between two callers of one value fails the second, and nobody waits for ever", async () => {
    let decodes = 0;
    const serializer = {
      encode: (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value)),
      decode(bytes: Uint8Array): unknown {
        if (++decodes > 1) throw new Error("only once");
        return JSON.parse(Buffer.from(bytes).toString());
      },
    };
    const cache = process({ serializer });
    await a.set("unrelated", 1);
    const results = await Promise.allSettled([1, 2].map(() => cache.getOrSet("k", () => ({ a: 1 }))));
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected"],
    );
  });

  test("a schema that would have to be waited for is refused", async () => {
    await a.set("k", 1);
    const schema = { "~standard": { validate: () => Promise.resolve({}) } };
    await assert.rejects(
      a.getOrSet("k", () => 1, { schema }),
      { code: "EF_OPTION" },
    );
  });

  test("a key or a tag that holds half of a surrogate pair is refused, for UTF-8 has none", async () => {
    const half = "user:\u{1f600}".slice(0, 6);
    await assert.rejects(a.set(half, 1), { code: "EF_KEY", message: /surrogate/ });
    await assert.rejects(a.get(half), { code: "EF_KEY" });
    await assert.rejects(a.set("k", 1, { tags: [half] }), { code: "EF_OPTION", message: /surrogate/ });
    assert.equal(await a.set("user:\u{1f600}", 1, { tags: ["\u{1f600}"] }), true);
    assert.equal(await a.get("user:\u{1f600}"), 1);
  });

  test("a key of more than 16,384 characters is refused, and one of exactly so many works", async () => {
    await assert.rejects(
      a.getOrSet("k".repeat(16_385), () => 1),
      { code: "EF_KEY" },
    );
    assert.equal(await a.getOrSet("ö".repeat(16_384), () => 1), 1);
    assert.equal(await a.get("ö".repeat(16_384)), 1);
  });
});

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
    world = new FakeMemcached(["fake:1", "fake:2"]);
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

  test("after the soft timeout a stale value is served where one is allowed, and the loader goes on", async () => {
    const options = { ttl: "10s", staleIfError: "1h", timeout: "100ms" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(11_000);
    source.value = 2;
    const reading = a.getOrSetEntry("k", source.slow, options);
    await advance(150);
    assert.deepEqual(await reading.then(({ value, why }) => [value, why]), [1, "timeout"]);
    source.ends[0]?.resolve();
    await settle();
    assert.equal(await b.get("k"), 2);
  });

  test("the soft timeout is each caller's own, whoever computes", async () => {
    const options = { ttl: "10s", staleIfError: "1h" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(11_000);
    source.value = 2;
    const patient = a.getOrSetEntry("k", source.slow, options);
    const soft = { ...options, timeout: "100ms" } as const;
    const sameTurn = a.getOrSetEntry("k", source.slow, soft);
    await settle();
    const hasty = [sameTurn, a.getOrSetEntry("k", source.slow, soft), b.getOrSetEntry("k", source.slow, soft)];
    await advance(150);
    for (const answer of await Promise.all(hasty)) assert.deepEqual([answer.value, answer.why], [1, "timeout"]);
    source.ends[0]?.resolve();
    assert.equal((await patient).value, 2);
    assert.equal(source.loads, 2);
  });

  test("after the hard timeout the loader is given up, its signal fires, and the next caller may try", async () => {
    let aborted = false;
    const reading = a.getOrSet(
      "k",
      ({ signal }) =>
        new Promise(() => {
          signal.addEventListener("abort", () => (aborted = true));
        }),
      { hardTimeout: "1s" },
    );
    const rejected = assert.rejects(reading, { code: "EF_LOAD_TIMEOUT" });
    await advance(1_100);
    await rejected;
    assert.ok(aborted);
    assert.equal(await b.getOrSet("k", () => "next"), "next");
  });

  test("when the cache is closed the signals of its loaders fire, with the server and without", async () => {
    const cache = process({ backend: memory() });
    const without = process({ backend: none() });
    const loaders: AbortSignal[] = [];
    const load = ({ signal }: { signal: AbortSignal }): Promise<string> => {
      loaders.push(signal);
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve("aborted")));
    };
    const reading = [
      cache.getOrSet("k", load),
      cache.namespace("below").getOrSet("k", load),
      without.getOrSet("k", load),
    ];
    await settle();
    assert.deepEqual(
      loaders.map(({ aborted }) => aborted),
      [false, false, false],
    );
    await Promise.all([cache.close(), without.close()]);
    assert.deepEqual(await Promise.all(reading), ["aborted", "aborted", "aborted"]);
    assert.deepEqual(
      loaders.map(({ reason }) => (reason as { code: string }).code),
      ["EF_CLOSED", "EF_CLOSED", "EF_CLOSED"],
    );
  });

  test("refreshAhead computes once in the fleet before the value expires, and nobody waits for it", async () => {
    const options = { ttl: "60s", refreshAhead: "20s" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(45_000);
    source.value = 2;
    const hits = await Promise.all([a, b, a, b].map((cache) => cache.getOrSetEntry("k", source.slow, options)));
    assert.ok(hits.every(({ value, status }) => value === 1 && status === "hit"));
    await settle();
    assert.equal(source.loads, 2);
    source.ends[0]?.resolve();
    await settle();
    assert.equal(await b.get("k"), 2);
  });

  test("a value that expires while it is refreshed ahead is not computed a second time beside that", async () => {
    const options = { ttl: "10s", refreshAhead: "2s", staleWhileRevalidate: "1h" } as const;
    const source = new Source();
    await a.getOrSet("k", source.quick, options);
    await advance(8_500);
    source.value = 2;
    assert.equal(await a.getOrSet("k", source.slow, options), 1);
    await advance(2_000);
    const stale = await a.getOrSetEntry("k", source.slow, options);
    assert.deepEqual([stale.value, stale.status, stale.why], [1, "stale", "expired"]);
    const strict = a.getOrSet("k", source.slow, { ttl: "10s" });
    await settle();
    assert.equal(source.loads, 2);
    source.ends[0]?.resolve();
    assert.equal(await strict, 2);
    assert.equal(await b.get("k"), 2);
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

describe("the in-process tier", () => {
  test("asks on every read, without the bytes, and sees what another process invalidated", async () => {
    const near = process({ local: true });
    const source = new Source();
    await near.getOrSet("k", source.quick, { tags: ["t"] });
    assert.equal(await near.getOrSet("k", source.quick, { tags: ["t"] }), 1);
    source.value = 2;
    await b.invalidate("k");
    assert.equal(await near.getOrSet("k", source.quick, { tags: ["t"] }), 2);
    source.value = 3;
    await b.invalidateTags(["t"]);
    assert.equal(await near.getOrSet("k", source.quick, { tags: ["t"] }), 3);
    source.value = 4;
    await b.clear();
    assert.equal(await near.getOrSet("k", source.quick, { tags: ["t"] }), 4);
  });

  test("does not trust a number from before a restart", async () => {
    const near = process({ local: true });
    await near.getOrSet("k", () => "old");
    world.restart();
    // The same number again, for another value.
    assert.equal(await b.getOrSet("k", () => "new"), "new");
    assert.equal(await near.getOrSet("k", () => "computed"), "new");
  });

  test("with maxAge does not ask for that long, except about what this process invalidated itself", async () => {
    const near = process({ local: { maxAge: "250ms" } });
    const source = new Source();
    const read = (): Promise<number> => near.getOrSet("k", source.quick, { tags: ["t"] });
    await read();
    world.log.length = 0;
    source.value = 2;
    await b.invalidate("k");
    assert.equal(await read(), 1, "the relaxation that was asked for");
    await clock.advance(250);
    assert.equal(await read(), 2);
    source.value = 3;
    await near.invalidate("k");
    assert.equal(await read(), 3);
    source.value = 4;
    await near.invalidateTags(["t"]);
    assert.equal(await read(), 4);
  });

  test("with maxAge does not ask for who brings a signal either, unless that has fired", async () => {
    const near = process({ local: { maxAge: "250ms" } });
    const controller = new AbortController();
    const { signal } = controller;
    const read = (given: AbortSignal): Promise<number> => near.getOrSet("k", () => 1, { signal: given });
    await read(signal);
    await settle();
    world.log.length = 0;
    assert.equal(await read(signal), 1);
    assert.deepEqual(world.log, []);
    controller.abort();
    await assert.rejects(read(signal), { code: "EF_ABORTED" });
    await assert.rejects(read({ aborted: false } as AbortSignal), { code: "EF_OPTION" });
  });

  test("keeps no value that is larger than all of it, and nothing gives way to one", async () => {
    const near = process({ local: { maxAge: "10s", limitBytes: 10_000 } });
    const large = "x".repeat(20_000);
    for (const key of ["k", "large", "k", "large"]) await near.getOrSet(key, () => (key === "k" ? "small" : large));
    world.log.length = 0;
    assert.equal(await near.getOrSet("k", () => "computed"), "small");
    assert.deepEqual(world.log, []);
    assert.equal(await near.getOrSet("large", () => "computed"), large);
    assert.notDeepEqual(world.log, []);
  });

  test("keeps what was read in memory of its own, not in a pool that is no part of its limit", async () => {
    const near = process({ local: true });
    const bytes = Buffer.from("small");
    await a.set("k", bytes);
    const read = (): Promise<Buffer> => near.getOrSet("k", () => bytes, { shared: true });
    await read();
    assert.ok((await read()).buffer.byteLength < 200);
  });

  test("keeps what is new also where everything else was read lately", async () => {
    const near = process({ local: { maxAge: "10s", limitEntries: 2 } });
    const read = (key: string): Promise<number> => near.getOrSet(key, () => 1);
    for (const key of ["a", "b", "a", "b", "new"]) await read(key);
    await settle();
    world.log.length = 0;
    await read("new");
    assert.deepEqual(world.log, []);
  });

  test("refuses limits that are none", () => {
    const wrong = [{ limitEntries: -1 }, { limitEntries: 0 }, { limitBytes: Number.NaN }, { limitBytes: 1.5 }];
    for (const local of [...wrong, { maxAge: 5 as never }, { maxage: "5s" }, "on" as never])
      assert.throws(() => process({ local }), { code: "EF_OPTION" }, JSON.stringify(local));
  });

  test("with maxAge asks about what a read has brought back that crossed an invalidation which is pending", async () => {
    const near = process({ local: { maxAge: "10s" } });
    const source = new Source();
    const read = (): Promise<number> => near.getOrSet("k", source.quick);
    await near.getOrSet("other", () => 1);
    await b.getOrSet("k", source.quick);
    world.hold();
    const slow = read();
    await settle();
    await world.execute("mg n=k");
    source.value = 2;
    const rejected = assert.rejects(near.invalidate("k"), { code: "EF_INVALIDATION_PENDING" });
    await settle();
    await world.fail("md n=k");
    await world.run("md n*0=k");
    // The slow read is answered only now.
    await world.run("mg n!0");
    await world.run("mg n=k");
    assert.equal(await slow, 1);
    assert.equal(await read(), 2, "while it is pending");
    await advance(2_100);
    await rejected;
    assert.equal(await read(), 2, "after the call was told so");
    world.release();
    await advance(4_000);
    assert.equal(near.health().servers[0]?.pendingInvalidations, 0);
    assert.equal(await read(), 2, "when it was delivered late");
  });

  test("with maxAge asks about what a read has brought back that crossed an invalidation and waited for its tag", async () => {
    world = new FakeMemcached(["fake:1", "fake:2", "fake:3"]);
    const near = process({ local: { maxAge: "10s" } });
    const source = new Source();
    const tags = Array.from({ length: 100 }, (_, at) => `tag${at}`).filter(
      (name) => world.serverOf(`n#${name}`) !== world.serverOf("n=k"),
    );
    const read = (): Promise<number> => near.getOrSet("k", source.quick, { tags: tags.slice(0, 1) });
    await process().getOrSet("k", source.quick, { tags: tags.slice(0, 1) });
    world.hold();
    const [early, second] = [read(), settle().then(read)];
    await settle();
    await settle();
    for (const start of ["mg n=k", "mg n!", "mg n=k", "mg n!"]) await world.run(start);
    source.value = 2;
    const invalidation = near.invalidate("k");
    await settle();
    await world.run("md n=k");
    await world.run("md n*");
    await invalidation;
    world.release();
    assert.deepEqual(await Promise.all([early, second]), [1, 1]);
    assert.equal(await read(), 2);
    assert.equal(await read(), 2);
  });

  test("with maxAge asks about what was made from what this process invalidated, in whatever namespace", async () => {
    const near = process({ local: { maxAge: "10s" } });
    const eu = near.namespace("eu");
    const source = new Source();
    const page = (of: Cache): Promise<string> => {
      const inner = (): Promise<number> => of.getOrSet("k", source.quick, { tags: ["t"] });
      return near.getOrSet(`page of ${of.name}`, async () => `page of ${await inner()}`, { collects: true });
    };
    const ways: [of: Cache, write: (of: Cache) => Promise<unknown>][] = [
      [near, (of) => of.invalidate("k")],
      [near, (of) => of.set("k", source.value)],
      [eu, (of) => of.invalidate("k")],
      [eu, (of) => of.invalidateTags(["t"])],
      [eu, (of) => of.clear()],
    ];
    for (const [of, write] of ways) {
      await page(of);
      await settle();
      world.log.length = 0;
      assert.equal(await page(of), `page of ${source.value}`);
      assert.deepEqual(world.log, []);
      source.value++;
      await write(of);
      assert.equal(await page(of), `page of ${source.value}`, `${of.name}: ${String(write)}`);
    }
  });

  test("with maxAge asks about what this process has changed or removed itself", async () => {
    const near = process({ local: { maxAge: "10s" } });
    const read = (): Promise<unknown> => near.getOrSet("k", () => "computed");
    await near.set("k", 1);
    assert.equal(await read(), 1);
    await near.update("k", () => undefined);
    assert.equal(await read(), "computed");
    await b.delete("k");
    assert.equal(await near.add("k", 2), true);
    assert.equal(await read(), 2);
  });

  test("with maxAge trusts what is the same item only when its tags were found current, too", async () => {
    world = new FakeMemcached(["fake:1", "fake:2", "fake:3"]);
    const near = process({ local: { maxAge: "10s" } });
    const far = process();
    const source = new Source();
    const tag = Array.from({ length: 100 }, (_, at) => `tag${at}`).find(
      (name) => world.serverOf(`n#${name}`) !== world.serverOf("n=k"),
    );
    const read = (): Promise<number> => near.getOrSet("k", source.quick, { tags: [tag as string] });
    await read();
    await near.invalidateTags(["another"]);
    source.value = 2;
    await far.invalidateTags([tag as string]);
    world.hold();
    const asking = read();
    await settle();
    await world.run("mg n=k");
    await world.run("mg n!");
    // The item is the same; its tag has not answered yet.
    const second = read();
    await settle();
    world.release();
    assert.deepEqual(await Promise.all([asking, second]), [2, 2]);
  });

  test("with maxAge does not ask about a key that is a digest on the wire either, and never takes another's value for it", async () => {
    const near = process({ local: { maxAge: "250ms" } });
    const [long, other] = ["ö".repeat(300), "ö".repeat(301)];
    await near.getOrSet(long, () => "long");
    await settle();
    world.log.length = 0;
    assert.equal(await near.getOrSet(long, () => "again"), "long");
    assert.deepEqual(world.log, []);
    assert.equal(await near.getOrSet(other, () => "other"), "other");
  });

  test("with maxAge counts from when the server was asked, not from when its answer came", async () => {
    const near = process({ local: { maxAge: "250ms" } });
    const source = new Source();
    const read = (): Promise<number> => near.getOrSet("k", source.quick);
    await b.getOrSet("k", source.quick);
    world.hold();
    const slow = read();
    await settle();
    await world.execute("mg n!0");
    await world.execute("mg n=k");
    source.value = 2;
    await invalidateWhileHeld();
    await clock.advance(1_000);
    world.release();
    assert.equal(await slow, 1);
    await settle();
    assert.equal(await read(), 2);
  });

  test("with maxAge counts the age of what was computed from when its load began: its tag may have been invalidated since", async () => {
    const near = process({ local: { maxAge: "250ms" } });
    const source = new Source();
    const read = (): Promise<number> => near.getOrSet("k", source.slow, { tags: ["t"] });
    const first = read();
    await settle();
    source.value = 2;
    await b.invalidateTags(["t"]);
    await advance(1_000);
    source.ends[0]?.resolve();
    assert.equal(await first, 1);
    await settle();
    const second = read();
    await settle();
    source.ends[1]?.resolve();
    assert.equal(await second, 2);
  });
});
