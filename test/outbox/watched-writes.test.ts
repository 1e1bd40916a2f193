/**
 * The ways in which rows of a watched table may be written: each is heard of, or refused, or named as a limit in
 * docs/outbox.md.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, test, type TestContext } from "node:test";
import { databaseForTests, needsPostgres } from "../support/postgres.ts";
import { onPostgres, onSqlite, placesOn, watching, type Place, type Watching } from "./places.ts";

const postgres = databaseForTests();

/** A database where `tables` exist, and `w` is watched by `w` and `w:{id}`. */
async function withTables(t: TestContext, make: () => Promise<Place>, tables: string): Promise<Watching> {
  const it = await watching(t, make);
  await it.place.run(tables);
  await it.outbox.watch("w", { tags: ["w", "w:{id}"] });
  return it;
}

const plain = "CREATE TABLE w (id integer PRIMARY KEY, text text, other integer UNIQUE)";

const onOne = () => onPostgres(postgres.url);

for (const { name, needs, make } of placesOn(postgres))
  describe(`on ${name}`, needs, () => {
    test("an upsert tells of what it inserts and of what it changes, and nothing where it does nothing", async (t) => {
      const { told } = await withTables(t, make, plain);
      const upsert = "INSERT INTO w (id, text) VALUES (1, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET text = 'c'";
      assert.deepEqual(await told("INSERT INTO w (id, text) VALUES (1, 'a')"), ["w", "w:1"]);
      assert.deepEqual(await told(upsert), ["w", "w:1", "w:2"]);
      assert.deepEqual(await told("INSERT INTO w (id, text) VALUES (1, 'a') ON CONFLICT DO NOTHING"), []);
      assert.deepEqual(await told("INSERT INTO w (id, text) VALUES (7, 'a') ON CONFLICT DO NOTHING; DELETE FROM w"), [
        "w",
        "w:1",
        "w:2",
        "w:7",
      ]);
      const moves =
        "INSERT INTO w VALUES (1, 'a', 5); INSERT INTO w VALUES (3, 'a', 5) ON CONFLICT (other) DO UPDATE SET id = 4";
      assert.deepEqual(await told(moves), ["w", "w:1", "w:4"]);
    });

    test("what a foreign key deletes, changes or sets to null is told of", async (t) => {
      const { told } = await withTables(
        t,
        make,
        `CREATE TABLE parents (id integer PRIMARY KEY);
CREATE TABLE w (id integer REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE, maybe integer REFERENCES parents ON DELETE SET NULL);
INSERT INTO parents VALUES (1), (2), (3), (4); INSERT INTO w (id) VALUES (1), (2), (3); INSERT INTO w VALUES (3, 4)`,
      );
      const on = name === "SQLite" ? "PRAGMA foreign_keys = ON; " : "";
      assert.deepEqual(await told(`${on}DELETE FROM parents WHERE id = 1`), ["w", "w:1"]);
      assert.deepEqual(await told("UPDATE parents SET id = 9 WHERE id = 2"), ["w", "w:2", "w:9"]);
      assert.deepEqual(await told("DELETE FROM parents WHERE id = 4"), ["w", "w:3"]);
    });

    test("a generated column may be part of a tag", async (t) => {
      const { told } = await withTables(
        t,
        make,
        "CREATE TABLE w (number integer, id integer GENERATED ALWAYS AS (number * 2) STORED)",
      );
      assert.deepEqual(await told("INSERT INTO w (number) VALUES (2)"), ["w", "w:4"]);
      assert.deepEqual(await told("UPDATE w SET number = 3"), ["w", "w:4", "w:6"]);
    });

    test("what was rolled back to a savepoint is not told of, and the rest is", async (t) => {
      const { told } = await withTables(t, make, plain);
      const sql =
        "BEGIN; INSERT INTO w (id) VALUES (1); SAVEPOINT a; INSERT INTO w (id) VALUES (2); ROLLBACK TO a; INSERT INTO w (id) VALUES (3); COMMIT";
      assert.deepEqual(await told(sql), ["w", "w:1", "w:3"]);
    });

    test("the rows that somebody's own trigger changes are told of", async (t) => {
      const { told } = await withTables(t, make, `${plain}; CREATE TABLE log (id integer)`);
      const insert = "INSERT INTO w (id) VALUES (NEW.id + 10)";
      const update = "UPDATE w SET text = 'touched' WHERE id = NEW.id + 1";
      await told(
        name === "SQLite"
          ? `CREATE TRIGGER own AFTER INSERT ON log BEGIN ${insert}; END;
CREATE TRIGGER next AFTER UPDATE OF other ON w BEGIN ${update}; END`
          : `CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ${insert}; RETURN NEW; END';
CREATE TRIGGER own AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION own();
CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ${update.replaceAll("'", "''")}; RETURN NEW; END';
CREATE TRIGGER next BEFORE UPDATE OF other ON w FOR EACH ROW EXECUTE FUNCTION next()`,
      );
      assert.deepEqual(await told("INSERT INTO log VALUES (1), (2)"), ["w", "w:11", "w:12"]);
      assert.deepEqual(await told("UPDATE w SET other = 5 WHERE id = 11"), ["w", "w:11", "w:12"]);
    });
  });

describe("on SQLite alone", () => {
  test("a row that is replaced is told of under recursive triggers only, the row in its place always", async (t) => {
    const { told } = await withTables(t, onSqlite, plain);
    for (const [pragma, replaced] of [
      ["OFF", []],
      ["ON", ["w:1"]],
    ] as const) {
      const row = `PRAGMA recursive_triggers = ${pragma}; DELETE FROM w; INSERT INTO w VALUES (1, 'a', 5)`;
      await told(row);
      assert.deepEqual(await told("REPLACE INTO w VALUES (2, 'b', 5)"), ["w", ...replaced, "w:2"]);
      await told(row);
      assert.deepEqual(await told("INSERT INTO w VALUES (3, 'a', 6)"), ["w", "w:3"]);
      assert.deepEqual(await told("UPDATE OR REPLACE w SET other = 5 WHERE id = 3"), ["w", ...replaced, "w:3"]);
      assert.deepEqual(await told("REPLACE INTO w VALUES (3, 'b', 5)"), ["w", "w:3"]);
    }
  });

  test("a DELETE without WHERE tells of every row", async (t) => {
    const { told } = await withTables(t, onSqlite, plain);
    await told("INSERT INTO w (id) VALUES (1), (2), (3)");
    assert.deepEqual(await told("DELETE FROM w"), ["w", "w:1", "w:2", "w:3"]);
  });
});

describe("on PostgreSQL alone", needsPostgres(), () => {
  test("COPY is seen", { skip: existsSync("/usr/bin/psql") ? false : "psql is not installed" }, async (t) => {
    const { place, told } = await withTables(t, onOne, plain);
    const [, , schema = ""] = place.args;
    const input = `COPY ${schema}.w FROM STDIN;\n1\ta\t1\n2\tb\t2\n\\.\n`;
    execFileSync("psql", [postgres.url, "-q", "-v", "ON_ERROR_STOP=1"], { input });
    assert.deepEqual(await told(""), ["w", "w:1", "w:2"]);
  });

  test("MERGE is seen, whatever it does", async (t) => {
    const { place, told } = await withTables(t, onOne, plain);
    const version = await (place.db as { query(sql: string): Promise<{ rows: [{ n: number }] }> }).query(
      "SELECT current_setting('server_version_num')::int AS n",
    );
    if (version.rows[0].n < 150000) return t.skip("MERGE came with PostgreSQL 15");
    await told("INSERT INTO w (id, text) VALUES (1, 'a'), (2, 'b')");
    const merge = `MERGE INTO w USING (VALUES (1), (2), (3)) AS s (id) ON w.id = s.id
WHEN MATCHED AND s.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET text = 'c' WHEN NOT MATCHED THEN INSERT VALUES (s.id)`;
    assert.deepEqual(await told(merge), ["w", "w:1", "w:2", "w:3"]);
  });

  test("all parts of a statement with writing WITH queries are seen", async (t) => {
    const { told } = await withTables(t, onOne, plain);
    await told("INSERT INTO w (id) VALUES (1), (2)");
    const sql = `WITH gone AS (DELETE FROM w WHERE id = 1 RETURNING id), more AS (INSERT INTO w (id) VALUES (3), (4) RETURNING id),
changed AS (UPDATE w SET text = 'x' WHERE id = 2 RETURNING id) INSERT INTO w SELECT id + 10 FROM gone`;
    assert.deepEqual(await told(sql), ["w", "w:1", "w:11", "w:2", "w:3", "w:4"]);
  });

  test("a row that moves to another partition is told of by its old and its new tag", async (t) => {
    const { told } = await withTables(
      t,
      onOne,
      `CREATE TABLE w (id int) PARTITION BY RANGE (id); CREATE TABLE w1 PARTITION OF w FOR VALUES FROM (1) TO (10);
CREATE TABLE w2 PARTITION OF w FOR VALUES FROM (10) TO (20)`,
    );
    assert.deepEqual(await told("INSERT INTO w (id) VALUES (1), (11)"), ["w", "w:1", "w:11"]);
    assert.deepEqual(await told("UPDATE w SET id = 12 WHERE id = 1"), ["w", "w:1", "w:12"]);
    assert.deepEqual(await told("TRUNCATE w"), ["w"]);
  });

  test("what is written to the rows of children through their watched parent is seen", async (t) => {
    const { outbox, told } = await withTables(
      t,
      onOne,
      "CREATE TABLE w (id int, text text); CREATE TABLE child (more int) INHERITS (w)",
    );
    assert.deepEqual(await told("INSERT INTO child VALUES (1), (2)"), []);
    assert.deepEqual(await told("UPDATE w SET text = 'x' WHERE id = 1"), ["w", "w:1"]);
    assert.deepEqual(await told("DELETE FROM w"), ["w", "w:1", "w:2"]);
    await outbox.watch("child", { tags: ["w", "w:{id}"] });
    assert.deepEqual(await told("INSERT INTO child VALUES (1)"), ["w", "w:1"]);
    assert.deepEqual(await told("TRUNCATE w"), ["w"]);
  });

  test("TRUNCATE ... CASCADE is seen of a table that it did not name", async (t) => {
    const { told } = await withTables(
      t,
      onOne,
      "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE w (id int REFERENCES parents)",
    );
    assert.deepEqual(await told("TRUNCATE parents CASCADE"), ["w"]);
  });
});
