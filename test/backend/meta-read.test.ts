/** Reads by the meta protocol that only some servers understand in full. */
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { createCache, EverfreshError, metaBackend, type Cache, type LeaseClient } from "everfresh";
import { insideTransaction } from "#src/cache/transactions.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";

const failing = (): Promise<number> => Promise.reject(new Error("no database"));

/** A client of servers that lack `mg k v C<cas>`, as memcached does before 1.6.40. */
function withoutConditions(client: LeaseClient): LeaseClient {
  return {
    ...client,
    meta: {
      ...client.meta,
      get: (key, flags, call) =>
        flags.ifChangedFrom === undefined
          ? client.meta.get(key, flags, call)
          : Promise.reject(new EverfreshError("EF_UNSUPPORTED", "no C")),
    },
  };
}

test("values asked about together, on a server that lacks the flag for it, leave it a server with meta commands", async () => {
  const world = new FakeMemcached(["fake:1"]);
  const refused: string[] = [];
  const backend = metaBackend(withoutConditions(world.client()), { refused: (key) => refused.push(key) });
  const keys = ["one", "two", "three"];
  const known = await Promise.all(
    keys.map(async (key) => {
      await backend.put(key, { bytes: Buffer.from(key), flags: 0 }, 60, "set");
      const reading = await backend.read(key, {});
      return reading.kind === "item" ? reading.token : assert.fail(reading.kind);
    }),
  );
  const readings = keys.map((key, index) => {
    const token = known[index] ?? assert.fail("no token");
    return Promise.race([
      backend.read(key, { known: token }).then(({ kind }) => kind),
      new Promise((resolve) => {
        setImmediate(resolve, "no answer");
      }),
    ]);
  });
  assert.deepEqual(await Promise.all(readings), ["same", "same", "same"]);
  assert.deepEqual(refused, []);
  await backend.close();
});

test("a stale value is served to whom may have it also by who still has its version, on a server that lacks the flag", async () => {
  const world = new FakeMemcached(["fake:1"]);
  const clock = new ManualClock();
  const open = (local: boolean): Cache =>
    createCache({ backend: metaBackend(withoutConditions(world.client())), clock, random: seededRandom(1), local });
  const [near, far] = [open(true), open(false)];
  const ifError = { ttl: "1h", staleIfError: "30s" } as const;
  const meanwhile = { ttl: "1h", staleWhileRevalidate: "30s", refreshAhead: "5s" } as const;
  for (const [key, options, load] of [
    ["k", ifError, failing],
    ["m", meanwhile, () => 2],
  ] as const) {
    const answers = async (by: Cache): Promise<unknown> => (await by.getOrSetEntry(key, load, options)).status;
    await near.getOrSet(key, () => 1, options);
    assert.equal(await answers(near), "hit");
    await far.invalidate(key, options);
    assert.equal(await answers(near), "stale");
    await turn();
    assert.equal(await answers(far), key === "k" ? "stale" : "hit");
  }
  await far.delete("m");
  assert.equal(await near.getOrSet("m", () => 3, meanwhile), 3);
});

/** A client that lends the bytes of its answers, and uses their place again at once. */
function lending(client: LeaseClient): LeaseClient {
  const { meta } = client;
  return {
    ...client,
    meta: {
      ...meta,
      getInto: (key, flags, sink) => {
        meta.get(key, flags).then(
          (result) => {
            if (result.kind === "miss") return sink.failed(new Error(`there is no ${key}`));
            const data = Buffer.from(result.value ?? "");
            const place = { data, dataStart: 0, dataEnd: data.length, hasData: result.value !== undefined };
            const answer = { ...result, ...place, hasCas: () => false, bytes: () => Buffer.from(data) };
            sink.answered(answer, result.epoch);
            return data.fill(0x21);
          },
          (error: unknown) => sink.failed(error),
        );
      },
    },
  };
}

test("a transaction reads what was found, whose bytes were only lent, by its version", async () => {
  const world = new FakeMemcached(["fake:1"]);
  const keys = ["one", "two", "three"];
  const writer = createCache({ backend: metaBackend(world.client()) });
  for (const key of keys) await writer.getOrSet(key, () => key, { version: 2 });
  const reader = createCache({ backend: metaBackend(lending(world.client())) });
  const read = (version: number): Promise<string[]> =>
    Promise.all(keys.map((key) => reader.getOrSet(key, () => "computed", { version })));
  const transaction = { open: true, outer: undefined, touches: () => false };
  assert.deepEqual(await insideTransaction(transaction, () => read(2)), keys);
  assert.deepEqual(await insideTransaction(transaction, () => read(0x21212121)), ["computed", "computed", "computed"]);
});
