/** Values and the generations of their tags. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { settle } from "../../support/settle.ts";
import { world, a, b, Source, advance } from "../processes.ts";

describe("tags", () => {
  test("generations are read before the load: a tag that changes during it makes the value a miss", async () => {
    const source = new Source();
    const reading = a.getOrSet("k", source.slow, { tags: ["t"] });
    await settle();
    await b.invalidateTags(["t"]);
    source.ends[0]?.resolve();
    await reading;
    await settle();
    const answer = await b.getEntry("k");
    assert.deepEqual([answer.value, answer.why], [undefined, "tag t"]);
  });

  test("a missing tag is a miss, and two who create it agree", async () => {
    await a.getOrSet("k", () => 1, { tags: ["t"] });
    world.evict("n#t");
    assert.equal((await a.getEntry("k")).why, "tag t");
    const [one, two] = await Promise.all([
      a.getOrSet("x", () => 1, { tags: ["t"] }),
      b.getOrSet("y", () => 2, { tags: ["t"] }),
    ]);
    assert.deepEqual([one, two], [1, 2]);
    await settle();
    assert.deepEqual([await b.get("x"), await a.get("y")], [1, 2]);
  });

  test("an attempt to invalidate a tag that arrives late does not bring an old generation back", async () => {
    const source = new Source();
    await a.getOrSet("k", source.quick, { tags: ["t"] });
    world.hold();
    const invalidation = b.invalidateTags(["t"]);
    await settle();
    await world.fail("ms n#t");
    world.release();
    await advance(100);
    await invalidation;
    const sets = world.log.filter((text) => text === "ms n#t").length;
    source.value = 2;
    assert.equal(await a.getOrSet("k", source.quick, { tags: ["t"] }), 2);
    assert.equal(sets, 2, "one creates it, one confirms the invalidation");
  });

  test("tags that a loader adds guard its value from the next computation on", async () => {
    let value = 1;
    const entry = { loads: 0 };
    const read = (): Promise<number> =>
      a.getOrSet("k", (context) => {
        entry.loads++;
        context.addTags(["added"]);
        return value;
      });
    await read();
    await settle();
    assert.equal(await b.get("k"), undefined, "not stored: the tag was not known before");
    await read();
    await read();
    assert.equal(entry.loads, 2);
    value = 2;
    await b.invalidateTags(["added"]);
    assert.equal(await read(), 2);
  });
});
