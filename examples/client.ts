/** The memcached client by itself: values, counters, compare-and-set, many keys, and a lease. */
import assert from "node:assert/strict";
import { createClient } from "everfresh/client";
import { createServer } from "everfresh/server";

const server = await createServer().listen();
const client = createClient({ servers: server.address });

await client.set("song:7", { title: "So What", year: 1959 }, { ttl: "10m" });
const song = await client.get("song:7");
assert.deepEqual(song.kind === "hit" ? song.value : song.kind, { title: "So What", year: 1959 });

const first = await client.incr("plays", { initial: 1 });
const second = await client.incr("plays");
assert.deepEqual([first.kind === "number" && first.value, second.kind === "number" && second.value], [1n, 2n]);

const { values, errors } = await client.getMany(["song:7", "song:8"]);
assert.deepEqual([[...values.keys()], errors.size], [["song:7"], 0]);

// Compare and set: nothing is stored over somebody else's change.
const read = await client.get("song:7", { cas: true });
assert.ok(read.kind === "hit" && read.cas);
await client.set("song:7", "changed by somebody");
assert.equal((await client.cas("song:7", "mine", read.cas, { on: read.epoch })).kind, "exists");

// A lease: one caller wins the right to make the value, and an invalidation takes it away.
const lease = await client.meta.get("report", { cas: true, vivify: 30 });
assert.ok(lease.kind === "hit" && lease.won && lease.cas);
await client.meta.delete("report");
const fill = await client.meta.set("report", "made from old data", { compareCas: lease.cas }, { on: lease.epoch });
assert.equal(fill.kind, "notFound");

await client.close();
await server.close();
