/** What a transaction of the outbox does, the same on every kind of database handle. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  createOutbox,
  key,
  tag,
  type DatabaseHandle,
  type EverfreshError,
  type InvalidationPendingError,
} from "everfresh/outbox";
import { type Kysely, ParseJSONResultsPlugin, type Transaction } from "kysely";
import pg from "pg";
import { databaseForTests, needsPostgres } from "../support/postgres.ts";
import {
  kyselyOnPostgres,
  kyselyOnSqlite,
  openSqlite,
  poolWithItems,
  RememberingCache,
  sqliteFile,
  type Items,
  type LibsqlHandle,
} from "./support.ts";

/** One kind of handle: how to write with its transaction, and how somebody else counts what is committed. */
interface Kind {
  readonly db: DatabaseHandle;
  /** For `createOutbox`, where `db` is not allowed to run relays. */
  readonly home?: DatabaseHandle;
  readonly insert: (tx: unknown, text: string) => Promise<void>;
  committedItems(): Promise<number>;
  close(): Promise<void>;
}

async function byKysely(tx: unknown, text: string): Promise<void> {
  const row = { text } as Items["items"];
  await (tx as Transaction<Items>).insertInto("items").values(row).execute();
}

async function byPg(tx: unknown, text: string): Promise<void> {
  await (tx as pg.ClientBase).query("INSERT INTO items (text) VALUES ($1)", [text]);
}

/** Node's own SQLite, where it has one: without a flag from 22.13 on. */
const nodeSqlite = process.getBuiltinModule("node:sqlite") as unknown as
  | { readonly DatabaseSync: new (path: string, options: { timeout: number }) => LibsqlHandle }
  | undefined;

function openByNode(path: string): LibsqlHandle {
  if (nodeSqlite === undefined) throw new Error("this Node has no SQLite");
  return new nodeSqlite.DatabaseSync(path, { timeout: 2_000 });
}

function byHandle(handle: LibsqlHandle): { db: DatabaseHandle; insert: Kind["insert"] } {
  return {
    db: handle,
    insert(tx, text) {
      (tx as LibsqlHandle).prepare("INSERT INTO items (text) VALUES (?)").run(text);
      return Promise.resolve();
    },
  };
}

function sqliteKind(
  make: (handle: LibsqlHandle) => { db: DatabaseHandle; insert: Kind["insert"] },
  by?: (path: string) => LibsqlHandle,
): Kind {
  const file = sqliteFile();
  const handle = by?.(file.path) ?? file.open();
  const other = file.open();
  return {
    ...make(handle),
    committedItems: () => Promise.resolve(countOf(other.prepare("SELECT count(*) AS n FROM items").all()[0])),
    close() {
      handle.close();
      other.close();
      file.remove();
      return Promise.resolve();
    },
  };
}

async function pgKind(
  make: (
    pool: pg.Pool,
  ) => Promise<{ db: DatabaseHandle; home?: DatabaseHandle; insert: Kind["insert"]; end?: () => Promise<void> }>,
): Promise<Kind> {
  const pool = await poolWithItems(postgres.url);
  const { end, ...made } = await make(pool);
  return {
    ...made,
    committedItems: async () => countOf((await pool.query("SELECT count(*) AS n FROM items")).rows[0]),
    async close() {
      await end?.();
      await pool.end();
    },
  };
}

function countOf(row: unknown): number {
  return Number((row as { n: unknown }).n);
}

const postgres = databaseForTests();
const onPostgres = needsPostgres();

const kinds: readonly { name: string; needs: { skip: string | false }; make: () => Kind | Promise<Kind> }[] = [
  {
    name: "a SQLite handle",
    needs: { skip: false },
    make: () => sqliteKind(byHandle),
  },
  {
    name: "a SQLite handle of Node's own",
    needs: { skip: nodeSqlite === undefined ? "this Node has no SQLite" : false },
    make: () => sqliteKind(byHandle, openByNode),
  },
  {
    name: "Kysely on SQLite",
    needs: { skip: false },
    make: () => sqliteKind((handle) => ({ db: kyselyOnSqlite(handle), insert: byKysely })),
  },
  {
    name: "a pg Pool",
    needs: onPostgres,
    make: () => pgKind((pool) => Promise.resolve({ db: pool, insert: byPg })),
  },
  {
    name: "a pg Client",
    needs: onPostgres,
    make: () =>
      pgKind(async (pool) => {
        const client = new pg.Client({ connectionString: postgres.url, options: String(pool.options.options) });
        await client.connect();
        return { db: client, home: pool, insert: byPg, end: () => client.end() };
      }),
  },
  {
    name: "Kysely on PostgreSQL",
    needs: onPostgres,
    make: () => pgKind((pool) => Promise.resolve({ db: kyselyOnPostgres(pool), insert: byKysely })),
  },
];

for (const kind of kinds)
  describe(`with ${kind.name}`, kind.needs, () => {
    let it: Kind;
    before(async () => {
      it = await kind.make();
      const outbox = createOutbox({ db: it.home ?? it.db, caches: new RememberingCache(), relay: false });
      // Twice at the same time, as two processes that start would.
      await Promise.all([outbox.install(), outbox.install()]);
      await outbox.close();
    });
    after(() => it.close());

    const open = (cache: RememberingCache) => createOutbox({ db: it.home ?? it.db, caches: cache, relay: false });

    test("the caches are told once, after the commit, and nothing stays in the table", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      const committedBefore = await it.committedItems();
      cache.before = async () => assert.equal(await it.committedItems(), committedBefore + 1);
      const result = await outbox.transaction(it.db, async (tx, invalidate) => {
        invalidate("queue", tag("items"));
        await it.insert(tx, "one");
        invalidate(key("queue"), tag("items"));
        return 42;
      });
      assert.equal(result, 42);
      assert.deepEqual(cache.told.toSorted(), ["key queue", "tag items"]);
      assert.deepEqual((await outbox.status()).waiting, []);
    });

    test("a transaction that fails changes nothing and invalidates nothing", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      const committedBefore = await it.committedItems();
      await assert.rejects(
        outbox.transaction(it.db, async (tx, invalidate) => {
          await it.insert(tx, "never");
          invalidate("queue");
          throw new Error("changed my mind");
        }),
        /changed my mind/,
      );
      assert.equal(await it.committedItems(), committedBefore);
      assert.deepEqual(cache.told, []);
      assert.deepEqual((await outbox.status()).waiting, []);
      await outbox.transaction(it.db, (tx) => it.insert(tx, "the handle still works"));
      assert.equal(await it.committedItems(), committedBefore + 1);
    });

    test("when a cache is away the call says that the data is committed, and the relay delivers later", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      const committedBefore = await it.committedItems();
      cache.refuses.add("queue");
      await assert.rejects(
        outbox.transaction(it.db, async (tx, invalidate) => {
          await it.insert(tx, "committed");
          invalidate("queue", "other", tag("items"));
          return "the result";
        }),
        (error: InvalidationPendingError) => {
          assert.equal(error.code, "EF_INVALIDATION_PENDING");
          assert.equal(error.committed, true);
          assert.equal(error.result, "the result");
          assert.match(error.message, /IS COMMITTED; do not run it again/);
          assert.deepEqual(error.pending, [{ namespace: "shop", kind: "key", name: "queue" }]);
          return true;
        },
      );
      assert.equal(await it.committedItems(), committedBefore + 1);
      assert.deepEqual(cache.told.toSorted(), ["key other", "tag items"]);
      assert.deepEqual(
        (await outbox.status()).waiting.map(({ namespace, rows }) => [namespace, rows]),
        [["shop", 1]],
      );
      cache.refuses.clear();
      const until = performance.now() + 2_000;
      while ((await outbox.relayOnce()) === 0 && performance.now() < until)
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(cache.told.at(-1), "key queue");
      assert.deepEqual((await outbox.status()).waiting, []);
    });

    test("many transactions at once all arrive", async () => {
      const cache = new RememberingCache();
      const outbox = open(cache);
      const committedBefore = await it.committedItems();
      await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          outbox.transaction(it.db, async (tx, invalidate) => {
            await it.insert(tx, `n${n}`);
            invalidate(`k${n}`);
          }),
        ),
      );
      assert.equal(await it.committedItems(), committedBefore + 20);
      assert.deepEqual(cache.told.toSorted(), Array.from({ length: 20 }, (_, n) => `key k${n}`).toSorted());
      assert.deepEqual((await outbox.status()).waiting, []);
    });

    test("a transaction inside a transaction of the same handle is refused, rather than waiting for itself", async () => {
      const outbox = open(new RememberingCache());
      await assert.rejects(
        outbox.transaction(it.db, () => outbox.transaction(it.db, () => undefined)),
        { code: "EF_OPTION" },
      );
    });

    test("what would wait for the end of the transaction around it is refused, or answered", async () => {
      const outbox = open(new RememberingCache());
      const answers = async () =>
        await Promise.all(
          [() => outbox.status(), () => outbox.relayOnce()].map(async (ask) =>
            ask().then(
              () => "answered",
              (error: EverfreshError) => error.code,
            ),
          ),
        );
      const oneConnection = !("totalCount" in (it.home ?? it.db)) && !kind.name.includes("PostgreSQL");
      const expected = oneConnection ? ["EF_OPTION", "EF_OPTION"] : ["answered", "answered"];
      assert.deepEqual(await outbox.transaction(it.db, answers), expected);
      assert.deepEqual(await answers(), ["answered", "answered"]);
    });

    test("what a transaction forgot to await cannot invalidate after its end", async () => {
      const outbox = open(new RememberingCache());
      let late: (() => void) | undefined;
      await outbox.transaction(it.db, (_tx, invalidate) => {
        late = () => invalidate("queue");
      });
      assert.throws(() => late?.(), { code: "EF_OPTION" });
    });

    test("an isolation or an option that is misspelled, or no callback, is refused before anything runs", async () => {
      const outbox = open(new RememberingCache());
      const committedBefore = await it.committedItems();
      const work = async (tx: unknown): Promise<void> => await it.insert(tx, "x");
      for (const [options, message] of [
        [{ isolatoin: "serializable" }, /transaction has no option isolatoin; there are isolation/],
        [{ isolation: "serialisable" }, /it is read committed, repeatable read, serializable/],
        [null, /takes an object of options/],
      ] as const)
        await assert.rejects(outbox.transaction(it.db, work, options as never), { code: "EF_OPTION", message });
      await assert.rejects(outbox.transaction(it.db, undefined as never), { code: "EF_OPTION", message: /a function/ });
      await assert.rejects(outbox.watch("items", undefined as never), { code: "EF_OPTION", message: /watch takes/ });
      assert.equal(await it.committedItems(), committedBefore);
    });

    test("a namespace that no cache here has cannot be named", async () => {
      const outbox = open(new RememberingCache());
      await assert.rejects(
        outbox.transaction(it.db, (_tx, invalidate) => invalidate(key("post", "blog"))),
        { code: "EF_OPTION" },
      );
    });
  });

test("odd names reach the cache as they were written", async () => {
  const names = ["it's", 'a "quoted" \\ name', "Ünïcödé 🎈", "line\nbreak", "x".repeat(200)];
  const longKey = "x".repeat(2_048);
  const file = sqliteFile();
  const handles: { db: DatabaseHandle; close: () => unknown }[] = [];
  const handle = file.open();
  handles.push({ db: handle, close: () => handle.close() });
  if (onPostgres.skip === false) {
    const pool = await poolWithItems(postgres.url);
    handles.push({ db: pool, close: () => pool.end() });
  }
  for (const { db, close } of handles) {
    const cache = new RememberingCache("a namespace; with 'quotes'");
    const outbox = createOutbox({ db, caches: cache, relay: false });
    await outbox.install();
    await outbox.transaction(db, (_tx, invalidate) => invalidate(longKey, ...names, ...names.map((name) => tag(name))));
    const all = [`key ${longKey}`, ...names.map((name) => `key ${name}`), ...names.map((name) => `tag ${name}`)];
    assert.deepEqual(cache.told.toSorted(), all.toSorted());
    await close();
  }
  file.remove();
});

test("a key that looks like JSON stays text where a plugin of Kysely parses what a database answers", async () => {
  const file = sqliteFile();
  const handle = file.open();
  const db = kyselyOnSqlite(handle).withPlugin(new ParseJSONResultsPlugin());
  const cache = new RememberingCache();
  const outbox = createOutbox({ db, caches: cache, relay: false, graceMs: 1 });
  await outbox.install();
  await outbox.transaction(db, (_tx, invalidate) => invalidate('{"page":2}', tag("[1]")));
  handle.exec(`INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('shop', 'key', '{"page":3}')`);
  await outbox.relayOnce();
  assert.deepEqual(cache.told.toSorted(), ['key {"page":2}', 'key {"page":3}', "tag [1]"]);
  handle.close();
  file.remove();
});

test("a SQLite handle that was opened to answer with arrays is told in the same way", async (t) => {
  const handle = openSqlite(t);
  // As node:sqlite is with `returnArrays: true`.
  const prepare = (sql: string) => {
    const statement = handle.prepare(sql);
    const setReturnArrays = (enabled: boolean) => statement.reader && statement.raw(enabled);
    setReturnArrays(true);
    return Object.assign(statement, { setReturnArrays });
  };
  const db = { prepare, exec: (sql: string) => handle.exec(sql) };
  const cache = new RememberingCache();
  const outbox = createOutbox({ db, caches: cache, relay: false });
  await outbox.install();
  await outbox.transaction(db, (_tx, invalidate) => invalidate("queue"));
  assert.deepEqual([cache.told, (await outbox.status()).waiting], [["key queue"], []]);
});

for (const wrong of [
  "",
  "x".repeat(2_049),
  "nul\0",
  "half \ud83c",
  7,
  null,
  { kind: "page", name: "x" },
  tag("t".repeat(201)),
  tag("\u0001t"),
])
  test(`${JSON.stringify(wrong)?.slice(0, 20)} cannot be invalidated`, async () => {
    const file = sqliteFile();
    const handle = file.open();
    const outbox = createOutbox({ db: handle, caches: new RememberingCache(), relay: false });
    await outbox.install();
    await assert.rejects(
      outbox.transaction(handle, (_tx, invalidate) => invalidate(wrong as never)),
      { code: "EF_OPTION" },
    );
    handle.close();
    file.remove();
  });

test("two caches of one outbox have two namespaces", () => {
  const file = sqliteFile();
  const handle = file.open();
  const caches = [new RememberingCache(), new RememberingCache()];
  assert.throws(() => createOutbox({ db: handle, caches, relay: false }), { code: "EF_OPTION" });
  handle.close();
  file.remove();
});

test("what is no database is refused at once", () => {
  for (const db of [{}, { query: () => undefined }, new Map()])
    assert.throws(() => createOutbox({ db: db as never, caches: new RememberingCache() }), { code: "EF_OPTION" });
});

test("options that are none, and caches that are none, are refused at once", () => {
  const file = sqliteFile();
  const handle = file.open();
  const right = { db: handle, caches: new RememberingCache(), relay: false };
  const wrong: Record<string, unknown>[] = [
    { ...right, relya: false },
    { ...right, caches: {} },
    { ...right, caches: [undefined] },
    { ...right, caches: "x" },
    { ...right, db: undefined },
    { ...right, batch: 1.5 },
  ];
  for (const options of [...wrong, undefined, 5])
    assert.throws(
      () => createOutbox(options as never),
      { code: "EF_OPTION" },
      JSON.stringify(Object.keys(options ?? {})),
    );
  handle.close();
  file.remove();
});

test("the types of the transactions are those of the handles", () => {
  const outbox = undefined as unknown as ReturnType<typeof createOutbox>;
  // Never run; what must compile is the use of `tx` as each package types it.
  const compiles = async (db: Kysely<Items>, pool: pg.Pool, client: pg.Client, sqlite: LibsqlHandle) => {
    await outbox.transaction(db, (tx) => tx.selectFrom("items").select("id").execute());
    await outbox.transaction(pool, (tx) => tx.query("SELECT 1"));
    await outbox.transaction(client, (tx) => tx.query("SELECT 1"));
    await outbox.transaction(sqlite, (tx) => tx.prepare("SELECT 1").all());
    // @ts-expect-error -- a pool's client has no such method
    await outbox.transaction(pool, (tx) => tx.selectFrom("items"));
  };
  assert.equal(typeof compiles, "function");
});
