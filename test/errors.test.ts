import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { cacheFromEnv, createCache, EverfreshError, errorCodes, isEverfreshError, memory } from "everfresh";
import { createClient } from "everfresh/client";
import { createOutbox, outboxSchema } from "everfresh/outbox";
import { createServer } from "everfresh/server";

test("the manual lists exactly the codes of the table, each with the sentence of the table", () => {
  const manual = readFileSync("docs/errors.md", "utf8");
  const rows = [...manual.matchAll(/^\| `(EF_[A-Z_]+)` \| ([^|]+?) \|/gm)].map(([, code, meaning]) => [code, meaning]);
  assert.deepEqual(
    rows,
    Object.entries(errorCodes).toSorted(([a], [b]) => a.localeCompare(b)),
  );
});

test("an error carries its code, where it happened and why", () => {
  const cause = new Error("refused");
  const error = new EverfreshError("EF_CLOSED", "The cache was closed.", {
    server: "a:1",
    command: "get",
    key: "k",
    cause,
  });
  assert.equal(error.name, "EverfreshError");
  assert.deepEqual([error.code, error.server, error.command, error.key], ["EF_CLOSED", "a:1", "get", "k"]);
  assert.equal(error.cause, cause);
});

test("errors are told apart by their code", () => {
  const error = new EverfreshError("EF_CLOSED", "The cache was closed.");
  assert.ok(isEverfreshError(error));
  assert.ok(isEverfreshError(error, "EF_CLOSED"));
  assert.ok(!isEverfreshError(error, "EF_OPTION"));
  assert.ok(!isEverfreshError(new Error("EF_CLOSED"), "EF_CLOSED"));
});

test("an address in the place of options or of a part is not shown: it may hold a password", async (t) => {
  const address = "memcached://ann:hidden@host:11211";
  const wrong = address as never;
  const list = [address] as never;
  const cache = createCache({ backend: memory() });
  t.after(() => cache.close());
  const wrongly: (() => unknown)[] = [
    () => createCache(wrong),
    () => createCache({ backend: wrong }),
    () => memory(wrong),
    () => createClient(wrong),
    () => createServer(wrong),
    () => createServer({ users: wrong }),
    () => createServer().listen(wrong),
    () => createOutbox(wrong),
    () => cache.monitor(wrong),
    () => cache.set("k", 1, wrong),
    () => cache.set("k", 1, { ttl: wrong }),
    () => cache.set("k", 1, { ttl: list }),
    () => createCache({ backend: memory(), jitter: wrong }),
    () => createCache({ backend: memory(), namespace: list }),
    () => createCache({ backend: list }),
    () => createClient({ servers: "a", protocol: wrong }),
    () => createClient({ servers: "a", flags: list }),
    () => cacheFromEnv({ EVERFRESH_BACKEND: address }),
    () => cacheFromEnv(wrong),
    () => outboxSchema(wrong),
    () => outboxSchema("sqlite", list),
  ];
  for (const call of wrongly)
    await assert.rejects(
      async () => await call(),
      (error: EverfreshError) => error.code === "EF_OPTION" && !error.message.includes("hidden"),
      String(call),
    );
});
