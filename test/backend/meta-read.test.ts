/** Reads by the meta protocol that only some servers understand in full. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EverfreshError, metaBackend, type LeaseClient } from "everfresh";
import { FakeMemcached } from "../support/fake-memcached.ts";

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
