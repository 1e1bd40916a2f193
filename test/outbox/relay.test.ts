/** What relays do with what was left: by a killed process, by a cache that was away, by whoever writes rows by hand. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createCache, memory, type EverfreshError } from "everfresh";
import { createOutbox, type DatabaseHandle, type Outbox } from "everfresh/outbox";
import pg from "pg";
import { databaseForTests, needsPostgres } from "../support/postgres.ts";
import { onPostgres, placesOn, type Place } from "./places.ts";
import {
  eventually,
  kyselyOnSqlite,
  poolWithItems,
  RememberingCache,
  sqliteFile,
  type LibsqlHandle,
  openSqlite,
} from "./support.ts";

const postgres = databaseForTests();

const byHand = (name: string, namespace = "shop") =>
  `INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('${namespace}', 'key', '${name}')`;

for (const place of placesOn(postgres))
  describe(`on ${place.name}`, place.needs, () => {
    let it: Place;
    const outboxes: Outbox[] = [];
    before(async () => {
      it = await place.make();
      await open(new RememberingCache(), { relay: false }).install();
    });
    after(async () => {
      for (const outbox of outboxes) await outbox.close();
      await it.close();
    });
    function open(cache: RememberingCache, options: { relay?: boolean; batch?: number } = {}): Outbox {
      const outbox = createOutbox({ db: it.db, caches: cache, ...options });
      outboxes.push(outbox);
      return outbox;
    }

    test("what a process killed between commit and delivery left arrives within a second", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      const script = fileURLToPath(new URL("killed-writer.js", import.meta.url));
      const child = spawn(process.execPath, [script, ...it.args], { stdio: ["ignore", "pipe", "inherit"] });
      const gone = once(child, "exit");
      const early = gone.then(() => Promise.reject(new Error("the writer ended by itself")));
      await Promise.race([once(child.stdout, "data"), early]);
      early.catch(() => undefined);
      const committedAt = performance.now();
      child.kill("SIGKILL");
      await eventually(() => cache.told.length === 2);
      const tookMs = performance.now() - committedAt;
      await gone;
      assert.deepEqual(cache.told.toSorted(), ["key queue", "tag items"]);
      assert.ok(tookMs < 1_000, `${tookMs} ms`);
      await outbox.close();
      assert.deepEqual((await outbox.status()).waiting, []);
      assert.equal(outbox.closed, true);
    });

    test("relays share the work: each row is delivered once, however many of them look", async () => {
      const caches = [new RememberingCache(), new RememberingCache(), new RememberingCache()];
      const relays = caches.map((cache) => open(cache, { relay: false, batch: 10 }));
      for (let n = 0; n < 100; n += 1) await it.run(byHand(`k${n}`));
      const delivered = await Promise.all(relays.map((relay) => relay.relayOnce()));
      assert.equal(
        delivered.reduce((sum, n) => sum + n, 0),
        100,
      );
      const told = caches.flatMap((cache) => cache.told);
      assert.deepEqual(told.toSorted(), Array.from({ length: 100 }, (_, n) => `key k${n}`).toSorted());
    });

    test("rows that say the same are told once and removed together", async () => {
      const cache = new RememberingCache();
      const relay = open(cache, { relay: false });
      for (let n = 0; n < 5; n += 1) await it.run(byHand("same"));
      assert.equal(await relay.relayOnce(), 5);
      assert.deepEqual(cache.told, ["key same"]);
    });

    test("one key whose server is away does not hold up the others, and is tried again until it is there", async () => {
      const cache = new RememberingCache();
      cache.refuses.add("away");
      const relay = open(cache, { relay: false });
      for (const name of ["a", "away", "b"]) await it.run(byHand(name));
      assert.equal(await relay.relayOnce(), 2);
      assert.deepEqual(cache.told.toSorted(), ["key a", "key b"]);
      const [count] = (await relay.status()).waiting;
      assert.deepEqual([count?.rows, count?.attempts], [1, 1]);
      cache.refuses.clear();
      await eventually(async () => (await relay.relayOnce()) === 1);
      assert.equal(cache.told.at(-1), "key away");
    });

    test("a look ends while a cache refuses, however many rows are due again before all were tried", async () => {
      const cache = new RememberingCache();
      const names = ["first", "second"];
      const tried: number[] = [];
      cache.before = async () => {
        // Longer than a row is postponed for.
        await setTimeout(120);
        if (tried.push(tried.length) <= names.length) throw new Error("the cache is away");
      };
      const relay = open(cache, { relay: false, batch: 1 });
      for (const name of names) await it.run(byHand(name));
      assert.equal(await relay.relayOnce(), 0);
      assert.equal(tried.length, names.length);
      await eventually(async () => {
        await relay.relayOnce();
        return (await relay.status()).waiting.length === 0;
      });
    });

    test("a row whose name no value can have is dropped with an event, and the others arrive", async (t) => {
      const backend = memory({ limitBytes: 1_000_000 });
      const cache = createCache({ backend, namespace: "shop" });
      const relay = createOutbox({ db: it.db, caches: cache, relay: false });
      outboxes.push(relay);
      const events: unknown[] = [];
      const remember = (event: unknown) => void events.push(event);
      subscribe("everfresh:outbox:error", remember);
      t.after(() => unsubscribe("everfresh:outbox:error", remember));
      await cache.set("queue", "old");
      for (const name of ["", "k".repeat(16_385), "queue"]) await it.run(byHand(name));
      await it.run(byHand("t".repeat(201)).replace("'key'", "'tag'"));
      await relay.relayOnce();
      assert.equal(await cache.get("queue"), undefined);
      assert.deepEqual((await relay.status()).waiting, []);
      const [{ what, error }] = events as [{ what: string; error: EverfreshError }];
      assert.deepEqual([events.length, what, error.code], [1, "drop", "EF_OPTION"]);
      assert.match(error.message, /3 rows were dropped.*shop: key "".*a tag 1 to 200 bytes/);
      await cache.close();
    });

    test("rows of a namespace that this process does not know stay for one that does, and show in the status", async () => {
      const stranger = open(new RememberingCache("blog"), { relay: false });
      const cache = new RememberingCache();
      const relay = open(cache, { relay: false });
      await it.run(byHand("post", "blog"));
      assert.equal(await relay.relayOnce(), 0);
      assert.deepEqual((await relay.status()).foreign, ["blog"]);
      assert.equal(await stranger.relayOnce(), 1);
      assert.deepEqual((await relay.status()).foreign, []);
    });

    test("a relay whose database fails goes on when it is back", async () => {
      const cache = new RememberingCache();
      const outbox = createOutbox({ db: it.db, caches: cache, table: "made_later", intervalMs: 20 });
      outboxes.push(outbox);
      await eventually(() => outbox.relayCounts.errors > 0);
      await outbox.install();
      await it.run(byHand("late").replace("everfresh_outbox", "made_later"));
      await eventually(() => cache.told.length === 1);
      await outbox.close();
    });

    test("after close() nothing is taken any more", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      await outbox.close();
      await assert.rejects(
        outbox.transaction(it.db, () => undefined),
        { code: "EF_CLOSED" },
      );
      await assert.rejects(outbox.relayOnce(), { code: "EF_CLOSED" });
    });
  });

test("a relay that is refused the lock of a SQLite file keeps nobody from committing on its handle afterwards", async () => {
  const file = sqliteFile();
  const [db, another] = [file.open(), file.open()];
  db.exec("PRAGMA busy_timeout = 0");
  const cache = new RememberingCache();
  const outbox = createOutbox({ db, caches: cache, relay: false });
  await outbox.install();
  another.exec(`${byHand("waiting")}; BEGIN IMMEDIATE`);
  await assert.rejects(outbox.relayOnce(), { code: "SQLITE_BUSY" });
  another.exec("COMMIT");
  assert.equal(await outbox.relayOnce(), 1);
  await outbox.transaction(db, (_tx, invalidate) => invalidate("queue"));
  assert.deepEqual(cache.told, ["key waiting", "key queue"]);
  another.close();
  await outbox.close();
  file.remove();
});

/** Like `node:sqlite` before 22.16: it does not tell whether a transaction is open. */
function silent(handle: LibsqlHandle): DatabaseHandle {
  return { prepare: (sql: string) => handle.prepare(sql), exec: (sql: string) => handle.exec(sql) };
}

for (const [what, as] of [
  ["a SQLite handle", (handle: LibsqlHandle): DatabaseHandle => handle],
  ["a SQLite handle that does not tell", silent],
  ["Kysely on SQLite", (handle: LibsqlHandle): DatabaseHandle => kyselyOnSqlite(handle)],
] as const) {
  test(`on ${what} nothing is delivered of a transaction that somebody has open on it, until it commits`, async (t) => {
    const handle = openSqlite(t);
    const cache = new RememberingCache();
    const outbox = createOutbox({ db: as(handle), caches: cache, intervalMs: 5 });
    await outbox.install();
    await outbox.watch("items", { tags: ["items"] });
    handle.exec("BEGIN; INSERT INTO items (text) VALUES ('x')");
    const { passes, errors } = outbox.relayCounts;
    await eventually(() => outbox.relayCounts.passes > passes + 3);
    await assert.rejects(outbox.relayOnce(), { code: "EF_OPTION", message: /did not begin/ });
    assert.deepEqual(cache.told, []);
    handle.exec("COMMIT");
    await eventually(() => cache.told.length === 1);
    assert.deepEqual([cache.told, outbox.relayCounts.errors], [["tag items"], errors]);
    await outbox.close();
  });

  test(`on ${what} no row is removed in a transaction that somebody has open on it`, async (t) => {
    const handle = openSqlite(t);
    const cache = new RememberingCache();
    const outbox = createOutbox({ db: as(handle), caches: cache, relay: false });
    await outbox.install();
    handle.exec(byHand("queue"));
    cache.before = () => Promise.resolve(void handle.exec("BEGIN"));
    await assert.rejects(outbox.relayOnce(), { code: "EF_OPTION" });
    assert.equal(handle.prepare("SELECT name FROM everfresh_outbox").all().length, 1);
    cache.before = undefined;
    handle.exec("ROLLBACK");
    await eventually(async () => (await outbox.relayOnce()) === 1);
    assert.deepEqual(cache.told, ["key queue", "key queue"]);
  });
}

test("a relay tells of a transaction on its handle that does not end", async (t) => {
  const file = sqliteFile();
  const handle = file.open();
  const told: unknown[] = [];
  const onError = (message: unknown): void => void told.push(message);
  subscribe("everfresh:outbox:error", onError);
  t.after(() => {
    unsubscribe("everfresh:outbox:error", onError);
    handle.close();
    file.remove();
  });
  const outbox = createOutbox({ db: handle, caches: new RememberingCache(), intervalMs: 1 });
  await outbox.install();
  handle.exec("BEGIN");
  await eventually(() => outbox.relayCounts.errors === 1);
  assert.ok(outbox.relayCounts.passes >= 40);
  handle.exec("COMMIT");
  await outbox.close();
  assert.deepEqual(
    told.map((each) => (each as { what: string; error: { code: string } }).error.code),
    ["EF_OPTION"],
  );
});

test("a relay on a SQLite handle does not read in a transaction that somebody has begun: its snapshot is not begun", async (t) => {
  const file = sqliteFile();
  const [handle, another] = [file.open(), file.open()];
  t.after(() => {
    handle.close();
    another.close();
    file.remove();
  });
  const outbox = createOutbox({ db: handle, caches: new RememberingCache(), relay: false });
  await outbox.install();
  handle.exec("BEGIN");
  await assert.rejects(outbox.relayOnce(), { code: "EF_OPTION" });
  another.exec("INSERT INTO items (text) VALUES ('committed since')");
  assert.equal(handle.prepare("SELECT id FROM items").all().length, 1);
  handle.exec("COMMIT");
  assert.equal(await outbox.relayOnce(), 0);
});

test("relays share the work also where transactions are repeatable reads by default", needsPostgres(), async () => {
  const pool = await poolWithItems(postgres.url);
  const strict = new pg.Pool({
    connectionString: postgres.url,
    options: `${String(pool.options.options)} -c default_transaction_isolation=repeatable\\ read`,
  });
  const relays = Array.from({ length: 5 }, () =>
    createOutbox({ db: strict, caches: new RememberingCache(), relay: false, batch: 3 }),
  );
  await relays[0]?.install();
  await pool.query(`INSERT INTO everfresh_outbox (namespace, kind, name)
SELECT 'shop', 'key', n::text FROM generate_series(1, 300) AS n`);
  const delivered = await Promise.all(relays.map((relay) => relay.relayOnce()));
  assert.equal(
    delivered.reduce((sum, n) => sum + n, 0),
    300,
  );
  await strict.end();
  await pool.end();
});

test("on PostgreSQL a relay listens: a watched table rings it long before it would look", needsPostgres(), async () => {
  const it = await onPostgres(postgres.url);
  const cache = new RememberingCache();
  const outbox = createOutbox({ db: it.db, caches: cache, intervalMs: 60_000 });
  await outbox.install();
  await outbox.watch("items", { tags: ["items"] });
  const pool = it.db as pg.Pool;
  // The first look failed, since there was no table yet; it listens after one that succeeds.
  outbox.wake();
  await eventually(() => outbox.relayCounts.listening, 5_000);
  await it.run("INSERT INTO items (text) VALUES ('from psql')");
  await eventually(() => cache.told.length === 1);
  // The connection that listens is lost; the relay looks, and listens again on another one.
  const listening = async (): Promise<number[]> => {
    const { rows } = await pool.query<{ pid: number }>(
      "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()",
    );
    return rows.map(({ pid }) => pid);
  };
  const first = await listening();
  assert.equal(first.length, 1);
  await pool.query("SELECT pg_terminate_backend($1)", first);
  await eventually(async () => (await listening()).some((pid) => pid !== first[0]), 5_000);
  await eventually(() => outbox.relayCounts.listening, 5_000);
  await it.run("INSERT INTO items (text) VALUES ('again')");
  await eventually(() => cache.told.length === 2);
  await outbox.close();
  await it.close();
});

for (const table of ["Outbox", "user", "o".repeat(63)])
  test(`a relay hears the bell of the table ${table}`, needsPostgres(), async () => {
    const it = await onPostgres(postgres.url);
    const cache = new RememberingCache();
    const outbox = createOutbox({ db: it.db, caches: cache, table, intervalMs: 60_000 });
    await outbox.install();
    await outbox.watch("items", { tags: ["items"] });
    outbox.wake();
    await eventually(() => outbox.relayCounts.listening, 5_000);
    await it.run("INSERT INTO items (text) VALUES ('from psql')");
    await eventually(() => cache.told.length === 1);
    const pool = it.db as pg.Pool;
    await outbox.transaction(pool, (tx) => tx.query("DELETE FROM items"));
    assert.deepEqual(cache.told, ["tag items", "tag items"]);
    const { rows } = await pool.query("SELECT 1 FROM pg_indexes WHERE tablename = $1", [table]);
    assert.equal(rows.length, 2, "the index of what is due is there");
    await outbox.close();
    await it.close();
  });
