/** What a watched table may be called, may become and may be made of, and the ways in which rows may be written to it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createOutbox, unwatchStatements, watchStatements } from "everfresh/outbox";
import pg from "pg";
import { databaseForTests, needsPostgres } from "../support/postgres.ts";
import { onPostgres, onSqlite, placesOn, watching } from "./places.ts";
import { RememberingCache } from "./support.ts";

const postgres = databaseForTests();

const onOne = () => onPostgres(postgres.url);

for (const { name, needs, make } of placesOn(postgres))
  describe(`on ${name}`, needs, () => {
    test("a table is watched whose name needs quotes, and one that is told from it by nothing else", async (t) => {
      const { outbox, told } = await watching(t, make);
      const tables = ['"my items"', '"my-items"', `"it's ""mine"".or $$ yours"`];
      for (const [n, table] of tables.entries()) {
        await told(`CREATE TABLE ${table} (id integer)`);
        await outbox.watch(table, { tags: [`table ${n}`, "$everfresh$ {id}"] });
      }
      for (const [n, table] of tables.entries())
        assert.deepEqual(await told(`INSERT INTO ${table} VALUES (1)`), ["$everfresh$ 1", `table ${n}`]);
      await outbox.unwatch('"my-items"');
      assert.deepEqual(await told('DELETE FROM "my-items"'), []);
      assert.deepEqual(await told('DELETE FROM "my items"'), ["$everfresh$ 1", "table 0"]);
      await assert.rejects(outbox.watch("my-items", { tags: ["items"] }), {
        code: "EF_OPTION",
        message: /within double quotes/,
      });
    });

    test("a renamed table stays watched, and can be watched anew and no more by its present name", async (t) => {
      const { outbox, told } = await watching(t, make);
      await outbox.watch("items", { tags: ["items"] });
      assert.deepEqual(await told("ALTER TABLE items RENAME TO goods; INSERT INTO goods (id, text) VALUES (1, 'x')"), [
        "items",
      ]);
      await outbox.watch("goods", { tags: ["goods"] });
      assert.deepEqual(await told("DELETE FROM goods"), ["goods"]);
      await told("ALTER TABLE goods RENAME TO things");
      await outbox.unwatch("things");
      assert.deepEqual(await told("INSERT INTO things (id, text) VALUES (1, 'x')"), []);
    });

    test("one table may be watched for the caches of two apps, and each may end it for itself", async (t) => {
      const { place, outbox, told } = await watching(t, make);
      const cache = new RememberingCache("admin");
      const other = createOutbox({ db: place.db, caches: cache, relay: false });
      await outbox.watch("items", { tags: ["items"] });
      await other.watch("items", { tags: ["things"] });
      const insert = "INSERT INTO items (id, text) VALUES ";
      assert.deepEqual(await told(`${insert} (1, 'x')`), ["items"]);
      assert.equal(await other.relayOnce(), 1);
      assert.deepEqual(cache.told, ["tag things"]);
      await other.unwatch("items");
      assert.deepEqual(await told(`${insert} (2, 'x')`), ["items"]);
      assert.equal(await other.relayOnce(), 0);
      await other.unwatch("items", { namespace: "shop" });
      assert.deepEqual(await told("DELETE FROM items"), []);
    });

    test("the statements that watch a table are taken back by those that unwatch it", async (t) => {
      const { place, told } = await watching(t, make);
      const dialect = name === "SQLite" ? "sqlite" : "postgres";
      const [schema] = name === "SQLite" ? ["main"] : place.args.slice(2);
      const options = { namespace: "shop", tags: ["items"], outbox: `${schema}.everfresh_outbox` };
      for (const statement of watchStatements(dialect, "items", options)) await place.run(statement);
      assert.deepEqual(await told("INSERT INTO items (id, text) VALUES (1, 'x')"), ["items"]);
      for (const statement of unwatchStatements(dialect, "items", "shop")) await place.run(statement);
      assert.deepEqual(await told("DELETE FROM items"), []);
      assert.throws(() => unwatchStatements(dialect, "items", undefined as never), { code: "EF_OPTION" });
    });

    test("an outbox's own table has a plain name", () => {
      assert.throws(
        () => createOutbox({ db: {} as never, caches: new RememberingCache(), table: '"my outbox"', relay: false }),
        { code: "EF_OPTION", message: /letters, digits and _ only/ },
      );
    });

    test("install refuses a table of the outbox's name that is another", async (t) => {
      const { place } = await watching(t, make);
      const outbox = createOutbox({ db: place.db, caches: new RememberingCache(), relay: false, table: "items" });
      await assert.rejects(outbox.install(), { code: "EF_OPTION", message: /no column namespace, kind/ });
    });

    test("install adds the index where only the table is there", async (t) => {
      const { place, outbox } = await watching(t, make);
      await place.run("DROP INDEX everfresh_outbox_due");
      await outbox.install();
      const again = async () => place.run("CREATE INDEX everfresh_outbox_due ON everfresh_outbox (due_at)");
      await assert.rejects(again, /exists/);
    });

    test("a row is told soon that was written before the database's clock was set back", async (t) => {
      const { told } = await watching(t, make);
      const hence = name === "SQLite" ? "(julianday('now') - 2440587.5) * 86400000 + 3600000" : "now() + interval '1h'";
      const row = "INSERT INTO everfresh_outbox (namespace, kind, name, due_at) VALUES ('shop', 'tag', 'items', ";
      assert.deepEqual(await told(`${row} ${hence})`), ["items"]);
    });
  });

test("on SQLite a table of the old name of a renamed one is refused, until that is watched by its own", async (t) => {
  const { outbox, told } = await watching(t, onSqlite);
  await outbox.watch("items", { tags: ["goods"] });
  await told("ALTER TABLE items RENAME TO goods; CREATE TABLE items (id integer)");
  await assert.rejects(outbox.watch("Items", { tags: ["items"] }), { code: "EF_OPTION", message: /triggers of goods/ });
  await outbox.unwatch("items");
  assert.deepEqual(await told("INSERT INTO goods (id, text) VALUES (1, 'x')"), ["goods"]);
  await outbox.watch("goods", { tags: ["goods"] });
  await outbox.watch("Items", { tags: ["items"] });
  assert.deepEqual(await told("DELETE FROM goods; INSERT INTO items VALUES (1)"), ["goods", "items"]);
});

test("on SQLite a table WITHOUT ROWID has none to name a tag by", async (t) => {
  const { outbox, told } = await watching(t, onSqlite);
  await told("CREATE TABLE words (word text PRIMARY KEY) WITHOUT ROWID; CREATE TABLE rows (word text)");
  await assert.rejects(outbox.watch("words", { tags: ["words", "word:{rowid}"] }), {
    code: "EF_OPTION",
    message: /words has no column rowid; it has word/,
  });
  await outbox.watch("words", { tags: ["words", "word:{word}"] });
  await outbox.watch("rows", { tags: ["rows", "row:{rowid}"] });
  const both = "INSERT INTO words VALUES ('a'); INSERT INTO rows VALUES ('a')";
  assert.deepEqual(await told(both), ["row:1", "rows", "word:a", "words"]);
});

describe("on PostgreSQL alone", needsPostgres(), () => {
  test("a table gets the old name of a renamed one, and both are watched", async (t) => {
    const { outbox, told } = await watching(t, onOne);
    const [both, own] = [["items"], ["items", "item:{id}"]];
    await outbox.watch("items", { tags: both });
    await told("ALTER TABLE items RENAME TO goods; CREATE TABLE items (id integer)");
    for (const tags of [both, own, both]) {
      await outbox.watch("items", { tags });
      assert.deepEqual(await told("INSERT INTO goods (text) VALUES ('x')"), ["items"]);
      assert.deepEqual(await told("INSERT INTO items VALUES (1)"), tags === own ? ["item:1", "items"] : ["items"]);
    }
    await outbox.unwatch("items");
    assert.deepEqual(await told("DELETE FROM items"), []);
    assert.deepEqual(await told("DELETE FROM goods"), ["items"]);
    await outbox.unwatch("goods");
    assert.deepEqual(await told("INSERT INTO goods (text) VALUES ('x')"), []);
  });

  test("no function is left when the last table that runs it is watched no more", async (t) => {
    const { place, outbox } = await watching(t, onOne);
    const functions = async () =>
      (await (place.db as pg.Pool).query("SELECT FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"))
        .rowCount;
    await outbox.watch("items", { tags: ["items"] });
    await outbox.watch("items", { tags: ["things"] });
    assert.equal(await functions(), 1);
    await outbox.unwatch("items");
    assert.equal(await functions(), 0);
  });

  test("several processes may watch one table at a time", async (t) => {
    const { outbox, told } = await watching(t, onOne);
    await Promise.all(Array.from({ length: 4 }, (_, n) => outbox.watch("items", { tags: ["items", `by:${n}`] })));
    assert.equal((await told("INSERT INTO items (text) VALUES ('x')")).length, 2);
  });

  test("the schema of an outbox may need quotes, and the statements for a migration are the same there", async (t) => {
    const { place, outbox, told } = await watching(
      t,
      async () => {
        const made = await onPostgres(postgres.url);
        await made.run('CREATE SCHEMA IF NOT EXISTS "My-App"; CREATE TABLE "My-App"."Items" (id int)');
        return made;
      },
      '"My-App".told',
    );
    await outbox.watch('"My-App"."Items"', { tags: ["items", "item:{id}"] });
    assert.deepEqual(await told('INSERT INTO "My-App"."Items" VALUES (1)'), ["item:1", "items"]);
    const options = { namespace: "shop", tags: ["things"], outbox: '"My-App".told' };
    for (const statement of watchStatements("postgres", '"My-App"."Items"', options)) await place.run(statement);
    assert.deepEqual(await told('DELETE FROM "My-App"."Items"'), ["things"]);
  });

  test("an app that may create nothing starts where the table is there", async (t) => {
    const { place, outbox } = await watching(t, onOne);
    const [, , schema = ""] = place.args;
    await place.run(`CREATE ROLE app_${schema} LOGIN; GRANT USAGE ON SCHEMA ${schema} TO app_${schema};
GRANT SELECT, INSERT, UPDATE, DELETE ON everfresh_outbox, items TO app_${schema}`);
    const address = new URL(postgres.url);
    address.username = `app_${schema}`;
    const pool = new pg.Pool({ connectionString: address.href, options: `-c search_path=${schema}` });
    t.after(() => pool.end());
    await assert.rejects(pool.query("CREATE TABLE more (id int)"), /permission denied/);
    const cache = new RememberingCache();
    const poor = createOutbox({ db: pool, caches: cache, relay: false });
    await poor.install();
    await poor.transaction(pool, (_tx, invalidate) => invalidate("queue"));
    assert.deepEqual(cache.told, ["key queue"]);
    assert.deepEqual((await outbox.status()).waiting, []);
  });
});
