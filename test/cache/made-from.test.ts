/** What a value was made from: an outer value never outlives what was read while it was computed. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { createCache, memcached, metaBackend, type Cache } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import { deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";
import { settle } from "../support/settle.ts";

let world: FakeMemcached;
let clock: ManualClock;
let cache: Cache;
let row: number;
let renders: number;

function process(seed: number): Cache {
  return createCache({ backend: metaBackend(world.client()), namespace: "n", clock, random: seededRandom(seed) });
}

beforeEach(() => {
  world = new FakeMemcached(["fake:1", "fake:2", "fake:3"]);
  clock = new ManualClock();
  cache = process(1);
  row = 1;
  renders = 0;
});

/** An outer value that shows what `inner` answers. */
function page(inner: () => Promise<unknown>, on = cache): Promise<string> {
  return on.getOrSet(
    "page",
    async () => {
      renders++;
      return `page of ${String(await inner())}`;
    },
    { collects: true, ttl: "10m" },
  );
}

describe("an outer value is invalidated", () => {
  const ways: Record<string, () => { inner: () => Promise<unknown>; write: (by: Cache) => Promise<unknown> }> = {
    "by a tag of the inner one": () => ({
      inner: () => cache.getOrSet("inner", () => row, { tags: ["rows"] }),
      write: (by) => by.invalidateTags(["rows"]),
    }),
    "by the key of the inner one alone": () => ({
      inner: () => cache.getOrSet("inner", () => row),
      write: (by) => by.invalidate("inner"),
    }),
    "by a refresh of the entry that it shows": () => {
      const entry = cache.entry("row", { load: (_id: number) => row });
      const other = process(7).entry("row", { load: (_id: number) => row });
      return { inner: () => entry.get(7), write: () => other.refresh(7) };
    },
    "by the key of an inner one that takes over tags itself": () => ({
      inner: () => cache.getOrSet("inner", () => row, { collects: true }),
      write: (by) => by.invalidate("inner"),
    }),
    "by a tag of the inner one, where both are entries": () => {
      const inner = cache.entry("row", { load: (_id: number) => row, tags: ["rows"] });
      const outer = cache.entry("outer", { load: async (id: number) => await inner.get(id), collects: true });
      return { inner: () => outer.get(7), write: (by) => by.invalidateTags(["rows"]) };
    },
    "by what is two levels further in": () => ({
      inner: () =>
        cache.getOrSet("middle", () => cache.getOrSet("inner", () => row, { tags: ["rows"] }), { collects: true }),
      write: (by) => by.invalidateTags(["rows"]),
    }),
    "by a tag of another namespace": () => ({
      inner: () => cache.namespace("rows").getOrSet("inner", () => row, { tags: ["rows"] }),
      write: (by) => by.namespace("rows").invalidateTags(["rows"]),
    }),
    "by a key of another namespace": () => ({
      inner: () => cache.namespace("rows").getOrSet("inner", () => row),
      write: (by) => by.namespace("rows").invalidate("inner"),
    }),
    "when another namespace is cleared": () => ({
      inner: () => cache.namespace("rows").getOrSet("inner", () => row),
      write: (by) => by.namespace("rows").clear(),
    }),
    "by a plain write of what it shows": () => ({
      inner: () => cache.getOrSet("inner", () => row),
      write: async (by) => void (await by.set("inner", row)),
    }),
    "by a change of what it shows": () => ({
      inner: () => cache.getOrSet("inner", () => row),
      write: async (by) => void (await by.update("inner", () => row)),
    }),
    "by a count of what it shows": () => ({
      inner: () => cache.getOrSet("inner", () => row),
      write: async (by) => void (await by.incr("inner")),
    }),
    "by a plain write of what it looks for": () => {
      void cache.set("inner", row);
      return { inner: () => cache.get("inner"), write: (by) => by.set("inner", row) };
    },
    "by a tag of what it looks for among others": () => {
      void cache.set("inner", row, { tags: ["rows"] });
      return {
        inner: async () => (await cache.getMany(["nothing", "inner"])).get("inner") ?? row,
        write: (by) => by.invalidateTags(["rows"]),
      };
    },
    "by the first write of what it has not found": () => ({
      inner: async () => (await cache.get("inner")) ?? 1,
      write: (by) => by.add("inner", row),
    }),
    "by a fragment within it": () => ({
      inner: () => cache.fragment("row", [1], () => String(row), { tags: ["rows"] }),
      write: (by) => by.invalidateTags(["rows"]),
    }),
  };
  for (const [title, make] of Object.entries(ways))
    for (const who of ["this process", "another process"])
      test(`${title}, in ${who}`, async () => {
        const { inner, write } = make();
        assert.equal(await page(inner), "page of 1");
        assert.equal(await page(inner), "page of 1");
        assert.equal(renders, 1);
        row = 2;
        await write(who === "this process" ? cache : process(2));
        assert.equal(await page(inner), "page of 2");
        assert.equal(await page(inner), "page of 2");
        assert.equal(renders, 2);
      });

  test("also when the inner value was a hit while it was computed", async () => {
    const inner = (): Promise<number> => cache.getOrSet("inner", () => row);
    await inner();
    await page(inner);
    row = 2;
    await process(2).invalidate("inner");
    assert.equal(await page(inner), "page of 2");
  });

  test("also when the write came between its computation and its fill", async () => {
    const [read, go] = [deferred(), deferred()];
    const inner = (): Promise<number> => cache.getOrSet("inner", () => row);
    const early = page(async () => {
      const seen = await inner();
      read.resolve();
      await go.promise;
      return seen;
    });
    await read.promise;
    row = 2;
    await process(2).invalidate("inner");
    go.resolve();
    assert.equal(await early, "page of 1");
    assert.equal(await page(inner), "page of 2");
  });
});

test("a page is invalidated by the tags that it names for what it shows, whoever computes that", async () => {
  const inner = (): Promise<number> => cache.getOrSet("inner", () => row, { tags: ["rows"] });
  // Two who ask in one turn, of whom the first computes.
  const both = async (): Promise<unknown> => (await Promise.all([cache.getOrSet("inner", () => row), inner()]))[1];
  const early = page(both);
  for (let step = 0; step < 5; step++) {
    await settle();
    await clock.advance(50);
  }
  assert.equal(await early, "page of 1");
  row = 2;
  await process(2).invalidateTags(["rows"]);
  assert.equal(await inner(), 2);
  assert.equal(await page(inner), "page of 2");
});

test("an invalidation reaches the key before what was made from it, so that nobody reads the old key with the new generation", async () => {
  await cache.getOrSet("inner", () => row);
  world.log.length = 0;
  await cache.invalidate("inner");
  assert.match(world.log.join(" "), /^md n=inner md n\*\d=inner$/);
  assert.equal(world.serverOf("n=inner"), world.serverOf(world.log[1]?.slice(3) ?? ""));
});

test("a plain write reaches the key before what was made from it, also where its chunks go first", async () => {
  const limited = metaBackend(world.client(), { itemLimitBytes: 2_000 });
  const chunking = createCache({
    backend: new ChunkingBackend(limited),
    namespace: "n",
    clock,
    random: seededRandom(3),
  });
  const large = "x".repeat(5_000);
  const writes = [
    () => chunking.set("inner", large),
    () => chunking.update("inner", (text: string) => `${text}!`),
    async () => void ((await chunking.delete("inner")) && (await chunking.add("inner", large))),
  ];
  for (const write of writes) {
    world.log.length = 0;
    await write();
    assert.match(world.log.join(" "), /everfresh-chunk!\S+ ms n=inner md n\*\d=inner$/);
  }
});

test("nor where the server has several connections, on which one command may overtake another", async () => {
  const several = metaBackend({ ...world.client(), connections: 2 });
  const by = createCache({ backend: several, namespace: "n", clock, random: seededRandom(3) });
  const writes = [() => by.invalidate("inner"), () => by.set("inner", 2), () => by.incr("inner")];
  for (const write of writes) {
    await cache.getOrSet("inner", () => row);
    world.hold();
    const writing = write();
    for (let step = 0; step < 10 && !world.waiting().some((text) => /^m[ds] n=inner/.test(text)); step++) {
      for (const command of world.waiting()) await world.run(command);
      await settle();
    }
    assert.deepEqual(
      world.waiting().map((text) => text.slice(3)),
      ["n=inner"],
    );
    world.release();
    await writing;
    assert.match(world.log.join(" "), /m[ds] n=inner md n\*\d=inner$/);
  }
  for (const protocol of ["auto", "text"] as const)
    for (const connections of [1, 2]) {
      const backend = memcached("127.0.0.1:1", { connections, protocol });
      assert.equal(backend.reorders, connections > 1);
      await backend.close();
    }
});

test("a page that read the old key while its invalidation was under way is not served after it", async () => {
  const inner = (): Promise<number> => cache.getOrSet("inner", () => row);
  await inner();
  row = 2;
  world.hold();
  const invalidation = process(2).invalidate("inner");
  await settle();
  // The page reads the generation beside the key, then the key: both still are the old ones.
  const early = page(inner);
  for (let step = 0; step < 12; step++) {
    await settle();
    for (const command of world.waiting()) if (!command.startsWith("md")) await world.run(command);
  }
  world.release();
  await invalidation;
  assert.equal(await early, "page of 1");
  assert.equal(await page(inner), "page of 2");
});

test("a page that read its own server's generation after a clearing, and what it shows before that, is not served after it", async () => {
  const key = ["i0", "i1", "i2", "i3"].find((name) => world.serverOf(`n=${name}`) !== world.serverOf("n=page")) ?? "";
  const inner = (): Promise<number> => cache.getOrSet(key, () => row);
  await inner();
  row = 2;
  world.hold();
  const clearing = process(2).clear();
  await settle();
  const [first, ...others] = world.waiting().toSorted((a) => (isWithPage(a) ? -1 : 1));
  await world.run(first ?? "");
  const early = page(inner);
  for (let step = 0; step < 12; step++) {
    await settle();
    for (const command of world.waiting()) if (!others.includes(command)) await world.run(command);
  }
  assert.equal(await early, "page of 1");
  world.release();
  await clearing;
  assert.equal(await page(inner), "page of 2");
});

/** Whether a command goes to the server of the page. */
function isWithPage(command: string): boolean {
  return world.serverOf(command.slice(3)) === world.serverOf("n=page");
}

describe("an outer value is not stored", () => {
  const ways: Record<string, () => Promise<unknown>> = {
    "when the inner one was skipped": () =>
      cache.getOrSet("inner", (context) => {
        context.skip();
        return row;
      }),
    "when the inner one failed": () =>
      cache.getOrSet("inner", () => Promise.reject(new Error("no"))).catch(() => "a stand-in"),
    "when the inner one lives in another cache": () =>
      createCache({ backend: metaBackend(new FakeMemcached().client()) }).getOrSet("inner", () => row),
    "when it was looked for in another cache": () =>
      createCache({ backend: metaBackend(new FakeMemcached().client()) }).get("inner"),
    "when it looked for the inner one and gave up": () =>
      cache.get("inner", { signal: AbortSignal.abort() }).catch(() => "a stand-in"),
    "when nobody could be asked for the inner one": async () => {
      world.down(world.serverOf("n=inner"));
      return await cache.get("inner");
    },
    "when a tag of the inner one could not be asked about": async () => {
      const servers = new Set(["n=page", "n=inner", "n*0=inner"].map((key) => world.serverOf(key)));
      const tag = ["t0", "t1", "t2", "t3"].find((name) => !servers.has(world.serverOf(`n#${name}`))) ?? "";
      await process(2).set("inner", row, { tags: [tag] });
      world.down(world.serverOf(`n#${tag}`));
      const value = await cache.get("inner");
      world.up(world.serverOf(`n#${tag}`));
      return value;
    },
  };
  for (const [title, inner] of Object.entries(ways))
    test(title, async () => {
      await page(inner);
      await page(inner);
      assert.equal(renders, 2);
    });

  test("when it did not wait for the inner one", async () => {
    const inner = (): Promise<number> => cache.getOrSet("inner", () => row);
    const [seen, go] = [deferred(), deferred()];
    const early = cache.getOrSet("inner", async () => {
      seen.resolve();
      await go.promise;
      return row;
    });
    await seen.promise;
    assert.equal(await page(() => Promise.race([inner(), settle().then(() => "a stand-in")])), "page of a stand-in");
    go.resolve();
    assert.equal(await early, 1);
    assert.equal(await page(inner), "page of 1");
  });

  test("when the inner one was a stale one that a relaxation allowed", async () => {
    const options = { ttl: "10s", staleWhileRevalidate: "1h" } as const;
    const inner = (): Promise<number> => cache.getOrSet("inner", () => row, options);
    await inner();
    row = 2;
    world.nowMs += 11_000;
    await clock.advance(11_000);
    assert.equal(await page(inner), "page of 1");
    await settle();
    assert.equal(await page(inner), "page of 2");
  });
});

test("the values of an entry that one loader computes are all made from what it reads", async () => {
  const inner = cache.entry("row", { load: (id: number) => `${id}: ${row}`, tags: (id) => [`row:${id}`] });
  const outer = cache.entry("outer", {
    loadMany: (all: readonly (readonly [number])[]) => Promise.all(all.map(([id]) => inner.get(id))),
    collects: true,
  });
  assert.deepEqual(await outer.getMany([[1], [2]]), ["1: 1", "2: 1"]);
  row = 2;
  await process(7).invalidateTags(["row:2"]);
  assert.deepEqual(await outer.getMany([[1], [2]]), ["1: 1", "2: 2"]);
});

test("an outer value is stored also while what it shows is refreshed ahead, by a loader that reads something else", async () => {
  let innermost: unknown = row;
  const options = { ttl: "60s", refreshAhead: "20s" } as const;
  const read = async (): Promise<string> =>
    `row ${String(await cache.getOrSet("innermost", () => innermost, { ttl: "1s" }))}`;
  const inner = async (): Promise<string> => {
    const value = await cache.getOrSet("inner", read, options);
    await settle();
    return value;
  };
  await inner();
  world.nowMs += 45_000;
  await clock.advance(45_000);
  const end = deferred<number>();
  innermost = end.promise;
  assert.equal(await page(inner), "page of row 1");
  await settle();
  assert.equal(await page(inner), "page of row 1");
  assert.equal(renders, 1);
  end.resolve(2);
  await settle();
  assert.equal(await cache.get("inner"), "row 2");
});

test("an outer value ends with the inner one", async () => {
  const inner = (): Promise<number> => cache.getOrSet("inner", () => row, { ttl: "10s" });
  await page(inner);
  row = 2;
  world.nowMs += 11_000;
  await clock.advance(11_000);
  assert.equal(await page(inner), "page of 2");
});

const tagged = (): Promise<number> => cache.getOrSet("inner", () => row, { tags: ["rows"] });

test("a reader who knows the value asks for all of its generations in one go", async () => {
  await page(tagged);
  await page(tagged);
  world.hold();
  const reading = page(tagged);
  await settle();
  // The page, its tag and its key, and the namespace on the server of each of both values.
  assert.equal(world.waiting().length, 5);
  world.release();
  assert.equal(await reading, "page of 1");
});

test("without an outer value nothing beside a key is read", async () => {
  await cache.getOrSet("inner", () => row);
  assert.deepEqual(
    world.log.filter((command) => command.includes("*")),
    [],
  );
});

test("with `shared` everybody gets the very same value, else a copy of their own", async () => {
  const near = createCache({ backend: metaBackend(world.client()), local: true, clock });
  const read = (shared: boolean): Promise<Buffer> =>
    near.entry("bytes", { load: () => Buffer.from("abc"), shared }).get();
  await read(true);
  assert.equal(await read(true), await read(true));
  const own = await read(false);
  own[0] = 0;
  assert.equal((await read(true)).toString(), "abc");
});

test("a page that shows more than an envelope has room for is handed out and not stored", async () => {
  world = new FakeMemcached();
  cache = process(1);
  // As long as they may be where the generation beside them bears their name.
  const keys = Array.from({ length: 255 }, (_, index) => String(index).padEnd(244, "x"));
  for (const [length, stored] of [
    [252, true],
    [255, false],
  ] as const) {
    const show = (): Promise<unknown> =>
      Promise.all(keys.slice(0, length).map((key) => cache.getOrSet(key, () => row)));
    const large = (): Promise<unknown> => cache.getOrSet(`page ${length}`, show, { collects: true });
    assert.deepEqual(
      await large(),
      Array.from({ length }, () => row),
    );
    await settle();
    assert.equal(await cache.has(`page ${length}`), stored);
  }
});

test("who came after a write does not share a page that was rendered before it, also when that page is not stored", async () => {
  const [read, go] = [deferred(), deferred()];
  const skipped = (): Promise<number> =>
    cache.getOrSet("skipped", (context) => {
      context.skip();
      return row;
    });
  const inner = async (): Promise<number> => {
    const seen = await cache.getOrSet("inner", () => row, { tags: ["rows"] });
    await skipped();
    if (renders > 1) return seen;
    read.resolve();
    await go.promise;
    return seen;
  };
  const early = page(inner);
  await read.promise;
  row = 2;
  await cache.invalidateTags(["rows"]);
  const late = page(inner);
  await settle();
  go.resolve();
  assert.equal(await early, "page of 1");
  assert.equal(await late, "page of 2");
});

test("nor one whose loader named a tag for the first time", async () => {
  const [read, go] = [deferred(), deferred()];
  const load = async (context: { addTags(tags: readonly string[]): void }): Promise<number> => {
    const seen = row;
    context.addTags(["rows"]);
    if (++renders > 1) return seen;
    read.resolve();
    await go.promise;
    return seen;
  };
  const early = cache.getOrSet("tagged", load);
  await read.promise;
  row = 2;
  await process(2).invalidateTags(["rows"]);
  const late = cache.getOrSet("tagged", load);
  await settle();
  go.resolve();
  assert.equal(await early, 1);
  assert.equal(await late, 2);
});
