/** What works while a part is down, what does not, and what the visitor and `/healthz` are told. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { openCache, type QueueCache } from "@everfresh/queue";
import type { FastifyInstance } from "fastify";
import { sql } from "kysely";
import { startMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";
import { testApp } from "../../support/queue-app.ts";
import { openAt, openNew, testDatabases } from "../../support/queue-databases.ts";
import type { QueueAnswer } from "../../support/queue-visitor.ts";

interface HealthAnswer {
  readonly status: string;
  readonly database: { readonly kind: string; readonly state: string };
  readonly cache: { readonly kind: string; readonly state: string; readonly servers: { up: number; all: number } };
}

const [sqlite, postgres] = testDatabases();
if (sqlite === undefined || postgres === undefined) throw new Error("no databases");

test("with everything up, the health says so, and names no address", async (t) => {
  const { app } = await testApp(t, sqlite, { cache: await cacheOf(t, { EVERFRESH_BACKEND: "memory" }) });
  const [status, health, body] = await healthOf(app);
  assert.deepEqual([status, health.status, health.database.state, health.cache.state], [200, "ok", "up", "up"]);
  assert.doesNotMatch(body, /127\.0\.0\.1|\.sqlite/);
});

test("without its tables the app does not call itself healthy", async (t) => {
  const database = await openAt(await sqlite.url());
  t.after(() => database.close());
  const { app } = await testApp(t, sqlite, { database });
  assert.deepEqual((await healthOf(app)).slice(0, 1), [503]);
});

test("being without a cache on purpose is healthy", async (t) => {
  const { app } = await testApp(t, sqlite, { cache: await cacheOf(t, { EVERFRESH_BACKEND: "none" }) });
  const [status, health] = await healthOf(app);
  assert.deepEqual([status, health.status, health.cache.state], [200, "ok", "off"]);
});

describe("without PostgreSQL", postgres.options, () => {
  test("a view that is cached is still served, writes are refused with a sentence, and all is well when it is back", async (t) => {
    const server = await postgres.postgres();
    const { app, visitor } = await testApp(t, postgres, { cache: await cacheOf(t, { EVERFRESH_BACKEND: "memory" }) });
    const person = visitor();
    await person.add("stays");
    await server.kill();
    const page = await person.look();
    assert.deepEqual([page.panel.source, page.view.total], ["cache", 1]);
    const [status, health] = await healthOf(app);
    assert.deepEqual([status, health.status, health.database.state], [200, "degraded", "down"]);
    const refused = await person.send("/add", { text: "lost" });
    assert.deepEqual([refused.statusCode, refused.headers["retry-after"]], [503, "5"]);
    assert.match(refused.json<QueueAnswer>().error.message, /The database did not answer/);
    // The write may have been committed, so the view is not believed any more.
    const [later, without] = await healthOf(app);
    assert.deepEqual([later, without.status], [503, "down"]);
    const none = await person.page();
    assert.equal(none.statusCode, 503);
    assert.match(none.body, /The database does not answer at the moment/);
    await server.restart();
    assert.deepEqual(texts(await person.look()), ["stays"]);
    assert.equal((await healthOf(app))[1].status, "ok");
  });

  test("a connection that breaks while it is used fails its statements, not the process", async (t) => {
    const server = await postgres.postgres();
    const database = await openAt(await postgres.url());
    t.after(() => database.close());
    await database.db.connection().execute(async (used) => {
      await sql`select 1`.execute(used);
      await server.kill();
      await assert.rejects(sql`select 1`.execute(used));
    });
    await server.restart();
    await sql`select 1`.execute(database.db);
  });
});

describe("without memcached", needs("memcached"), () => {
  test("pages come from the database, writes are kept, and nothing old is shown when it is back", async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const env = { MEMCACHE_SERVERS: server.address };
    const [first, second] = [await cacheOf(t, env), await cacheOf(t, env)];
    const database = await openNew(sqlite);
    const { app, visitor } = await testApp(t, sqlite, { cache: first, database });
    const other = await testApp(t, sqlite, { cache: second, database });
    t.after(() => database.close());
    const person = visitor();
    await person.add("before");
    server.signal("SIGSTOP");
    const added = await person.add("meanwhile");
    assert.equal(added.write.cache, "pending");
    assert.deepEqual([added.panel.source, ...texts(added)], ["database", "before", "meanwhile"]);
    const [status, health] = await healthOf(app);
    assert.deepEqual([status, health.status], [200, "degraded"]);
    server.signal("SIGCONT");
    const until = performance.now() + 15_000;
    while ((await healthOf(app))[1].status !== "ok") {
      assert.ok(performance.now() < until, "it never came back");
      await person.look();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    for (const each of [person, other.visitor()]) assert.deepEqual(texts(await each.look()), ["before", "meanwhile"]);
  });
});

async function cacheOf(t: TestContext, env: NodeJS.ProcessEnv): Promise<QueueCache> {
  const cache = await openCache(env);
  t.after(() => cache.close());
  return cache;
}

async function healthOf(app: FastifyInstance): Promise<[number, HealthAnswer, string]> {
  const reply = await app.inject({ url: "/healthz" });
  return [reply.statusCode, reply.json<HealthAnswer>(), reply.body];
}

function texts(answer: QueueAnswer): string[] {
  return answer.view.front.map((item) => item.text);
}
