/** The queue app in this process, on a new database, with whatever a test wants to be different. */
import type { TestContext } from "node:test";
import { createApp, openCache, type AppParts, type Database, type QueueCache } from "@everfresh/queue";
import { createServer } from "everfresh/server";
import type { FastifyInstance } from "fastify";
import { openNew, type TestDatabases } from "./queue-databases.ts";
import { Visitor } from "./queue-visitor.ts";

export interface TestApp {
  readonly app: FastifyInstance;
  readonly database: Database;
  readonly cache: QueueCache;
  readonly visitor: () => Visitor;
}

export const testConfig: AppParts["config"] = {
  production: false,
  sessionSecret: "a secret for tests, which nobody else uses",
  slowQueryMs: 0,
  pageCache: true,
  writesPerMinute: 0,
  maxItems: 1_000_000,
  trustedProxies: 0,
};

export type Different = Partial<Omit<AppParts, "config">> & { readonly config?: Partial<AppParts["config"]> };

/** Closed when the test ends, with the database if that is of its own. */
export async function testApp(t: TestContext, databases: TestDatabases, different: Different = {}): Promise<TestApp> {
  const database = different.database ?? (await openNew(databases));
  const cache = different.cache ?? (await openCache({ EVERFRESH_BACKEND: "none" }));
  const app = await createApp({
    ...different,
    database,
    cache,
    config: { ...testConfig, ...different.config },
  });
  t.after(async () => {
    await app.close();
    if (different.cache === undefined) await cache.close();
    if (different.database === undefined) await database.close();
  });
  return { app, database, cache, visitor: () => new Visitor(app) };
}

export interface TestFleet {
  readonly apps: readonly [TestApp, TestApp];
  readonly cachePort: number;
}

/** Two processes' worth of apps on one new database and one embedded cache server. */
export async function testFleet(t: TestContext, databases: TestDatabases): Promise<TestFleet> {
  const server = await createServer().listen();
  const database = await openNew(databases);
  const caches: QueueCache[] = [];
  const next = async (): Promise<TestApp> => {
    const cache = await openCache({ MEMCACHE_SERVERS: server.address });
    caches.push(cache);
    return await testApp(t, databases, { database, cache });
  };
  const apps = [await next(), await next()] as const;
  t.after(async () => {
    for (const cache of caches) await cache.close();
    await database.close();
    await server.close();
  });
  return { apps, cachePort: Number(server.address.split(":").at(-1)) };
}
