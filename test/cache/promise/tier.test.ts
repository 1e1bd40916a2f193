/** The in-process tier: what it may answer by itself, and what it asks about. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Cache } from "everfresh";
import { settle } from "../../support/settle.ts";
import { world, clock, a, b, process, Source, advance, invalidateWhileHeld, begin } from "../processes.ts";

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
    begin(["fake:1", "fake:2", "fake:3"]);
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
    begin(["fake:1", "fake:2", "fake:3"]);
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
