/** Watched tables: whoever writes to them, the caches hear of it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { createOutbox, outboxSchema, watchStatements, type Outbox } from "everfresh/outbox";
import pg from "pg";
import { databaseForTests, needsPostgres } from "../support/postgres.ts";
import { placesOn, type Place } from "./places.ts";
import { poolWithItems, RememberingCache, schemaOf, openSqlite, sqliteFile } from "./support.ts";

const postgres = databaseForTests();

for (const place of placesOn(postgres))
  describe(`on ${place.name}`, place.needs, () => {
    let it: Place;
    const cache = new RememberingCache();
    let outbox: Outbox;
    before(async () => {
      it = await place.make();
      outbox = createOutbox({ db: it.db, caches: cache, relay: false });
      await outbox.install();
      await outbox.watch("items", { tags: ["items", "item:{id}"] });
    });
    after(async () => {
      await outbox.close();
      await it.close();
    });
    /** What the caches are told when the relay looks. */
    async function told(): Promise<string[]> {
      cache.told.length = 0;
      await outbox.relayOnce();
      return cache.told.toSorted();
    }

    test("rows that another program writes, changes and deletes invalidate the table's tag and their own", async () => {
      await it.run("INSERT INTO items (id, text) VALUES (1, 'a'), (2, 'b')");
      assert.deepEqual(await told(), ["tag item:1", "tag item:2", "tag items"]);
      await it.run("UPDATE items SET text = 'c' WHERE id = 2");
      assert.deepEqual(await told(), ["tag item:2", "tag items"]);
      await it.run("UPDATE items SET id = 3 WHERE id = 2");
      assert.deepEqual(await told(), ["tag item:2", "tag item:3", "tag items"]);
      await it.run("DELETE FROM items WHERE id = 3");
      assert.deepEqual(await told(), ["tag item:3", "tag items"]);
    });

    test("a column of bytes is its digits in hex", async () => {
      const [type, value] = "query" in it.db ? ["bytea", "'\\x00ff41'"] : ["blob", "x'00FF41'"];
      await it.run(`CREATE TABLE files (id ${type}, name text)`);
      await outbox.watch("files", { tags: ["files", "file:{id}:{name}"] });
      await it.run(`INSERT INTO files VALUES (${value}, 'a'), (NULL, 'b')`);
      assert.deepEqual(await told(), ["tag file::b", "tag file:\\x00ff41:a", "tag files"]);
    });

    test("a statement that changes no row invalidates nothing", async () => {
      await it.run("UPDATE items SET text = 'x' WHERE id = 12345");
      await it.run("DELETE FROM items WHERE id = 12345");
      assert.deepEqual(await told(), []);
    });

    test("a transaction that is rolled back invalidates nothing", async () => {
      await it.run("BEGIN; INSERT INTO items (id, text) VALUES (50, 'never'); ROLLBACK");
      assert.deepEqual(await told(), []);
    });

    test("the outbox's own transactions deliver what the triggers add, and once", async () => {
      cache.told.length = 0;
      await outbox.transaction(it.db, async (tx, invalidate) => {
        const sql = "INSERT INTO items (id, text) VALUES (60, 'mine')";
        if ("query" in tx) await (tx as pg.PoolClient).query(sql);
        else (tx as { exec(sql: string): void }).exec(sql);
        invalidate("queue", { kind: "tag", name: "items" });
      });
      assert.deepEqual(cache.told.toSorted(), ["key queue", "tag item:60", "tag items"]);
      assert.deepEqual((await outbox.status()).waiting, []);
      assert.deepEqual(await told(), []);
    });

    test("ten thousand rows in one statement are one tag each, and arrive", async () => {
      const series =
        place.name === "SQLite"
          ? "WITH RECURSIVE s(n) AS (SELECT 1001 UNION ALL SELECT n + 1 FROM s WHERE n < 11000) SELECT n, 'x' FROM s"
          : "SELECT n, 'x' FROM generate_series(1001, 11000) AS n";
      await it.run(`INSERT INTO items (id, text) ${series}`);
      const all = new Set(await told());
      assert.equal(all.size, 10_001);
      assert.deepEqual((await outbox.status()).waiting, []);
    });

    test("a column or a table that is not there cannot be watched, and the triggers stay as they were", async () => {
      await assert.rejects(outbox.watch("items", { tags: ["items", "item:{idd}"] }), {
        code: "EF_OPTION",
        message: /no column idd; it has id, text/,
      });
      await assert.rejects(outbox.watch("itms", { tags: ["items"] }), { code: "EF_OPTION", message: /no table itms/ });
      await it.run("INSERT INTO items (id, text) VALUES (70, 'x')");
      assert.deepEqual(await told(), ["tag item:70", "tag items"]);
    });

    test("watching again with other tags replaces the triggers, and unwatch removes them", async () => {
      await outbox.watch("items", { tags: ["things"] });
      await it.run("DELETE FROM items WHERE id = 60");
      assert.deepEqual(await told(), ["tag things"]);
      await outbox.unwatch("items");
      await it.run("DELETE FROM items");
      assert.deepEqual(await told(), []);
    });
  });

test("on SQLite tables may be named with their schema", async (t) => {
  const file = sqliteFile();
  const handle = openSqlite(t, file);
  handle.exec(`ATTACH '${file.path}-more' AS more; CREATE TABLE more.things (id integer)`);
  const cache = new RememberingCache();
  const outbox = createOutbox({ db: handle, caches: cache, relay: false, table: "main.told" });
  await outbox.install();
  await outbox.watch("main.items", { tags: ["items", "item:{ID}"] });
  await outbox.transaction(handle, () => handle.exec("INSERT INTO items (id, text) VALUES (1, 'x')"));
  assert.deepEqual(cache.told.toSorted(), ["tag item:1", "tag items"]);
  await outbox.unwatch("main.items");
  await outbox.transaction(handle, () => handle.exec("DELETE FROM items"));
  assert.equal(cache.told.length, 2);
  await assert.rejects(outbox.watch("more.things", { tags: ["things"] }), { code: "EF_OPTION", message: /in one/ });
  const there = createOutbox({ db: handle, caches: cache, relay: false, table: "more.told" });
  await there.install();
  await there.watch("more.things", { tags: ["things"] });
  await there.transaction(handle, () => handle.exec("INSERT INTO things VALUES (1)"));
  assert.equal(cache.told.at(-1), "tag things");
  assert.deepEqual((await there.status()).waiting, []);
});

/** An outbox on a pool of PostgreSQL, with the schema that its tables are in. */
async function installed() {
  const pool = await poolWithItems(postgres.url);
  const cache = new RememberingCache();
  const outbox = createOutbox({ db: pool, caches: cache, relay: false });
  await outbox.install();
  return { pool, cache, outbox, schema: schemaOf(pool) };
}

describe("on PostgreSQL alone", needsPostgres(), () => {
  test("a transaction delivers all rows of a statement that are too many to be listed, and none that is rolled back", async () => {
    const { pool, cache, outbox } = await installed();
    await outbox.watch("items", { tags: ["items", "item:{id}"] });
    const stranger = await pool.connect();
    await outbox.transaction(pool, async (tx) => {
      await tx.query("INSERT INTO items (id, text) VALUES (1, 'first')");
      await stranger.query("BEGIN; INSERT INTO items (id, text) VALUES (10001, 'not committed yet')");
      await tx.query("SAVEPOINT here");
      await tx.query("INSERT INTO items (id, text) SELECT n, 'never' FROM generate_series(10002, 15000) AS n");
      await tx.query("ROLLBACK TO SAVEPOINT here");
      await tx.query("INSERT INTO items (id, text) SELECT n, 'x' FROM generate_series(2, 5000) AS n");
      await tx.query("UPDATE items SET text = 'last' WHERE id = 5000");
    });
    assert.deepEqual(
      new Set(cache.told),
      new Set(["tag items", ...Array.from({ length: 5_000 }, (_, n) => `tag item:${n + 1}`)]),
    );
    assert.deepEqual((await outbox.status()).waiting, []);
    await stranger.query("COMMIT");
    stranger.release();
    cache.told.length = 0;
    await outbox.relayOnce();
    assert.deepEqual(cache.told.toSorted(), ["tag item:10001", "tag items"]);
    await pool.end();
  });

  test("TRUNCATE invalidates the tags of the table", async () => {
    const { pool, cache, outbox } = await installed();
    await outbox.watch("items", { tags: ["items", "item:{id}"] });
    await pool.query("TRUNCATE items");
    await outbox.relayOnce();
    assert.deepEqual(cache.told, ["tag items"]);
    await pool.end();
  });

  test("a column is one tag, however the writer's session writes dates and numbers", async () => {
    const { pool, cache, outbox } = await installed();
    await pool.query("CREATE TABLE visits (day date, at timestamptz, share float8)");
    await outbox.watch("visits", { tags: ["visits", "day:{day}", "at:{at}", "share:{share}"] });
    const foreign =
      "SET LOCAL datestyle = 'German'; SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL extra_float_digits = -3";
    const insert = "INSERT INTO visits VALUES ('2026-03-01', '2026-03-01T12:00Z', 0.123456789012345678)";
    for (const settings of ["SET LOCAL datestyle = 'ISO'", foreign]) {
      await pool.query(`BEGIN; ${settings}; ${insert}; COMMIT`);
      await outbox.relayOnce();
      const told = cache.told.splice(0).toSorted();
      const expected = ["at:2026-03-01 12:00:00+00", "day:2026-03-01", "share:0.12345678901234568", "visits"];
      assert.deepEqual(
        told,
        expected.map((name) => `tag ${name}`),
      );
    }
    await pool.end();
  });

  test("of a partitioned table the writes to a partition are seen where that is watched as well, and none twice", async () => {
    const { pool, cache, outbox } = await installed();
    await pool.query("CREATE TABLE days (id int) PARTITION BY RANGE (id)");
    await pool.query("CREATE TABLE first_days PARTITION OF days FOR VALUES FROM (1) TO (10)");
    for (const table of ["days", "first_days"]) await outbox.watch(table, { tags: ["days", "day:{id}"] });
    for (const table of ["days", "first_days"]) {
      await pool.query(`INSERT INTO ${table} VALUES (1)`);
      assert.equal(await outbox.relayOnce(), 2);
      assert.deepEqual(cache.told.splice(0).toSorted(), ["tag day:1", "tag days"]);
    }
    await pool.end();
  });

  test("a writer without any right to the outbox, and with another search path, is seen too", async () => {
    const { pool, cache, outbox, schema } = await installed();
    await outbox.watch("items", { tags: ["items"] });
    await pool.query(`CREATE ROLE reporter_${schema} LOGIN; GRANT USAGE ON SCHEMA ${schema} TO reporter_${schema};
GRANT INSERT ON items TO reporter_${schema}; GRANT USAGE ON items_id_seq TO reporter_${schema}`);
    const address = new URL(postgres.url);
    address.username = `reporter_${schema}`;
    const stranger = new pg.Client(address.href);
    await stranger.connect();
    await assert.rejects(stranger.query(`SELECT * FROM ${schema}.everfresh_outbox`), /permission denied/);
    await stranger.query(`INSERT INTO ${schema}.items (text) VALUES ('x')`);
    await stranger.end();
    await outbox.relayOnce();
    assert.deepEqual(cache.told, ["tag items"]);
    await pool.end();
  });

  test("psql is seen", { skip: existsSync("/usr/bin/psql") ? false : "psql is not installed" }, async () => {
    const { pool, cache, outbox, schema } = await installed();
    await outbox.watch("items", { tags: ["items"] });
    execFileSync("psql", [postgres.url, "-q", "-c", `INSERT INTO ${schema}.items (text) VALUES ('typed')`]);
    await outbox.relayOnce();
    assert.deepEqual(cache.told, ["tag items"]);
    await pool.end();
  });

  test("watch says so when the outbox is not installed", async () => {
    const pool = await poolWithItems(postgres.url);
    const outbox = createOutbox({ db: pool, caches: new RememberingCache(), relay: false });
    await assert.rejects(outbox.watch("items", { tags: ["items"] }), { code: "EF_OPTION", message: /install\(\)/ });
    await pool.end();
  });
});

for (const [what, table, tags] of [
  ["no tag", "items", []],
  ["only tags with columns", "items", ["item:{id}"]],
  ["too many tags", "items", Array.from({ length: 17 }, (_, n) => `t${n}`)],
  ["a column that is no name", "items", ["items", "item:{id; DROP TABLE items}"]],
  ["a brace left open", "items", ["items", "item:{id"]],
  ["an empty tag", "items", [""]],
  ["a tag that is too long for a cache", "items", ["i".repeat(201)]],
  ["a tag that is too long with any column", "items", ["items", `${"i".repeat(200)}{id}`]],
  ["a table that is no name", 'items"; DROP TABLE items; --', ["items"]],
] as const)
  test(`${what} cannot be watched`, () => {
    for (const dialect of ["postgres", "sqlite"] as const)
      assert.throws(() => watchStatements(dialect, table, { namespace: "shop", tags }), { code: "EF_OPTION" });
  });

for (const namespace of ["", "a b", "x".repeat(101)])
  test(`a table is not watched for ${JSON.stringify(namespace).slice(0, 8)}, a namespace that no cache can have`, () => {
    for (const dialect of ["postgres", "sqlite"] as const)
      assert.throws(() => watchStatements(dialect, "items", { namespace, tags: ["items"] }), {
        code: "EF_OPTION",
        message: /^namespace is /,
      });
  });

test("another dialect, or statements for nothing, are refused rather than written for SQLite", () => {
  const refused = { code: "EF_OPTION", message: /"postgres" or "sqlite"; got "mysql"/ };
  assert.throws(() => outboxSchema("mysql" as never), refused);
  assert.throws(() => watchStatements("mysql" as never, "items", { namespace: "shop", tags: ["items"] }), refused);
  for (const wrong of [undefined, {}, { namespace: "shop", tags: "items" }, { tags: ["items"] }])
    assert.throws(() => watchStatements("postgres", "items", wrong as never), {
      code: "EF_OPTION",
      message: /takes \{ namespace, tags \}/,
    });
});
