// Each contender: what it takes to open it, and one getOrSet. The floor is a Map with a map of what is in flight.
import { createCache, memcached, memory } from "everfresh";
import { createClient } from "everfresh/client";

const ttlMs = 600_000;

/** Kept in this process. */
export const inMemory = {
  everfresh() {
    const cache = createCache({ backend: memory(), ttl: "10m" });
    return { getOrSet: (key, load) => cache.getOrSet(key, load, { tags: ["bench"] }), close: () => cache.close() };
  },
  floor() {
    const values = new Map();
    const flights = new Map();
    return {
      async getOrSet(key, load) {
        const entry = values.get(key);
        if (entry !== undefined && entry.until > Date.now()) return entry.value;
        let flight = flights.get(key);
        if (flight === undefined) {
          flight = load().finally(() => flights.delete(key));
          flights.set(key, flight);
          values.set(key, { value: await flight, until: Date.now() + ttlMs });
        }
        return await flight;
      },
    };
  },
  async "async-cache-dedupe"() {
    const { createCache: create } = await import("async-cache-dedupe");
    const loaders = new Map();
    const cache = create({ ttl: ttlMs / 1000, storage: { type: "memory" } });
    cache.define("value", (key) => loaders.get(key)());
    return {
      getOrSet(key, load) {
        if (!loaders.has(key)) loaders.set(key, load);
        return cache.value(key);
      },
    };
  },
  async cachified() {
    const { cachified } = await import("@epic-web/cachified");
    const cache = new Map();
    return { getOrSet: (key, load) => cachified({ key, cache, ttl: ttlMs, getFreshValue: load }) };
  },
  async "cache-manager"() {
    const { createCache: create } = await import("cache-manager");
    const cache = create({ ttl: ttlMs });
    return { getOrSet: (key, load) => cache.wrap(key, load) };
  },
  async cacheable() {
    const { Cacheable } = await import("cacheable");
    const cache = new Cacheable({ ttl: ttlMs });
    return { getOrSet: (key, load) => cache.getOrSet(key, load, { ttl: ttlMs }) };
  },
  async bentocache() {
    const { BentoCache, bentostore } = await import("bentocache");
    const { memoryDriver } = await import("bentocache/drivers/memory");
    const bento = new BentoCache({
      default: "m",
      stores: { m: bentostore().useL1Layer(memoryDriver({ maxItems: 100_000 })) },
    });
    return {
      getOrSet: (key, factory) => bento.getOrSet({ key, factory, ttl: "10m" }),
      close: () => bento.disconnectAll(),
    };
  },
};

/** Kept on a cache server. `ports`: { memcached, redis }. */
export const onServer = {
  everfresh({ memcached: port }) {
    const cache = createCache({ backend: memcached(`127.0.0.1:${port}`), ttl: "10m" });
    return { getOrSet: (key, load) => cache.getOrSet(key, load, { tags: ["bench"] }), close: () => cache.close() };
  },
  "everfresh-local"({ memcached: port }) {
    const cache = createCache({ backend: memcached(`127.0.0.1:${port}`), ttl: "10m", namespace: "local", local: true });
    return { getOrSet: (key, load) => cache.getOrSet(key, load, { tags: ["bench"] }), close: () => cache.close() };
  },
  /** Everfresh's own client alone: a get that decodes its value, no leases, no tags, no checks. */
  "bare client"({ memcached: port }) {
    const client = createClient({ servers: `127.0.0.1:${port}` });
    return {
      async getOrSet(key, load) {
        const found = await client.get(`bare:${key}`);
        if (found.kind === "hit") return found.value;
        const value = await load();
        await client.set(`bare:${key}`, value);
        return value;
      },
      close: () => client.close(),
    };
  },
  async "keyv on memcached"({ memcached: port }) {
    const { default: Keyv } = await import("keyv");
    const { default: KeyvMemcache } = await import("@keyv/memcache");
    const keyv = new Keyv({ store: new KeyvMemcache(`127.0.0.1:${port}`), namespace: "keyv" });
    return keyvGetOrSet(keyv);
  },
  async "keyv on Redis"({ redis: port }) {
    const { default: Keyv } = await import("keyv");
    const { default: KeyvRedis } = await import("@keyv/redis");
    const keyv = new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`), namespace: "keyv" });
    return keyvGetOrSet(keyv);
  },
  async "cache-manager on Redis"({ redis: port }) {
    const { createCache: create } = await import("cache-manager");
    const { default: Keyv } = await import("keyv");
    const { default: KeyvRedis } = await import("@keyv/redis");
    const cache = create({
      ttl: ttlMs,
      stores: [new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`), namespace: "cm" })],
    });
    return { getOrSet: (key, load) => cache.wrap(key, load) };
  },
  async "bentocache on Redis"({ redis: port }) {
    const { BentoCache, bentostore } = await import("bentocache");
    const { redisDriver } = await import("bentocache/drivers/redis");
    const driver = redisDriver({ connection: { host: "127.0.0.1", port } });
    const bento = new BentoCache({ default: "r", stores: { r: bentostore().useL2Layer(driver) } });
    return {
      getOrSet: (key, factory) => bento.getOrSet({ key, factory, ttl: "10m" }),
      close: () => bento.disconnectAll(),
    };
  },
};

function keyvGetOrSet(keyv) {
  return {
    async getOrSet(key, load) {
      const found = await keyv.get(key);
      if (found !== undefined) return found;
      const value = await load();
      await keyv.set(key, value, ttlMs);
      return value;
    },
    close: () => keyv.disconnect(),
  };
}
