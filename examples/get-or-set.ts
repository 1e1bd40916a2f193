/** Compute once, keep, and never show an old value: the smallest program that uses the cache. */
import assert from "node:assert/strict";
import { createCache, memcached } from "everfresh";
import { createServer } from "everfresh/server";

const server = await createServer().listen();
let title = "Blue in Green";
let computed = 0;
async function loadSong(id: number): Promise<{ id: number; title: string }> {
  computed += 1;
  return { id, title };
}

const cache = createCache({ backend: memcached(server.address), namespace: "shop", ttl: "10m" });

const song = (id: number) => cache.getOrSet(`song:${id}`, () => loadSong(id), { ttl: "5m", tags: ["songs"] });
await Promise.all([song(7), song(7), song(7)]);
assert.equal(computed, 1); // however many ask at once, one computes

title = "So What";
await cache.invalidate("song:7"); // whoever asks from now on sees the new title
assert.deepEqual(await song(7), { id: 7, title: "So What" });

title = "All Blues";
await cache.invalidateTags(["songs"]); // the same for everything that carries the tag
assert.deepEqual(await song(7), { id: 7, title: "All Blues" });
assert.equal(computed, 3);

await cache.close();
await server.close();
