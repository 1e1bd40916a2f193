/** The queue in the database, on SQLite and on PostgreSQL alike. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { migrate, QueueStore, type Database, type Item } from "@everfresh/queue";
import { sql } from "kysely";
import { gate } from "../../support/gate.ts";
import { fillQueue, openAt, openNew, testDatabases, type TestDatabases } from "../../support/queue-databases.ts";

const both = testDatabases();

for (const databases of both)
  describe(databases.name, databases.options, () => {
    test("what was added first is removed first", async (t) => {
      const queue = await open(t, databases);
      const added = [];
      for (const text of ["a", "b", "c"]) added.push(await queue.store.add(text));
      assert.deepEqual((await queue.store.window()).front, added);
      assert.deepEqual(
        [await queue.store.removeFront(), await queue.store.removeFront(), await queue.store.removeFront()],
        added,
      );
      assert.equal(await queue.store.removeFront(), undefined);
    });

    test("an empty queue has a window of nothing", async (t) => {
      const queue = await open(t, databases);
      assert.deepEqual(await queue.store.window(), { total: 0, front: [], back: [] });
    });

    test("a number is never given twice, not even when the queue was empty in between", async (t) => {
      const queue = await open(t, databases);
      const first = await queue.store.add("first");
      await queue.store.removeFront();
      const second = await queue.store.add("second");
      assert.ok(second.id > first.id);
    });

    test("any text comes back as it went in", async (t) => {
      const queue = await open(t, databases);
      const texts = [
        "<img src=x onerror=alert(1)>",
        "'; drop table queue_item; --",
        "👩‍👩‍👧‍👦".repeat(10),
        "ע‮ב",
        "%s $1 ? \\",
        "𝒳".repeat(200),
      ];
      for (const text of texts) assert.equal((await queue.store.add(text)).text, text);
      assert.deepEqual(
        (await queue.store.window()).front.map((item) => item.text),
        texts,
      );
    });

    test("the table refuses what the app would: no text, or more than 200 code points", async (t) => {
      const queue = await open(t, databases);
      await assert.rejects(queue.store.add(""));
      await assert.rejects(queue.store.add("x".repeat(201)));
      await assert.rejects(queue.store.add("𝒳".repeat(201)));
      assert.equal((await queue.store.window()).total, 0);
    });

    test("a queue of 100 items is shown whole, one of 101 by both ends", async (t) => {
      const queue = await open(t, databases);
      await fillQueue(queue.database, 100);
      const whole = await queue.store.window();
      assert.deepEqual([whole.total, whole.front.length, whole.back.length], [100, 100, 0]);
      const last = await queue.store.add("the last");
      const ends = await queue.store.window();
      assert.deepEqual([ends.total, ends.front.length, ends.back.length], [101, 50, 50]);
      assert.deepEqual(ends.back.at(-1), last);
      assert.equal(ends.front[0]?.text, "item 1");
      assert.equal(ends.back[0]?.text, "item 52");
    });

    test("the window of 100,000 items takes well under a second", async (t) => {
      const queue = await open(t, databases);
      await fillQueue(queue.database, 100_000);
      const started = performance.now();
      const { total, front, back } = await queue.store.window();
      assert.deepEqual([total, front.length, back.length], [100_000, 50, 50]);
      assert.ok(performance.now() - started < 500, `took ${performance.now() - started} ms`);
    });

    test("whether a queue is full is known exactly, also when there are holes in its numbers", async (t) => {
      const queue = await open(t, databases);
      await fillQueue(queue.database, 10);
      assert.equal(await queue.store.holds(11), false);
      assert.equal(await queue.store.holds(10), true);
      await sql`delete from queue_item where text = 'item 5'`.execute(queue.database.db);
      assert.equal(await queue.store.holds(10), false);
      assert.equal(await queue.store.holds(9), true);
    });

    test("many removes at once, through several connections, take every item exactly once", async () => {
      const url = await databases.url();
      const first = await openAt(url, { poolSize: 8 });
      const second = await openAt(url, { poolSize: 8 });
      try {
        await migrate(first);
        await fillQueue(first, 60);
        const stores = [new QueueStore(first), new QueueStore(second)];
        const taken = await Promise.all(
          Array.from({ length: 40 }, () => stores)
            .flat()
            .map((store) => store.removeFront()),
        );
        const items = taken.filter((item): item is Item => item !== undefined);
        assert.equal(items.length, 60);
        assert.equal(new Set(items.map((item) => item.id)).size, 60);
        assert.equal((await new QueueStore(first).window()).total, 0);
      } finally {
        await first.close();
        await second.close();
      }
    });
  });

for (const databases of both.filter(({ name }) => name === "PostgreSQL"))
  describe("PostgreSQL's row locks", databases.options, () => {
    test("an item that somebody else is about to take, and then does not, is not called nothing", async () => {
      const url = await databases.url();
      const other = await openAt(url);
      const database = await openAt(url);
      const locked = gate();
      const released = gate();
      try {
        await migrate(database);
        const store = new QueueStore(database);
        const only = await store.add("the only one");
        const undone = other.db.transaction().execute(async (tx) => {
          await tx.deleteFrom("queue_item").where("id", "=", only.id).execute();
          locked.open();
          await released.opened;
          throw new Error("changed my mind");
        });
        undone.catch(() => undefined);
        await locked.opened;
        const removing = store.removeFront();
        // The remove waits for the lock; PostgreSQL itself says when it does.
        await waitUntil(async () => {
          const { rows } = await sql<{
            waiting: number;
          }>`select count(*) as waiting from pg_locks where not granted`.execute(other.db);
          return Number(rows[0]?.waiting) > 0;
        });
        released.open();
        assert.deepEqual(await removing, only);
        await assert.rejects(undone, /changed my mind/);
      } finally {
        released.open();
        await database.close();
        await other.close();
      }
    });
  });

async function open(t: TestContext, databases: TestDatabases): Promise<{ store: QueueStore; database: Database }> {
  const database = await openNew(databases);
  t.after(() => database.close());
  return { store: new QueueStore(database), database };
}

async function waitUntil(condition: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + 5_000;
  while (!(await condition())) assert.ok(performance.now() < until, "it never came to that");
}
