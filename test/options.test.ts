/**
 * Options that are undefined, as what the environment lacks is, count as left out: by their types, also where
 * `exactOptionalPropertyTypes` is on, and by what is done.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import {
  createCache,
  memory,
  type CacheOptions,
  type EntryOptions,
  type LocalOptions,
  type MemoryOptions,
  type MonitorOptions,
  type ReadOptions,
} from "everfresh";
import { purgeInFront, type PurgeOptions } from "everfresh/http";
import { cachePages, type PageOptions } from "everfresh/node";
import { createOutbox, type OutboxOptions, type OutboxWatch, type TransactionOptions } from "everfresh/outbox";
import { createServer, type ListenOptions, type ServerOptions } from "everfresh/server";
import { openSqlite } from "./outbox/support.ts";

/** Every option that may be left out, said to be undefined. */
type Nothing<Options> = {
  readonly [Name in keyof Options as object extends Pick<Options, Name> ? Name : never]-?: undefined;
};

const nothingOfTime = {
  ttl: undefined,
  jitter: undefined,
  staleWhileRevalidate: undefined,
  staleIfError: undefined,
  refreshAhead: undefined,
  timeout: undefined,
  hardTimeout: undefined,
};
const nothingRead: Nothing<ReadOptions> = {
  ...nothingOfTime,
  version: undefined,
  schema: undefined,
  tags: undefined,
  forceFresh: undefined,
  collects: undefined,
  monitored: undefined,
  shared: undefined,
  signal: undefined,
};
const nothingOfMemory: Nothing<MemoryOptions> = { limitBytes: undefined, limitEntries: undefined, clock: undefined };

test("of a cache, its reads, its entries and its monitor", async () => {
  const nothing: Nothing<CacheOptions> = {
    ...nothingOfTime,
    namespace: undefined,
    local: undefined,
    lease: undefined,
    wait: undefined,
    invalidationTimeout: undefined,
    maxConcurrentLoads: undefined,
    serializer: undefined,
    clock: undefined,
    random: undefined,
  };
  const cache = createCache({ backend: memory(nothingOfMemory), ...nothing });
  assert.equal(await cache.getOrSet("k", () => 1, nothingRead), 1);
  assert.equal(await cache.set("l", 2, { ttl: undefined, tags: undefined }), true);
  assert.equal(await cache.get("l", nothingRead), 2);
  const nothingOfEntries: Nothing<Omit<EntryOptions<[number], number>, "load">> = {
    ...nothingOfTime,
    version: undefined,
    schema: undefined,
    tags: undefined,
    collects: undefined,
    shared: undefined,
    loadWith: undefined,
    loadMany: undefined,
    key: undefined,
  };
  assert.equal(await cache.entry("e", { load: (id: number) => id, ...nothingOfEntries }).get(7), 7);
  const nothingOfMonitors: Nothing<MonitorOptions> = { sample: undefined, settle: undefined, maxConcurrent: undefined };
  cache.monitor(nothingOfMonitors).stop();
  await cache.close();

  const nothingLocal: Nothing<LocalOptions> = { maxAge: undefined, limitBytes: undefined, limitEntries: undefined };
  const near = createCache({ backend: memory(), local: nothingLocal });
  assert.equal(await near.getOrSet("k", () => 3), 3);
  await near.close();
});

test("of pages and of what purges them", async (t) => {
  const nothing: Nothing<PageOptions> = {
    tags: undefined,
    vary: undefined,
    query: undefined,
    cookies: undefined,
    private: undefined,
    key: undefined,
    when: undefined,
    statuses: undefined,
    maxBodyBytes: undefined,
    compress: undefined,
    staleWhileRevalidate: undefined,
    staleIfError: undefined,
    timeout: undefined,
    identity: undefined,
    serverTiming: undefined,
    surrogate: undefined,
  };
  const nothingOfPurges: Nothing<PurgeOptions> = { namespace: undefined, clock: undefined };
  t.after(purgeInFront(() => Promise.resolve(), nothingOfPurges));
  const cache = createCache({ backend: memory() });
  let renders = 0;
  const handler = cachePages(cache, { ttl: "1m", ...nothing }, (_req, res) => res.end(`page ${++renders}`));
  const site = createHttpServer(handler).listen(0, "127.0.0.1");
  t.after(() => site.close());
  await once(site, "listening");
  const url = `http://127.0.0.1:${(site.address() as AddressInfo).port}/`;
  for (let visit = 0; visit < 2; visit++) assert.equal(await (await fetch(url)).text(), "page 1");
  site.closeAllConnections();
  await cache.close();
});

test("of an outbox, its transactions and what it watches", async (t) => {
  const nothing: Nothing<OutboxOptions> = {
    table: undefined,
    relay: undefined,
    intervalMs: undefined,
    graceMs: undefined,
    deliveryTimeoutMs: undefined,
    batch: undefined,
    clock: undefined,
    random: undefined,
  };
  const caches = createCache({ backend: memory() });
  const db = openSqlite(t);
  const outbox = createOutbox({ db, caches, ...nothing });
  await outbox.install();
  const nothingOfTransactions: Nothing<TransactionOptions> = { isolation: undefined };
  assert.equal(await outbox.transaction(db, () => Promise.resolve(4), nothingOfTransactions), 4);
  const nothingOfWatches: Nothing<OutboxWatch> = { namespace: undefined };
  await outbox.watch("items", { tags: ["items"], ...nothingOfWatches });
  await outbox.unwatch("items", nothingOfWatches);
  await outbox.close();
  await caches.close();
});

test("of a server and where it listens", async () => {
  const nothing: Nothing<ServerOptions> = {
    limitBytes: undefined,
    itemBytes: undefined,
    maxConnections: undefined,
    evicts: undefined,
    protocol: undefined,
    flushes: undefined,
    dumps: undefined,
    watches: undefined,
    shutdowns: undefined,
    onShutdown: undefined,
    idleTimeout: undefined,
    users: undefined,
    login: undefined,
    loginTimeout: undefined,
    loginAttempts: undefined,
    uploadBytes: undefined,
    version: undefined,
    prefixDelimiter: undefined,
    clock: undefined,
    random: undefined,
  };
  const nothingOfPlaces: Nothing<ListenOptions> = {
    port: undefined,
    host: undefined,
    path: undefined,
    mode: undefined,
    tls: undefined,
    backlog: undefined,
  };
  const server = await createServer(nothing).listen(nothingOfPlaces);
  assert.match(server.address, /^127\.0\.0\.1:\d+$/);
  await server.close();
});
