/** The published contract suite over every backend that comes with Everfresh. */
import { after, before, describe } from "node:test";
import { classicBackend, memcached, memory, metaBackend } from "everfresh";
import { createClient } from "everfresh/client";
import { createServer, type CacheServer } from "everfresh/server";
import { backendContract } from "everfresh/testing";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";
import { needsSasl, startSaslMemcached } from "../support/sasl.ts";

backendContract("memory", () => {
  const clock = new ManualClock();
  return { backend: memory({ clock }), pass: (ms) => clock.advance(ms) };
});

backendContract("meta leases on a memcached that the test drives", () => {
  const world = new FakeMemcached(["fake:1", "fake:2"]);
  return {
    backend: metaBackend(world.client()),
    pass: (ms) => Promise.resolve(void (world.nowMs += ms)),
    disconnect: () => {
      world.disconnect("fake:1");
      world.disconnect("fake:2");
      return Promise.resolve();
    },
  };
});

describe("on the embedded server", { concurrency: true }, () => {
  let server: CacheServer;
  before(async () => {
    server = await createServer().listen();
  });
  after(() => server.close());
  backendContract("meta", () => ({ backend: memcached(server.address) }));
  backendContract("binary", () => ({ backend: memcached(server.address, { protocol: "binary" }) }));
});

describe("on memcached", { ...needs("memcached"), concurrency: true }, () => {
  let server: RealMemcached;
  before(async () => {
    server = await startMemcached();
  });
  after(() => server.stop());
  backendContract("meta", () => ({ backend: memcached(server.address) }));
  backendContract("classic text", () => ({ backend: memcached(server.address, { protocol: "text" }) }));
  backendContract("binary", () => ({ backend: memcached(server.address, { protocol: "binary" }) }));
  backendContract("classic commands although the server has meta", () => ({
    backend: classicBackend(createClient({ servers: server.address }), { itemLimitBytes: 1_000_000 }),
  }));
  backendContract("values in chunks", () => ({ backend: memcached(server.address, { itemBytes: 9_000 }) }));
});

describe("on a memcached that asks for a login", { ...needsSasl(), concurrency: true }, () => {
  let server: RealMemcached;
  before(async () => {
    server = await startSaslMemcached("shop", "secret");
  });
  after(() => server.stop());
  backendContract("binary with SASL", () => ({
    backend: memcached(server.address, { username: "shop", password: "secret" }),
  }));
});
