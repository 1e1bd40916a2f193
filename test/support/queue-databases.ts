/** Databases for tests of the queue app: the same tests run on SQLite and on PostgreSQL. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { databaseTarget, migrate, openDatabase, type Database } from "@everfresh/queue";
import { sql } from "kysely";
import { needsPostgres, startPostgres, type RealPostgres } from "./postgres.ts";

export interface TestDatabases {
  readonly name: "SQLite" | "PostgreSQL";
  /** For `test(name, options, ...)`. */
  readonly options: { readonly skip: string | false };
  /** The URL of an empty database; several processes may use it. */
  url(): Promise<string>;
  /** The PostgreSQL beneath, if it is one. */
  postgres(): Promise<RealPostgres>;
}

/** Both kinds. What they start or make is gone when the test file ends. */
export function testDatabases(): readonly TestDatabases[] {
  let folder: string | undefined;
  let files = 0;
  let postgres: Promise<RealPostgres> | undefined;
  after(async () => {
    await (await postgres)?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });
  const started = (): Promise<RealPostgres> => (postgres ??= startPostgres());
  return [
    {
      name: "SQLite",
      options: { skip: false },
      url() {
        folder ??= mkdtempSync(join(tmpdir(), "everfresh-sqlite-"));
        return Promise.resolve(`sqlite:///${join(folder, `queue-${(files += 1)}.sqlite`)}`);
      },
      postgres: () => Promise.reject(new Error("this is SQLite")),
    },
    {
      name: "PostgreSQL",
      options: needsPostgres(),
      url: async () => await (await started()).createDatabase(),
      postgres: started,
    },
  ];
}

/** Opens the database at `url`. */
export async function openAt(url: string, options: { readonly poolSize?: number } = {}): Promise<Database> {
  const problems: string[] = [];
  const target = databaseTarget({ DATABASE_URL: url }, { production: false, heroku: false }, problems);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return await openDatabase(target, options);
}

/** Opens a new database with its tables. */
export async function openNew(
  databases: TestDatabases,
  options: { readonly poolSize?: number } = {},
): Promise<Database> {
  const database = await openAt(await databases.url(), options);
  await migrate(database);
  return database;
}

/** Adds `item 1` to `item <items>` in one statement. */
export async function fillQueue(database: Database, items: number): Promise<void> {
  await (
    database.kind === "postgres"
      ? sql`insert into queue_item (text) select 'item ' || i from generate_series(1, ${items}::int) i`
      : sql`with recursive i (i) as (select 1 union all select i + 1 from i where i < ${items})
          insert into queue_item (text) select 'item ' || i from i`
  ).execute(database.db);
}
