/** Invalidations and writes of servers that fail, and of those that were in use before. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createCache, metaBackend } from "everfresh";
import { FakeMemcached } from "../../support/fake-memcached.ts";
import { settle } from "../../support/settle.ts";
import { world, clock, a, b, advance, begin } from "../processes.ts";

describe("invalidations that wait, and servers of before", () => {
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
    begin(["fake:1", "fake:2"]);
    const tag = ["t0", "t1", "t2", "t3"].find((name) => world.serverOf(`n#${name}`) !== world.serverOf("n=k")) ?? "";
    await a.getOrSet("k", () => "old", { tags: [tag] });
    world.down(world.serverOf(`n#${tag}`));
    const answer = await a.getOrSetEntry("k", () => "new", { tags: [tag] });
    assert.deepEqual([answer.value, answer.status], ["new", "bypass"]);
  });

  test("a value whose tag cannot be asked about is not replaced by a write for which nothing must be there", async () => {
    begin(["fake:1", "fake:2"]);
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

  test("what was changed here is gone from the previous servers also where what was made from it could not be invalidated in time", async () => {
    const before = new FakeMemcached(["old:1"]);
    const old = createCache({ backend: metaBackend(before.client()), namespace: "n", clock });
    const backend = metaBackend(world.client(), { previous: metaBackend(before.client()) });
    const cache = createCache({ backend, namespace: "n", clock });
    await cache.set("k", 1);
    await old.set("k", 0);
    world.hold();
    const rejected = assert.rejects(cache.incr("k"), { code: "EF_INVALIDATION_PENDING" });
    for (const command of ["mg n!0", "mg n=k", "ms n=k"]) await world.run(command);
    world.down();
    await world.fail("md n*0=k");
    await advance(2_100);
    await rejected;
    assert.equal(await old.get("k"), undefined);
  });

  test("a plain write reaches what other servers' users made from a key that has not moved, whose page has", async () => {
    begin(Array.from({ length: 7 }, (_, at) => `s:${at}`));
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
