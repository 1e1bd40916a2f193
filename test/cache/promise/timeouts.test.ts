/** Timeouts, and refreshes ahead of the end. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { memory, none } from "everfresh";
import { settle } from "../../support/settle.ts";
import { a, b, process, Source, advance } from "../processes.ts";

describe("timeouts and refreshes ahead", () => {
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
});
