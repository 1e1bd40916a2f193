/** Caches as wholes: several on one server, large values, the end of one. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { createCache, isEverfreshError, memcached, memory } from "everfresh";
import { startMemcached, type RealMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";
import { song } from "./backends.ts";

const isClosed = (error: unknown): boolean => isEverfreshError(error, "EF_CLOSED");

describe("on memcached", needs("memcached"), () => {
  let server: RealMemcached;
  before(async () => {
    server = await startMemcached();
  });
  after(() => server.stop());

  test("a value over the item limit is read back whole, or not at all", async () => {
    const backend = memcached(server.address);
    const cache = createCache({ backend, namespace: "large" });
    const value = Array.from({ length: 60_000 }, (_, id) => ({ id, title: `Row number ${id}`, odd: id % 2 === 1 }));
    assert.ok(JSON.stringify(value).length > 2_500_000);
    assert.deepEqual(await cache.getOrSet("rows", () => value), value);
    const other = createCache({ backend: memcached(server.address), namespace: "large" });
    // The first caller has its value before all chunks are stored; the others wait for them, and do not compute.
    assert.deepEqual(await other.getOrSet("rows", () => []), value);
    assert.equal(await cache.set("text", "x".repeat(3_000_000)), true);
    assert.equal((await other.get<string>("text"))?.length, 3_000_000);
    await other.invalidate("rows");
    assert.equal(await cache.get("rows"), undefined);
    await Promise.all([cache.close(), other.close()]);
  });

  test("two caches on one server share values and computations", async () => {
    const [a, b] = [1, 2].map(() => createCache({ backend: memcached(server.address), namespace: "fleet" }));
    assert.ok(a && b);
    let loads = 0;
    const load = async (): Promise<number> => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return ++loads;
    };
    const calls = [a, b].flatMap((cache) => Array.from({ length: 100 }, () => cache.getOrSet("cold", load)));
    assert.deepEqual(new Set(await Promise.all(calls)), new Set([1]));
    await b.invalidate("cold");
    assert.equal(await a.getOrSet("cold", load), 2);
    await Promise.all([a.close(), b.close()]);
  });

  test("a closed cache refuses calls", async () => {
    const cache = createCache({ backend: memcached(server.address) });
    await cache.close();
    await assert.rejects(cache.get("a"), isClosed);
  });

  test("a cache and its namespaces are closed together, whichever of them is told", async () => {
    const cache = createCache({ backend: memory() });
    const inner = cache.namespace("inner");
    await inner.close();
    await assert.rejects(inner.getOrSet("a", song), isClosed);
    await assert.rejects(cache.getOrSet("a", song), isClosed);
    await assert.rejects(cache.set("a", 1), isClosed);
  });

  test("a script that awaits an invalidation which nobody confirms is told so before it ends", () => {
    const script = `
      import { createCache, memcached } from "everfresh";
      const cache = createCache({ backend: memcached("127.0.0.1:1"), invalidationTimeout: "100ms" });
      await cache.invalidate("a").catch(({ code }) => console.log(code));`;
    const args = ["--input-type=module", "--eval", script];
    assert.equal(execFileSync(process.execPath, args, { encoding: "utf8" }).trim(), "EF_INVALIDATION_PENDING");
  });
});
