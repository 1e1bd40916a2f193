/** A process of the app is killed between its commit and its word to the cache: what it leaves, another process delivers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as immediate } from "node:timers/promises";
import { sql } from "kysely";
import type { Database } from "@everfresh/queue";
import { Visitor, startApp } from "../../support/app.ts";
import { startMemcached } from "../../support/memcached.ts";
import { needs } from "../../support/programs.ts";
import { openNew, testDatabases } from "../../support/queue-databases.ts";

const { skip } = needs("memcached");
/** A second is promised; a busy machine may take longer to do anything at all. */
const patienceMs = 10_000;

for (const databases of testDatabases())
  describe(`an app that is killed on ${databases.name}`, { skip: skip || databases.options.skip }, () => {
    test("leaves its word to the cache in the database, and the other process shows the item soon", async (t) => {
      const memcached = await startMemcached();
      t.after(() => memcached.stop());
      const DATABASE_URL = await databases.url();
      const database = await openNew({ ...databases, url: () => Promise.resolve(DATABASE_URL) });
      t.after(() => database.close());
      const env = { DATABASE_URL, MEMCACHE_SERVERS: memcached.address };
      const [killed, survivor] = await Promise.all([startApp(env), startApp(env)]);
      t.after(() => Promise.all([killed.stop(), survivor.stop()]));
      const [writer, reader] = [new Visitor(), new Visitor()];
      t.after(() => [writer, reader].forEach((each) => each.leave()));
      await writer.look(killed);
      assert.equal((await reader.look(survivor)).body.view.total, 0);

      // The cache does not answer, so the write commits and then waits for the cache.
      memcached.signal("SIGSTOP");
      const adding = writer.add(killed, "committed, and never told");
      adding.catch(() => undefined);
      await until(async () => (await rowsOf(database)) === 1);
      killed.process.kill("SIGKILL");
      await assert.rejects(adding);
      memcached.signal("SIGCONT");

      await until(async () => (await reader.look(survivor)).body.view.total === 1);
      await until(async () => (await rowsOf(database)) === 0);
    });
  });

/** How many rows the outbox holds. */
async function rowsOf({ db }: Database): Promise<number> {
  const { rows } = await sql<{ waiting: number }>`select count(*) as waiting from everfresh_outbox`.execute(db);
  return Number(rows[0]?.waiting);
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await condition())) {
    assert.ok(performance.now() < end, "it never came to that");
    // SQLite answers within the turn; others need one.
    await immediate();
  }
}
