/** What is found on a server, and is it a value? */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { world, clock, a, b } from "../processes.ts";

describe("what is read", () => {
  test("bytes that are no envelope, and another key under the same digest, are misses", async () => {
    world.plant("n=k", Buffer.from("what pylibmc left"));
    const answer = await a.getOrSetEntry("k", () => "computed");
    assert.deepEqual([answer.value, answer.why], ["computed", "undecodable"]);
    assert.equal(await b.get("k"), "computed");

    const long = "x".repeat(300);
    await a.set(long, "mine");
    const wire = world.log.findLast((text) => text.startsWith("ms n~="))?.slice(3) ?? "";
    const bytes = Buffer.from(world.peek(wire) ?? "");
    bytes[bytes.indexOf(long)] = "y".charCodeAt(0);
    world.plant(wire, bytes);
    assert.equal((await a.getEntry(long)).why, "collision");
    assert.equal(await a.getOrSet(long, () => "again"), "again");
  });

  test("every damage to the bytes is a miss or the same value, never an exception", async () => {
    const value = { date: new Date(1), list: [1, 2, 3] };
    await a.set("k", value, { tags: ["t", "u"] });
    const bytes = Buffer.from(world.peek("n=k") ?? "");
    for (let length = 0; length < bytes.length; length++) {
      world.plant("n=k", bytes.subarray(0, length));
      assert.equal(await a.get("k"), undefined, `cut after ${length}`);
    }
    for (let index = 0; index < 60; index++) {
      const damaged = Buffer.from(bytes);
      damaged[index] = (damaged[index] ?? 0) ^ 0xff;
      world.plant("n=k", damaged);
      await a.getEntry("k");
    }
  });

  test("a value expires by the clock of its envelope, though the server still has it", async () => {
    await a.set("k", 1, { ttl: "1500ms" });
    await clock.advance(1_499);
    assert.equal(await a.get("k"), 1);
    await clock.advance(1);
    assert.equal((await a.getEntry("k")).why, "expired");
    assert.equal(await a.getOrSet("k", () => 2), 2);
  });

  test("jitter shortens the time to live, by no more than its fraction", async () => {
    const left: number[] = [];
    for (let index = 0; index < 50; index++) {
      await a.set(`k${index}`, 1, { ttl: "100s", jitter: 0.2 });
      left.push((await a.getEntry(`k${index}`)).ttlMs);
    }
    assert.ok(left.every((ttlMs) => ttlMs > 80_000 && ttlMs <= 100_000));
    assert.ok(new Set(left).size > 40);
  });
});
