/** The article's queue in a few lines: a cached query that is declared once, and refreshed after every write. */
import assert from "node:assert/strict";
import { createCache, memory } from "everfresh";

const rows: string[] = [];
let queries = 0;
const db = {
  async items(_list: string): Promise<string[]> {
    queries += 1;
    return [...rows];
  },
  async add(text: string): Promise<void> {
    rows.push(text);
  },
};

const cache = createCache({ backend: memory({ limitBytes: 16_000_000 }) });

const queue = cache.entry("queue", { load: (list: string) => db.items(list), ttl: "10m" });
assert.deepEqual(await queue.get("main"), []); // an empty list is a value like any other ...
assert.deepEqual(await queue.get("main"), []);
assert.equal(queries, 1); // ... and cached like any other

await db.add("first");
await queue.refresh("main"); // after the write is committed: the next page is already a hit
assert.deepEqual(await queue.get("main"), ["first"]);
assert.equal(queries, 2);

await cache.close();
