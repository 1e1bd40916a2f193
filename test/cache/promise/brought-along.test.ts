/** What users bring along, loaders, serializers, schemas and keys, and what goes wrong in it. */
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { describe, test } from "node:test";
import { createCache, memory, none } from "everfresh";
import { deferred } from "../../support/deferred.ts";
import { settle } from "../../support/settle.ts";
import { clock, a, b, process } from "../processes.ts";

const failing = (): Promise<never> => Promise.reject(new Error("late"));

/** A promise of somebody else's making. */
class Thenable {
  // oxlint-disable-next-line unicorn/no-thenable
  then(done: (result: object) => void): void {
    done({ issues: [{}] });
  }
}

describe("what users bring along and what goes wrong in it", () => {
  test("a loader runs in the async context of the caller who brought it", async () => {
    const request = new AsyncLocalStorage<string>();
    const local = createCache({ backend: memory(), clock });
    const without = createCache({ backend: none(), clock });
    for (const cache of [a, local, without]) {
      const who = (key: string) => async (): Promise<string | undefined> =>
        await request.run(key, () => cache.getOrSet(key, () => request.getStore()));
      const many = async (keys: string[]): Promise<unknown[]> =>
        await request.run(keys.join(), async () => {
          const found = await cache.getOrSetMany(keys, (missing) => missing.map(() => request.getStore()));
          return [...found.values()];
        });
      const names = ["anna", "bert", "carl"];
      assert.deepEqual(await Promise.all(names.map((name) => who(name)())), names);
      assert.deepEqual(await Promise.all([many(["d", "e"]), many(["f", "g"])]), [
        ["d,e", "d,e"],
        ["f,g", "f,g"],
      ]);
    }
  });

  test("who starts over brings its context along", async () => {
    const request = new AsyncLocalStorage<string>();
    const end = deferred();
    const load = async (): Promise<string | undefined> => {
      await end.promise;
      return request.getStore();
    };
    const early = request.run("early", () => a.getOrSet("k", load));
    await settle();
    await b.invalidate("k");
    const late = request.run("late", () => a.getOrSet("k", load));
    await settle();
    end.resolve();
    assert.deepEqual([await early, await late], ["early", "late"]);
  });

  test("a serializer that throws on reading is a miss, and on writing hands the value out unstored", async () => {
    let broken = false;
    const serializer = {
      encode(value: unknown): Uint8Array {
        if (broken) throw new Error("cannot encode");
        return Buffer.from(JSON.stringify(value));
      },
      decode(bytes: Uint8Array): unknown {
        if (broken) throw new Error("cannot decode");
        return JSON.parse(Buffer.from(bytes).toString());
      },
    };
    const cache = process({ serializer });
    assert.deepEqual(await cache.getOrSet("k", () => ({ a: 1 })), { a: 1 });
    assert.deepEqual(await cache.get("k"), { a: 1 });
    broken = true;
    assert.equal((await cache.getEntry("k")).why, "undecodable");
    assert.deepEqual(await Promise.all([1, 2].map(() => cache.getOrSet("k", () => ({ a: 2 })))), [{ a: 2 }, { a: 2 }]);
    await assert.rejects(cache.set("k", 1), /cannot encode/);
  });

  test("a serializer that is none is refused, and one that answers with no bytes hands the value out unstored", async () => {
    for (const wrong of [{}, null, { encode: () => Buffer.from("") }, 5])
      assert.throws(() => process({ serializer: wrong as never }), { code: "EF_OPTION", message: /of the serializer/ });
    for (const answer of [Promise.resolve(Buffer.from("1")), undefined, {}, [1, 2]]) {
      const cache = process({ serializer: { encode: () => answer as never, decode: () => 1 } });
      assert.equal(await cache.getOrSet("k", () => 2), 2);
      assert.equal(await cache.get("k"), undefined);
      await assert.rejects(cache.set("k", 1), { code: "EF_VALUE", message: /bytes, at once; got / });
    }
  });

  test("a serializer that fails between two callers of one value fails the second, and nobody waits for ever", async () => {
    let decodes = 0;
    const serializer = {
      encode: (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value)),
      decode(bytes: Uint8Array): unknown {
        if (++decodes > 1) throw new Error("only once");
        return JSON.parse(Buffer.from(bytes).toString());
      },
    };
    const cache = process({ serializer });
    await a.set("unrelated", 1);
    const results = await Promise.allSettled([1, 2].map(() => cache.getOrSet("k", () => ({ a: 1 }))));
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected"],
    );
  });

  test("what a serializer reads with a promise is never there, and no promise that it fails with ends the process", async () => {
    const reading = process({ serializer: { encode: () => Buffer.from("1"), decode: failing } });
    for (const value of [2, 3]) assert.equal(await reading.getOrSet("k", () => value), value);
    await reading.set("k", 1);
    assert.deepEqual(await reading.getEntry("k").then(({ why }) => why), "undecodable");
    const writing = process({ serializer: { encode: failing as never, decode: () => 1 } });
    await assert.rejects(writing.set("k", 1), { code: "EF_VALUE" });
    await a.set("k", 1);
    await assert.rejects(a.update("k", failing), { code: "EF_VALUE", message: /instance of Promise/ });
    await settle();
  });

  test("a schema that would have to be waited for is refused", async () => {
    await a.set("k", 1);
    for (const validate of [() => Promise.resolve({}), failing, () => new Thenable() as Promise<object>]) {
      const schema = { "~standard": { validate } };
      await assert.rejects(
        a.getOrSet("k", () => 1, { schema }),
        { code: "EF_OPTION" },
      );
    }
    await settle();
  });

  test("a key or a tag that holds half of a surrogate pair is refused, for UTF-8 has none", async () => {
    const half = "user:\u{1f600}".slice(0, 6);
    await assert.rejects(a.set(half, 1), { code: "EF_KEY", message: /surrogate/ });
    await assert.rejects(a.get(half), { code: "EF_KEY" });
    await assert.rejects(a.set("k", 1, { tags: [half] }), { code: "EF_OPTION", message: /surrogate/ });
    assert.equal(await a.set("user:\u{1f600}", 1, { tags: ["\u{1f600}"] }), true);
    assert.equal(await a.get("user:\u{1f600}"), 1);
  });

  test("a key of more than 16,384 characters is refused, and one of exactly so many works", async () => {
    await assert.rejects(
      a.getOrSet("k".repeat(16_385), () => 1),
      { code: "EF_KEY" },
    );
    assert.equal(await a.getOrSet("ö".repeat(16_384), () => 1), 1);
    assert.equal(await a.get("ö".repeat(16_384)), 1);
  });
});
