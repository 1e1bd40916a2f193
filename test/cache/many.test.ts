/** Many keys at once: read, computed, invalidated and written. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { createCache, memory, none, type Backend, type LoadContext } from "everfresh";
import { deferred } from "../support/deferred.ts";
import { settle } from "../support/settle.ts";
import { world, clock, a, b, begin } from "./processes.ts";

beforeEach(() => begin(["fake:1", "fake:2", "fake:3"]));

/** Loads values that are kept for a short time, with a tag. */
function briefly(keys: readonly string[], context: LoadContext): readonly string[] {
  context.setTtl("10s");
  context.addTags(["t"]);
  return keys;
}

describe("getOrSetMany", () => {
  test("computes what is missing by one call, and stores each value under its own key", async () => {
    await a.set("one", "cached", { tags: ["tag one"] });
    const calls: (readonly string[])[] = [];
    const load = (keys: readonly string[]): Map<string, string> => {
      calls.push(keys);
      return new Map(keys.filter((key) => key !== "nobody").map((key) => [key, `new ${key}`]));
    };
    const values = await a.getOrSetMany(["one", "two", "three", "two", "nobody"], load, {
      tags: (key) => [`tag ${key}`],
    });
    assert.deepEqual(
      values,
      new Map([
        ["one", "cached"],
        ["two", "new two"],
        ["three", "new three"],
      ]),
    );
    assert.deepEqual(calls, [["two", "three", "nobody"]]);
    await b.invalidateTags(["tag two"]);
    assert.deepEqual(
      await b.getOrSetMany(["two", "three"], (keys) => keys.map((key) => `newer ${key}`)),
      new Map([
        ["two", "newer two"],
        ["three", "new three"],
      ]),
    );
  });

  test("waits for keys that another process computes, and computes the rest at once", async () => {
    const end = deferred();
    const other = b.getOrSet("busy", async () => {
      await end.promise;
      return "from b";
    });
    await settle();
    const calls: (readonly string[])[] = [];
    const many = a.getOrSetMany(["busy", "free"], (keys) => {
      calls.push(keys);
      return keys.map((key) => `from a: ${key}`);
    });
    await settle();
    assert.deepEqual(calls, [["free"]]);
    end.resolve();
    assert.equal(await other, "from b");
    await clock.advance(50);
    assert.deepEqual([...(await many).values()], ["from b", "from a: free"]);
  });

  test("is one call, too, where no server can be asked, and joins what this process computes already", async () => {
    for (const cache of [createCache({ backend: none(), maxConcurrentLoads: 1 }), createCache({ backend: memory() })]) {
      let calls = 0;
      const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
      const load = (wanted: readonly string[]): number[] => (calls++, wanted.map((key) => key.length));
      const values = await cache.getOrSetMany(keys, load);
      assert.equal(values.size, 50);
      assert.equal(calls, 1);
      await cache.close();
    }
  });

  test("without a backend takes a turn of maxConcurrentLoads, one for all of its keys", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 2, clock });
    let running = 0;
    let most = 0;
    const load = async (keys: readonly string[]): Promise<readonly string[]> => {
      most = Math.max(most, ++running);
      await settle();
      running--;
      return keys;
    };
    const all = Array.from({ length: 6 }, (_, index) => cache.getOrSetMany([`a${index}`, `b${index}`], load));
    assert.deepEqual(new Set((await Promise.all(all)).map(({ size }) => size)), new Set([2]));
    assert.equal(most, 2);
  });

  test("waits for no turn where a load that has one waits for it", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 1, clock });
    const gate = deferred();
    const many = (): Promise<Map<string, string>> => cache.getOrSetMany(["a", "b"], (keys) => keys);
    const outer = cache.getOrSet("outer", async () => {
      await gate.promise;
      return (await Promise.all([many(), cache.getOrSet("a", () => "own")])).length;
    });
    await settle();
    const queued = many();
    await settle();
    gate.resolve();
    assert.equal(await outer, 2);
    assert.equal((await queued).size, 2);
  });

  test("is given up where its turn does not come, and does not load for nobody when it comes", async () => {
    const cache = createCache({ backend: none(), maxConcurrentLoads: 1, hardTimeout: "200ms", clock });
    const busy = deferred();
    const first = assert.rejects(
      cache.getOrSet("busy", () => busy.promise, { hardTimeout: "1m" }).then(() => Promise.reject(new Error("ended"))),
      /ended/,
    );
    await settle();
    let calls = 0;
    const many = cache.getOrSetMany(["a", "b"], (keys) => (calls++, keys));
    const rejected = assert.rejects(many, { code: "EF_LOAD_TIMEOUT" });
    await settle();
    await clock.advance(250);
    await rejected;
    busy.resolve();
    await first;
    await settle();
    assert.equal(calls, 0);
    assert.equal((await cache.getOrSetMany(["a", "b"], (keys) => (calls++, keys))).size, 2);
    assert.equal(calls, 1);
  });

  test("does not load what was given up before it was known of the other keys, nor tell these that they are", async () => {
    const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
    const [one = "", two = ""] = keys.filter(
      (key, index) => keys.findIndex((other) => world.serverOf(`n=${other}`) === world.serverOf(`n=${key}`)) === index,
    );
    world.hold();
    const calls: unknown[] = [];
    const load = (wanted: readonly string[], { signal }: LoadContext): readonly string[] => {
      calls.push(wanted, signal.aborted);
      return wanted;
    };
    const rejected = assert.rejects(a.getOrSetMany([one, two], load, { hardTimeout: "200ms" }), {
      code: "EF_LOAD_TIMEOUT",
    });
    await settle();
    // The server of the other key answers only after the first one's deadline.
    await world.run(`mg n=${one}`);
    for (;;) {
      const missing = world.waiting().find((text) => text !== `mg n=${two}`);
      if (missing === undefined || missing.startsWith("md")) break;
      await world.run(missing);
    }
    await clock.advance(250);
    world.release();
    await rejected;
    assert.deepEqual(calls, [[two], false]);
  });

  test("does not wait for another call that waits for it, where keys fail in another order for each", async () => {
    const failing: { key: string; reject: (error: Error) => void }[] = [];
    const backend: Backend = {
      ...none(),
      reach: "fleet",
      read: (key) => new Promise((_resolve, reject) => void failing.push({ key, reject })),
    };
    const cache = createCache({ backend, clock });
    const read = (): Promise<Map<string, string>> => cache.getOrSetMany(["a", "b"], (keys) => keys);
    const first = read();
    await settle();
    const second = read();
    await settle();
    const reads = failing.filter(({ key }) => !key.includes("!"));
    assert.equal(reads.length, 4);
    for (const index of [0, 3, 1, 2]) reads[index]?.reject(new Error("down"));
    await settle();
    const values = (await Promise.all([first, second])).map((found) => [...found.keys()]);
    assert.deepEqual(values, [
      ["a", "b"],
      ["a", "b"],
    ]);
  });

  test("rejects with the loader's own error, and gives the leases back", async () => {
    const failure = new Error("no database");
    await assert.rejects(
      a.getOrSetMany(["x", "y"], () => Promise.reject(failure)),
      failure,
    );
    await settle();
    assert.equal((await b.getOrSetMany(["x", "y"], (keys) => keys)).size, 2);
  });

  test("what was read while many values were computed is inherited by each of them", async () => {
    let row = "old";
    const inner = a.entry("inner", { load: () => row });
    const load = async (keys: readonly string[]): Promise<string[]> => {
      const shown = await inner.get();
      return keys.map((key) => `${key} ${shown}`);
    };
    const read = async (): Promise<unknown[]> => {
      return [...(await a.getOrSetMany(["x", "y", "z"], load, { collects: true })).values()];
    };
    assert.deepEqual(await read(), ["x old", "y old", "z old"]);
    row = "new";
    assert.deepEqual(await read(), ["x old", "y old", "z old"]);
    await inner.invalidate();
    assert.deepEqual(await read(), ["x new", "y new", "z new"]);
  });

  test("what the loader says of its values it says of all of them", async () => {
    const keys = ["x", "y", "z"];
    await a.getOrSetMany(keys, (wanted, context) => (context.skip(), wanted));
    assert.equal((await a.getMany(keys)).size, 0);
    // Not before the second time are the tags known beforehand.
    for (let round = 0; round < 2; round++) await a.getOrSetMany(keys, briefly);
    assert.deepEqual(
      await Promise.all(keys.map(async (key) => (await a.getEntry(key)).ttlMs)),
      keys.map(() => 10_000),
    );
    await b.invalidateTags(["t"]);
    assert.equal((await a.getMany(keys)).size, 0);
  });

  test("refuses a list that has not a place for each key, and keeps nothing of it", async () => {
    const rows = new Map([["r2", { id: "r2" }]]);
    for (const wrong of [[...rows.values()], [], [1, 2, 3], 5, undefined, null, { r1: 1, r2: 2 }])
      await assert.rejects(
        a.getOrSetMany(["r1", "r2"], () => wrong as never),
        { code: "EF_OPTION", message: /a place for each key \(2\) in their order; got / },
      );
    assert.equal((await a.getMany(["r1", "r2"])).size, 0);
    assert.deepEqual([...(await a.getOrSetMany(["r1", "r2"], () => rows))], [...rows]);
    const entry = a.entry("rows", { loadMany: () => [] as readonly string[] });
    await assert.rejects(entry.get(), { code: "EF_OPTION", message: /got a list of 0/ });
  });

  test("refuses a key or tags that are wrong before it asks for any, so that nobody waits for the others", async () => {
    let loads = 0;
    const load = (keys: readonly string[]): readonly string[] => (loads++, keys);
    await assert.rejects(a.getOrSetMany(["x", ""], load), { code: "EF_KEY" });
    await assert.rejects(a.getOrSetMany(["x", "y"], load, { tags: (key) => [key === "y" ? "" : key] }), {
      code: "EF_OPTION",
    });
    const failure = new Error("tags of y");
    const tags = (key: string): string[] => {
      if (key === "y") throw failure;
      return [];
    };
    await assert.rejects(a.getOrSetMany(["x", "y"], load, { tags }), failure);
    assert.equal(loads, 0);
    assert.equal(await a.getOrSet("x", () => "at once"), "at once");
  });

  test("computes the others where one key's invalidation fails", async () => {
    begin(["fake:1", "fake:2"]);
    const [x, y] = ["k0", "k1"];
    assert.notEqual(world.serverOf(`n=${x}`), world.serverOf(`n=${y}`));
    world.down(world.serverOf(`n=${y}`));
    const calls: (readonly string[])[] = [];
    const many = a.getOrSetMany([x, y], (keys) => (calls.push(keys), keys), { forceFresh: true });
    const failed = assert.rejects(many, { code: "EF_INVALIDATION_PENDING" });
    await settle();
    await clock.advance(2_000);
    await failed;
    assert.deepEqual(calls, [[x]]);
  });
});

describe("invalidating many", () => {
  test("refuses a wrong key before anything is sent", async () => {
    await a.set("x", 1);
    for (const name of ["fake:1", "fake:2", "fake:3"]) world.down(name);
    await assert.rejects(a.invalidate(["x", ""]), { code: "EF_KEY" });
    await clock.advance(5_000);
    assert.ok(a.health().servers.every(({ pendingInvalidations }) => pendingInvalidations === 0));
  });
});

describe("writing many", () => {
  test("refuses a wrong key before anything is sent", async () => {
    const entries = [
      ["x", 1],
      ["", 2],
    ] as const;
    await assert.rejects(a.setMany(entries), { code: "EF_KEY" });
    await settle();
    assert.deepEqual(world.log, []);
  });
});
