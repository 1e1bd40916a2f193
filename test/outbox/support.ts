/** What the tests of the outbox share: a cache that remembers what it was told, and the databases, each with a table. */
import type { TestContext } from "node:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OutboxCache } from "everfresh/outbox";
import { Kysely, PostgresDialect, SqliteDialect } from "kysely";
import Sqlite from "libsql";
import pg from "pg";

/** A cache that only remembers what it was told, in order: `key queue`, `tag items`. */
export class RememberingCache implements OutboxCache {
  readonly name: string;
  readonly told: string[] = [];
  /** Names that it refuses, as a cache whose server is down would. */
  readonly refuses = new Set<string>();
  /** Runs before it answers. */
  before: (() => Promise<void>) | undefined;

  constructor(name = "shop") {
    this.name = name;
  }

  invalidate(keys: readonly string[]): Promise<void> {
    return this.#tell("key", keys);
  }

  invalidateTags(tags: readonly string[]): Promise<void> {
    return this.#tell("tag", tags);
  }

  async #tell(kind: string, names: readonly string[]): Promise<void> {
    await this.before?.();
    const refused = names.find((name) => this.refuses.has(name));
    if (refused !== undefined) throw new Error(`${refused} has no server`);
    this.told.push(...names.map((name) => `${kind} ${name}`));
  }
}

export interface Items {
  items: { id: number; text: string };
}

export type LibsqlHandle = Sqlite.Database;

/** A SQLite file of its own, in WAL mode, with a table `items`; `open()` opens it once more. */
export function sqliteFile(): { path: string; open: () => LibsqlHandle; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "everfresh-sqlite-"));
  const path = join(folder, "db");
  const open = () => {
    const handle = new Sqlite(path);
    handle.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 2000");
    return handle;
  };
  const first = open();
  first.exec("CREATE TABLE items (id integer PRIMARY KEY, text text NOT NULL)");
  first.close();
  return { path, open, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A handle on such a file; both are gone when the test ends. */
export function openSqlite(t: TestContext, file = sqliteFile()): LibsqlHandle {
  const handle = file.open();
  t.after(() => {
    handle.close();
    file.remove();
  });
  return handle;
}

export function kyselyOnSqlite(handle: LibsqlHandle): Kysely<Items> {
  return new Kysely<Items>({ dialect: new SqliteDialect({ database: handle }) });
}

export function kyselyOnPostgres(pool: pg.Pool): Kysely<Items> {
  return new Kysely<Items>({ dialect: new PostgresDialect({ pool }) });
}

let schemas = 0;

/** A pool in a schema of its own, with a table `items`. */
export async function poolWithItems(url: string): Promise<pg.Pool> {
  schemas += 1;
  const schema = `s${process.pid}_${schemas}`;
  const maker = new pg.Client(url);
  await maker.connect();
  await maker.query(
    `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.items (id serial PRIMARY KEY, text text NOT NULL)`,
  );
  await maker.end();
  const pool = new pg.Pool({ connectionString: url, max: 8, options: `-c search_path=${schema}` });
  // A connection that is being closed when the server stops says so; nobody is interested.
  pool.on("error", () => undefined);
  return pool;
}

/** The schema that such a pool looks in. */
export function schemaOf(pool: pg.Pool): string {
  return String(pool.options.options).replace("-c search_path=", "");
}

/** Waits until `check` holds; at most `deadlineMs`. */
export async function eventually(check: () => boolean | Promise<boolean>, deadlineMs = 2_000): Promise<void> {
  const until = performance.now() + deadlineMs;
  while (!(await check())) {
    if (performance.now() > until) throw new Error("it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
