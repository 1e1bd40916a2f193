/** The cached page: quick after the first look, never old, and not needed. On every kind of cache and database. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { createServer } from "everfresh/server";
import { openCache, type Database, type QueueCache } from "@everfresh/queue";
import { startMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";
import { testApp, type TestApp } from "../../support/queue-app.ts";
import { testDatabases, type TestDatabases } from "../../support/queue-databases.ts";
import type { QueueAnswer } from "../../support/queue-visitor.ts";

interface Kind {
  readonly name: string;
  readonly options: { readonly skip: string | false };
  /** Whether several processes can share it. */
  readonly fleet: boolean;
  start(): Promise<Started>;
}

interface Started {
  readonly env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

const kinds: readonly Kind[] = [
  {
    name: "memory",
    options: { skip: false },
    fleet: false,
    start: () => Promise.resolve({ env: { EVERFRESH_BACKEND: "memory" }, stop: () => Promise.resolve() }),
  },
  {
    name: "the embedded server",
    options: { skip: false },
    fleet: true,
    async start() {
      const server = await createServer().listen();
      return { env: { MEMCACHE_SERVERS: server.address }, stop: () => server.close() };
    },
  },
  {
    name: "memcached",
    options: needs("memcached"),
    fleet: true,
    async start() {
      const server = await startMemcached();
      return { env: { MEMCACHE_SERVERS: server.address }, stop: () => server.stop() };
    },
  },
];

const slowQueryMs = 200;

for (const databases of testDatabases())
  for (const kind of kinds)
    describe(
      `${kind.name} before ${databases.name}`,
      { skip: databases.options.skip || kind.options.skip, concurrency: true },
      () => {
        test("the first view waits for the query, the next ones come from the cache, also right after a write", async (t) => {
          const [{ visitor }] = await fleet(t, databases, kind, 1);
          const person = visitor();
          const first = await person.look();
          assert.equal(first.panel.source, "database");
          assert.ok(first.panel.tookMs >= slowQueryMs - 1);
          await cached(person.look());
          const added = await person.add("a");
          assert.equal(added.write.cache, "fresh");
          assert.deepEqual([added.panel.source, texts(added)], ["cache", ["a"]]);
          assert.deepEqual(texts(await cached(person.look())), ["a"]);
          assert.deepEqual(texts(await person.remove()), []);
          assert.deepEqual(texts(await cached(person.look())), []);
        });

        test("an empty queue is a hit like any other", async (t) => {
          const [{ visitor }] = await fleet(t, databases, kind, 1);
          const person = visitor();
          await person.look();
          assert.equal((await cached(person.look())).view.total, 0);
          assert.equal((await cached(person.look())).view.total, 0);
        });

        test("a crowd in front of a cold cache costs one query", async (t) => {
          const apps = await fleet(t, databases, kind, kind.fleet ? 2 : 1);
          const looks = await Promise.all(
            apps.flatMap(({ visitor }) => Array.from({ length: 20 }, () => visitor().look())),
          );
          assert.equal(new Set(looks.map((look) => look.view.id)).size, 1);
        });

        test("what one process writes, every process shows from then on", async (t) => {
          const apps = await fleet(t, databases, kind, kind.fleet ? 2 : 1, 0);
          const people = apps.map(({ visitor }) => visitor());
          const expected: string[] = [];
          for (let round = 0; round < 12; round += 1) {
            const writer = people[round % people.length];
            if (round % 3 === 2) {
              await writer?.remove();
              expected.shift();
            } else {
              await writer?.add(`item ${round}`);
              expected.push(`item ${round}`);
            }
            for (const person of people) assert.deepEqual(texts(await person.look()), expected);
          }
        });

        test("a slow view that began before a write does not bring back what was there before it", async (t) => {
          const [{ visitor }] = await fleet(t, databases, kind, 1);
          const [reader, writer] = [visitor(), visitor()];
          await writer.look();
          await writer.add("first");
          for (let round = 0; round < 3; round += 1) {
            const looking = reader.look();
            const added = await writer.add(`round ${round}`);
            await looking;
            const shown = texts(await reader.look());
            assert.deepEqual(shown, texts(added));
            assert.equal(shown.at(-1), `round ${round}`);
          }
        });
      },
    );

/** As many processes' worth of apps on one database and one cache. */
async function fleet(
  t: TestContext,
  databases: TestDatabases,
  kind: Kind,
  size: number,
  slow = slowQueryMs,
): Promise<[TestApp, ...TestApp[]]> {
  const started = await kind.start();
  const config = { slowQueryMs: slow };
  const caches: QueueCache[] = [];
  const next = async (database?: Database): Promise<TestApp> => {
    const cache = await openCache(started.env);
    caches.push(cache);
    return await testApp(t, databases, { config, cache, ...(database !== undefined && { database }) });
  };
  const first = await next();
  const others: TestApp[] = [];
  while (others.length < size - 1) others.push(await next(first.database));
  t.after(async () => {
    for (const cache of caches) await cache.close();
    await started.stop();
  });
  return [first, ...others];
}

async function cached(looking: Promise<QueueAnswer>): Promise<QueueAnswer> {
  const look = await looking;
  assert.equal(look.panel.source, "cache");
  assert.ok(look.panel.tookMs < look.panel.queryMs, `${look.panel.tookMs} ms`);
  return look;
}

function texts(answer: QueueAnswer): string[] {
  return [...answer.view.front, ...answer.view.back].map((item) => item.text);
}
