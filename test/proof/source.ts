/** What the values of the proof are read from: PostgreSQL, or one SQLite file that all processes open. */
import { createOutbox, type DatabaseHandle } from "everfresh/outbox";
import Sqlite from "libsql";
import pg from "pg";

/** A database with a table `items` of versions, and the outbox. */
export interface Source {
  readonly db: DatabaseHandle;
  version(key: number): Promise<number>;
  /** Adds one to a version and answers it. @param tx the transaction to do it in */
  raise(key: number, tx?: unknown): Promise<number>;
  /** One number. */
  count(sql: string): Promise<number>;
  run(sql: string): Promise<void>;
  close(): Promise<void>;
}

const sqlitePrefix = "sqlite:";

/** @param database a PostgreSQL URL, or `sqlite:<file>` */
export function openSource(database: string): Source {
  return database.startsWith(sqlitePrefix)
    ? new OnSqlite(database.slice(sqlitePrefix.length))
    : new OnPostgres(database);
}

/** Creates the table, with version 0 for each of `keys`. */
export async function makeItems(database: string, keys: number): Promise<void> {
  const source = openSource(database);
  const room = database.startsWith(sqlitePrefix) ? "" : " WITH (fillfactor = 50)";
  const rows = Array.from({ length: keys }, (_, key) => `(${key}, 0)`);
  await source.run("DROP TABLE IF EXISTS items");
  await source.run(`CREATE TABLE items (id int PRIMARY KEY, version bigint NOT NULL)${room}`);
  await source.run(`INSERT INTO items VALUES ${rows.join(", ")}`);
  await source.close();
}

/** Creates the tables of the outbox. */
export async function installOutbox(database: string): Promise<void> {
  const source = openSource(database);
  const cache = { name: "proof", invalidate: done, invalidateTags: done };
  await createOutbox({ db: source.db, caches: cache, relay: false }).install();
  await source.close();
}

function done(): Promise<void> {
  return Promise.resolve();
}

class OnPostgres implements Source {
  readonly db: pg.Pool;

  constructor(connectionString: string) {
    this.db = new pg.Pool({ connectionString, max: 4 });
    this.db.on("error", () => undefined);
  }

  version(key: number): Promise<number> {
    return this.count(`SELECT version FROM items WHERE id = ${key}`);
  }

  raise(key: number, tx: unknown = this.db): Promise<number> {
    return numberOf(tx as pg.ClientBase, `UPDATE items SET version = version + 1 WHERE id = ${key} RETURNING version`);
  }

  count(sql: string): Promise<number> {
    return numberOf(this.db, sql);
  }

  async run(sql: string): Promise<void> {
    await this.db.query(sql);
  }

  close(): Promise<void> {
    return this.db.end();
  }
}

async function numberOf(db: pg.ClientBase | pg.Pool, sql: string): Promise<number> {
  const { rows } = await db.query<Record<string, string>>(sql);
  return Number(Object.values(rows[0] ?? {})[0]);
}

class OnSqlite implements Source {
  readonly db: Sqlite.Database;

  constructor(path: string) {
    this.db = new Sqlite(path);
    this.db.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL");
  }

  version(key: number): Promise<number> {
    return this.count(`SELECT version FROM items WHERE id = ${key}`);
  }

  raise(key: number): Promise<number> {
    return this.count(`UPDATE items SET version = version + 1 WHERE id = ${key} RETURNING version`);
  }

  count(sql: string): Promise<number> {
    const row = this.db.prepare(sql).get() as Record<string, unknown> | undefined;
    return Promise.resolve(Number(Object.values(row ?? {})[0]));
  }

  run(sql: string): Promise<void> {
    this.db.exec(sql);
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.db.close();
    return Promise.resolve();
  }
}
