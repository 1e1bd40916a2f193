/** Many keys at once, wrapped functions, fragments within fragments, and the freshness monitor. */
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, describe, test } from "node:test";
import { createCache, memory, metaBackend, none, type Backend, type Cache, type LoadContext } from "everfresh";
import { deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";

let world: FakeMemcached;
let clock: ManualClock;
let a: Cache;
let b: Cache;
let seed = 1;

function process(): Cache {
  const random = seededRandom(seed++);
  return createCache({ backend: metaBackend(world.client()), namespace: "n", clock, random });
}

async function settle(): Promise<void> {
  for (let count = 0; count < 20; count++) await turn();
}

/** Loads values that are kept for a short time, with a tag. */
function briefly(keys: readonly string[], context: LoadContext): readonly string[] {
  context.setTtl("10s");
  context.addTags(["t"]);
  return keys;
}

beforeEach(() => {
  world = new FakeMemcached(["fake:1", "fake:2", "fake:3"]);
  clock = new ManualClock();
  a = process();
  b = process();
});

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
    world = new FakeMemcached(["fake:1", "fake:2"]);
    a = process();
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

describe("entries and wrapped functions", () => {
  test("many values are waited for where the arguments of one have no key", async () => {
    const ended: unknown[] = [];
    const load = async (id: unknown): Promise<never> => {
      await turn();
      ended.push(id);
      throw new Error("no database");
    };
    const entry = a.entry("row", { load });
    await assert.rejects(entry.getMany([[1], [Symbol("none")]]));
    assert.deepEqual(ended, [1]);
  });

  test("arguments that have no key are refused by the promise, so that whoever catches its errors catches that one", async () => {
    const entry = a.entry("row", { load: (id: unknown) => id });
    const wrapped = a.wrap("function", (id: unknown) => id);
    const refused = { code: "EF_OPTION", message: /give the entry a key/ };
    for (const name of ["get", "getEntry", "refresh", "invalidate"] as const) {
      const asked = entry[name](new Map());
      await assert.rejects(asked, refused);
    }
    const asked = wrapped(new Map());
    await assert.rejects(asked, refused);
    const untagged = a.entry("tagged", { load: (id: { name: string }) => id, tags: ({ name }) => [name] });
    const read = untagged.get(null as never);
    await assert.rejects(read, TypeError);
  });

  test("an entry loads many lists of arguments together", async () => {
    const calls: unknown[] = [];
    const songs = a.entry("song", {
      loadMany: (all: readonly [id: number, language: string][]) => {
        calls.push(all);
        return all.map(([id, language]) => (id === 9 ? undefined : `${id} ${language}`));
      },
      tags: (id) => [`song ${id}`],
    });
    assert.deepEqual(
      await songs.getMany([
        [1, "en"],
        [2, "de"],
        [9, "de"],
        [1, "en"],
      ]),
      ["1 en", "2 de", undefined, "1 en"],
    );
    assert.equal(calls.length, 1);
    assert.equal(await songs.get(1, "en"), "1 en");
    await a.invalidateTags(["song 1"]);
    await songs.getMany([
      [1, "en"],
      [2, "de"],
    ]);
    assert.deepEqual(calls[1], [[1, "en"]]);
  });

  test("the ttl of an entry may depend on its value", async () => {
    const entry = a.entry("n", { load: (value: number) => value, ttl: (value) => `${value}s` });
    assert.equal((await entry.getEntry(7)).ttlMs, 7_000);
  });

  test("a wrapped function computes once for equal arguments", async () => {
    let runs = 0;
    const square = a.wrap("square", (value: { n: number; m?: number }) => (runs++, value.n ** 2), { ttl: "1m" });
    assert.equal(await square({ n: 3 }), 9);
    assert.equal(await square({ n: 3 }), 9);
    assert.equal(await square({ n: 4 }), 16);
    assert.equal(runs, 2);
    assert.equal(await square.refresh({ n: 3 }), 9);
    assert.equal(runs, 3);
    assert.equal(square.key({ n: 1, m: 2 }), square.key(JSON.parse('{"m":2,"n":1}') as { n: number }));
  });

  test("other arguments, another key", () => {
    const entry = a.entry("e", { load: (...all: unknown[]) => all });
    const lists: unknown[][] = [
      [],
      [""],
      ["a", "b"],
      ["a,b"],
      ["a%2cb"],
      ["=7"],
      [7],
      ["7"],
      [7n],
      [null],
      ["null"],
      [undefined],
      [true],
      [["a", "b"]],
      [[["a"], "b"]],
      [{ a: "b" }],
      [{ a: ["b"] }],
      [Number.NaN],
      ["a", ""],
      ["", "a"],
      ["a", undefined],
      [{ max: Infinity }],
      [{ max: -Infinity }],
      [{ max: Number.NaN }],
      [{ max: null }],
      [{ max: 1n }],
      [{ max: 1 }],
      [[undefined]],
      [[null]],
      [[]],
      [Array.from({ length: 2 })],
      [[[]]],
      [new Date(0)],
      [new Date(0).toISOString()],
      [{ day: new Date(0) }],
      [{ day: new Date(0).toISOString() }],
    ];
    const keys = lists.map((args) => entry.key(...args));
    assert.equal(new Set(keys).size, lists.length, keys.join("\n"));
    assert.equal(entry.key({ max: undefined }), entry.key({}));
    const hole: unknown[] = [];
    hole.length = 1;
    assert.notEqual(entry.key(hole), entry.key([]));
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const strange of [
      new Map(),
      new Set(),
      [new URL("http://x/")],
      { f: () => 1 },
      Symbol("s"),
      { [Symbol("s")]: 1 },
      cycle,
    ])
      assert.throws(() => entry.key(strange), { code: "EF_OPTION", message: /give the entry a key/ });
    assert.throws(() => a.entry("a:b", { load: () => 1 }), { code: "EF_OPTION" });
  });
});

describe("fragments", () => {
  test("are kept by name and what they vary on, and rendered once for a crowd", async () => {
    let renders = 0;
    const render = (): string => `<li>${++renders}</li>`;
    const texts = await Promise.all([1, 2, 3].map(() => a.fragment("song", [7, "de"], render)));
    assert.deepEqual(new Set(texts), new Set(["<li>1</li>"]));
    assert.equal(await b.fragment("song", [7, "de"], render), "<li>1</li>");
    assert.equal(await b.fragment("song", ["7", "de"], render), "<li>2</li>");
    assert.equal(await b.fragment("song", ["7,de"], render), "<li>3</li>");
  });

  test("take over the tags of the fragments within them", async () => {
    let title = "Blue";
    const counts = { inner: 0, outer: 0 };
    const page = (cache: Cache): Promise<string> =>
      cache.fragment("page", [], async () => {
        counts.outer++;
        const inner = await cache.fragment("title", [1], () => (counts.inner++, title), { tags: ["title 1"] });
        return `<h1>${inner}</h1>`;
      });
    assert.equal(await page(a), "<h1>Blue</h1>");
    assert.equal(await page(b), "<h1>Blue</h1>");
    assert.deepEqual(counts, { inner: 1, outer: 1 });
    title = "Green";
    await a.invalidateTags(["title 1"]);
    assert.equal(await page(b), "<h1>Green</h1>");
    assert.deepEqual(counts, { inner: 2, outer: 2 });
  });

  test("an outer fragment whose inner tag changes while it is rendered is not served", async () => {
    let title = "Blue";
    const end = deferred();
    const page = (cache: Cache, wait: Promise<void>): Promise<string> =>
      cache.fragment("page", [], async () => {
        const inner = await cache.fragment("title", [], () => title, { tags: ["t"] });
        await wait;
        return inner;
      });
    const early = page(a, end.promise);
    await settle();
    title = "Green";
    await b.invalidateTags(["t"]);
    const late = page(a, Promise.resolve());
    await settle();
    end.resolve();
    assert.equal(await early, "Blue");
    assert.equal(await late, "Green");
    assert.equal(await page(b, Promise.resolve()), "Green");
  });

  test("around something that could not be stored is not stored itself", async () => {
    let inner = 0;
    const page = (): Promise<string> =>
      a.fragment("page", [], () => a.fragment("part", [], (context) => (context.skip(), String(++inner))));
    await page();
    assert.equal(await page(), "2");
  });
});

describe("the freshness monitor", () => {
  test("does not end another of the same namespace, nor is ended by it", async () => {
    const [one, two] = [a.namespace("eu"), a.namespace("eu")].map((cache) => cache.monitor({ sample: 1 }));
    const read = async (): Promise<void> => {
      await a.namespace("eu").getOrSet("k", () => 1);
      await settle();
    };
    await read();
    await read();
    assert.deepEqual([one?.report().checked, two?.report().checked], [1, 1]);
    two?.stop();
    await read();
    one?.stop();
    await read();
    assert.deepEqual([one?.report().checked, two?.report().checked], [2, 1]);
  });

  test("counts a value that its source contradicts as stale, and tells what was seen", async () => {
    let value = 1;
    const monitor = a.monitor({ sample: 1, settle: "1s" });
    const read = (): Promise<number> => a.getOrSet("k", () => value, { tags: ["t"] });
    await read();
    await read();
    await settle();
    assert.deepEqual(
      { ...monitor.report(), found: [] },
      {
        checked: 1,
        races: 0,
        failed: 0,
        stale: 0,
        stalePerMillion: 0,
        found: [],
      },
    );
    // Somebody changes the source and tells nobody.
    value = 2;
    assert.equal(await read(), 1);
    await settle();
    await clock.advance(1_000);
    await settle();
    const report = monitor.report();
    assert.deepEqual([report.checked, report.stale, report.stalePerMillion], [2, 1, 500_000]);
    assert.deepEqual([report.found[0]?.key, report.found[0]?.tags], ["k", ["t"]]);
    assert.equal(report.found[0]?.generations.length, 2);
    monitor.stop();
  });

  test("loads when the hit that it checks has been answered", async () => {
    const order: string[] = [];
    const monitor = a.monitor({ sample: 1 });
    const read = (): Promise<number> => a.getOrSet("k", () => order.push("load"));
    await read();
    await settle();
    order.push(`hit ${await read()}`);
    await settle();
    assert.deepEqual(order, ["load", "hit 1", "load"]);
    assert.equal(monitor.report().checked + monitor.report().races, 0, "it differs, and that has to settle");
    monitor.stop();
  });

  test("tells a write at the same time from staleness", async () => {
    let value = 1;
    const monitor = a.monitor({ sample: 1, settle: "1s" });
    const read = (): Promise<number> => a.getOrSet("k", () => value);
    await read();
    value = 2;
    assert.equal(await read(), 1, "committed, and its invalidation is on the way");
    await settle();
    await b.invalidate("k");
    await clock.advance(1_000);
    await settle();
    assert.deepEqual([monitor.report().races, monitor.report().stale], [1, 0]);
  });

  test("takes a value for the same whatever the order of its names and the bytes of a serializer are", async () => {
    let count = 0;
    const salted = {
      encode: (value: unknown) => Buffer.from(`${count++} ${JSON.stringify(value)}`),
      decode: (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString().replace(/^\d+ /, "")),
    };
    for (const options of [{}, { serializer: salted }]) {
      const cache = createCache({ backend: metaBackend(world.client()), namespace: "order", clock, ...options });
      await cache.clear();
      const monitor = cache.monitor({ sample: 1, settle: "1s" });
      const made = [
        { id: 1, name: "Ann" },
        { name: "Ann", id: 1 },
      ];
      for (const value of made) await cache.getOrSet("k", () => value);
      await settle();
      await clock.advance(1_000);
      await settle();
      assert.deepEqual([monitor.report().checked, monitor.report().races, monitor.report().stale], [1, 0, 0]);
      monitor.stop();
    }
  });
});
