/**
 * Brings the tables up to date. Run by `npm run migrate`, by Heroku's release phase, and by `npm start` before it listens.
 *
 * Doing it twice does nothing the second time; two processes doing it at once do it once: PostgreSQL by an advisory lock,
 * SQLite by its write lock, both held for the whole transaction.
 */
import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Migrator } from "kysely";
import { configFromEnv } from "./config.ts";
import { openDatabase, type Database } from "./database.ts";
import { reasonOf } from "./logging.ts";
import { migrations } from "./migrations/index.ts";

/** Applies what is missing and returns the names of the steps taken. Rejects with the first failure, which is undone. */
export async function migrate(database: Database): Promise<readonly string[]> {
  const migrator = new Migrator({
    db: database.db,
    provider: { getMigrations: () => Promise.resolve({ ...migrations }) },
    migrationTableName: "queue_migration",
    migrationLockTableName: "queue_migration_lock",
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined)
    throw new Error(`The tables of ${database.shown} cannot be brought up to date: ${reasonOf(error)}`, {
      cause: error,
    });
  return (results ?? []).filter((result) => result.status === "Success").map((result) => result.migrationName);
}

async function main(): Promise<void> {
  const config = configFromEnv({ SESSION_SECRET: "-".repeat(32), ...process.env });
  const database = await openDatabase(config.database);
  try {
    const taken = await migrate(database);
    const done = taken.length === 0 ? "The tables are up to date." : `Migrated: ${taken.join(", ")}.`;
    process.stdout.write(`${done} ${database.shown}\n`);
  } finally {
    await database.close();
  }
}

// Compared by their real paths: a link on the way to this file must not turn the migration into nothing.
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href)
  main().catch((error: unknown) => {
    process.stderr.write(`${reasonOf(error)}\n`);
    process.exitCode = 1;
  });
