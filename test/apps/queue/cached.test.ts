/** The cached page: quick after the first look, never old, and not needed. On every kind of cache and database. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { createServer } from "everfresh/server";
import { openCache, type Database, type QueueCache } from "@everfresh/queue";
import { startMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";
import { testApp, type TestApp } from "../../support/queue-app.ts";
import { fillQueue, testDatabases, type TestDatabases } from "../../support/queue-databases.ts";
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

        test("who writes past the app tells the cache by the tag, and every process shows it", async (t) => {
          const apps = await fleet(t, databases, kind, kind.fleet ? 2 : 1, 0);
          const people = apps.map(({ visitor }) => visitor());
          for (const person of people) await person.look();
          await apps[0].database.db.insertInto("queue_item").values({ text: "by hand" }).execute();
          await apps[0].cache.cache.invalidateTags(["queue_item"]);
          for (const person of people) assert.deepEqual(texts(await person.look()), ["by hand"]);
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

for (const databases of testDatabases())
  test(
    `a queue of 100,000 items on ${databases.name} has a short page, cached like any other`,
    databases.options,
    async (t) => {
      const cache = await openCache({ EVERFRESH_BACKEND: "memory" });
      t.after(() => cache.close());
      const { database, visitor } = await testApp(t, databases, { cache });
      await fillQueue(database, 100_000);
      const person = visitor();
      const page = await person.page();
      assert.match(page.body, /100,000 items/);
      assert.match(page.body, /99,900 more in between/);
      assert.match(page.body, /<ol class="items" start="99951">/);
      assert.ok(page.body.length < 20_000, `${page.body.length} characters`);
      assert.doesNotMatch(page.body, /<li\b[^>]*>\s*<li\b/, "no item within an item");
      assert.equal((await person.look()).panel.source, "cache");
      assert.equal((await person.add("the last")).position, 100_001);
      assert.equal((await person.remove()).removed.text, "item 1");
    },
  );

test("apps that share a cache server and have names of their own do not see each other's queue", async (t) => {
  const [sqlite] = testDatabases();
  assert.ok(sqlite !== undefined);
  const server = await createServer().listen();
  const open = (name: string): Promise<QueueCache> =>
    openCache({ MEMCACHE_SERVERS: server.address, CACHE_NAMESPACE: name });
  const caches = [await open("queue"), await open("queue-review-7")] as const;
  const first = await testApp(t, sqlite, { cache: caches[0] });
  const second = await testApp(t, sqlite, { cache: caches[1] });
  t.after(async () => {
    for (const cache of caches) await cache.close();
    await server.close();
  });
  await first.visitor().add("production");
  assert.deepEqual(texts(await second.visitor().look()), []);
  assert.deepEqual(texts(await first.visitor().look()), ["production"]);
});

test("what is cached belongs to nobody: visitors share a view, and never a token", async (t) => {
  const [sqlite] = testDatabases();
  assert.ok(sqlite !== undefined);
  const cache = await openCache({ EVERFRESH_BACKEND: "memory" });
  t.after(() => cache.close());
  const { visitor } = await testApp(t, sqlite, { cache });
  const people = [visitor(), visitor(), visitor()];
  const looks = [];
  for (const person of people) looks.push(await person.look());
  assert.equal(new Set(looks.map((look) => look.view.id)).size, 1);
  assert.equal(new Set(looks.map((look) => look.csrf)).size, 3);
  assert.equal(new Set(people.map((person) => person.cookies.get("csrf"))).size, 3);
  const stored = JSON.stringify(await cache.cache.get("view"));
  for (const { csrf } of looks) assert.ok(!stored.includes(csrf));
});

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

/** That it did not wait for a query is what its source says; how long it took is the machine's affair. */
async function cached(looking: Promise<QueueAnswer>): Promise<QueueAnswer> {
  const look = await looking;
  assert.equal(look.panel.source, "cache");
  return look;
}

function texts(answer: QueueAnswer): string[] {
  return [...answer.view.front, ...answer.view.back].map((item) => item.text);
}
