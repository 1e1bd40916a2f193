/** The freshness monitor: what it counts as stale, and what it does not. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { createCache, metaBackend } from "everfresh";
import { settle } from "../support/settle.ts";
import { world, clock, a, b, begin } from "./processes.ts";

beforeEach(() => begin(["fake:1", "fake:2", "fake:3"]));

/** Has the monitors of a namespace look at a read. */
async function readInEurope(): Promise<void> {
  await a.namespace("eu").getOrSet("k", () => 1);
  await settle();
}

describe("the freshness monitor", () => {
  test("does not end another of the same namespace, nor is ended by it", async () => {
    const [one, two] = [a.namespace("eu"), a.namespace("eu")].map((cache) => cache.monitor({ sample: 1 }));
    await readInEurope();
    await readInEurope();
    assert.deepEqual([one?.report().checked, two?.report().checked], [1, 1]);
    two?.stop();
    await readInEurope();
    one?.stop();
    await readInEurope();
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
