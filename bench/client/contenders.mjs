// Every client behind the same functions. `text` and `bytes` take the value out of what `get` and `getBytes` gave, so that no
// client pays for a wrapper. Values are text unless bytes are asked for.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

export const contenders = {
  everfresh: async (ports) => {
    const { createClient } = await import("../../dist/client/index.js");
    const client = createClient({ servers: ports.map((port) => `127.0.0.1:${port}`), timeoutMs: 5000 });
    return {
      get: (key) => client.get(key),
      text: (result) => result.value,
      getBytes: (key) => client.get(key, { as: "bytes" }),
      bytes: (result) => result.value,
      set: (key, value) => client.set(key, value),
      getMany: (keys) => client.getMany(keys),
      many: (result) => result.values,
      close: () => client.close(),
    };
  },
  raw: async (ports) => (await import("./raw.mjs")).open(ports),
  memjs: async (ports) => {
    const { Client } = require("memjs");
    const client = Client.create(ports.map((port) => `127.0.0.1:${port}`).join(","), { timeout: 5, retries: 0 });
    return {
      get: (key) => client.get(key),
      text: (result) => result.value.toString(),
      getBytes: (key) => client.get(key),
      bytes: (result) => result.value,
      set: (key, value) => client.set(key, value, {}),
      // It has no multi-get.
      getMany: async (keys) => {
        const found = await Promise.all(keys.map((key) => client.get(key)));
        return new Map(keys.map((key, at) => [key, found[at].value.toString()]));
      },
      close: () => client.close(),
    };
  },
  memcached: async (ports) => {
    const Memcached = require("memcached");
    const client = new Memcached(
      ports.map((port) => `127.0.0.1:${port}`),
      { poolSize: 1, timeout: 5000 },
    );
    return {
      get: (key) => called((done) => client.get(key, done)),
      set: (key, value) => called((done) => client.set(key, value, 0, done)),
      getMany: async (keys) => new Map(Object.entries(await called((done) => client.getMulti(keys, done)))),
      close: () => client.end(),
    };
  },
  memcache: async (ports) => {
    const { Memcache } = await import("memcache");
    const client = new Memcache({ nodes: ports.map((port) => `127.0.0.1:${port}`), timeout: 5000 });
    await client.connect?.();
    return {
      get: (key) => client.get(key),
      set: (key, value) => client.set(key, value),
      getMany: (keys) => client.gets(keys),
      close: () => client.disconnect(),
    };
  },
  "memcache-client": async (ports) => {
    const { MemcacheClient } = require("memcache-client");
    const client = new MemcacheClient({ server: `127.0.0.1:${ports[0]}`, cmdTimeout: 5000 });
    return {
      get: (key) => client.get(key),
      text: (result) => result.value,
      set: (key, value) => client.set(key, value),
      getMany: async (keys) => {
        const found = await client.get(keys);
        return new Map(Object.entries(found).map(([key, hit]) => [key, hit.value]));
      },
      close: () => client.shutdown(),
    };
  },
  ioredis: async (ports) => redis(ports, false),
  "ioredis-auto": async (ports) => redis(ports, true),
};

function called(run) {
  return new Promise((resolve, reject) => run((error, value) => (error ? reject(error) : resolve(value))));
}

function redis(ports, enableAutoPipelining) {
  const { Redis } = require("ioredis");
  const client = new Redis({ port: ports[0], host: "127.0.0.1", enableAutoPipelining });
  return {
    get: (key) => client.get(key),
    getBytes: (key) => client.getBuffer(key),
    set: (key, value) => client.set(key, value),
    getMany: async (keys) => {
      const found = await client.mget(keys);
      return new Map(keys.map((key, at) => [key, found[at]]));
    },
    close: () => client.disconnect(),
  };
}
