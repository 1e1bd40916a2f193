/** The backends on which what users call must do the same, each with a cache of its own. */
import { after, before, describe } from "node:test";
import { createCache, memcached, memory, type Backend, type Cache, type CacheOptions } from "everfresh";
import { createServer, type CacheServer } from "everfresh/server";
import { startMemcached, type RealMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";

/** Those of the suite that runs. */
export let backend: Backend;
export let cache: Cache;

let number = 0;

/** A key that no other test uses. */
export const fresh = (): string => `key${number++}`;
export const song = (): string => "song";
export const list = (): { list: number[] } => ({ list: [1] });

/** Declares `tests` once for each backend; they use {@link cache}. */
export function onEveryBackend(tests: () => void): void {
  const suite = (open: () => Backend, options: Partial<CacheOptions> = {}) => {
    before(() => {
      backend = open();
      cache = createCache({ backend, namespace: "face", ttl: "10m", ...options });
    });
    after(() => cache.close());
    tests();
  };

  describe("in memory", () => suite(() => memory()));

  describe("on the embedded server", () => {
    let server: CacheServer;
    before(async () => {
      server = await createServer().listen();
    });
    after(() => server.close());
    suite(() => memcached(server.address));
  });

  describe("on memcached", needs("memcached"), () => {
    let server: RealMemcached;
    before(async () => {
      server = await startMemcached();
    });
    after(() => server.stop());
    describe("with the meta commands", () => suite(() => memcached(server.address)));
    describe("with the classic text commands alone", () =>
      suite(() => memcached(server.address, { protocol: "text" })));
    describe("with the binary commands alone", () => suite(() => memcached(server.address, { protocol: "binary" })));
    describe("with the in-process tier", () => suite(() => memcached(server.address), { local: true }));
  });
}
