/** The database, PostgreSQL or SQLite: one face (Kysely), opened from one checked target. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { Kysely, PostgresDialect, sql, type Generated } from "kysely";
import pg from "pg";
import type { DatabaseTarget, PostgresTarget } from "./database-url.ts";
import { sqliteDialect } from "./sqlite.ts";

/** The tables, as queries see them. */
export interface Tables {
  readonly queue_item: { readonly id: Generated<number>; readonly text: string };
}

export interface Database {
  readonly kind: DatabaseTarget["kind"];
  /** What it is, safe to print. */
  readonly shown: string;
  readonly db: Kysely<Tables>;
  /** Rejects when the queue cannot be read: the database does not answer, or lacks the table. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** PostgreSQL ends a statement that takes longer. */
const statementMs = 8_000;
/** We stop waiting for an answer then; later than `statementMs`, so that a slow statement is ended by the server. */
const answerMs = 10_000;
const connectMs = 5_000;

/**
 * Opens the database. PostgreSQL is not contacted before the first query.
 *
 * @throws Error with a sentence when the file of SQLite cannot be opened
 */
export async function openDatabase(
  target: DatabaseTarget,
  options: { readonly poolSize?: number; readonly onIdleError?: (error: Error) => void } = {},
): Promise<Database> {
  const db = new Kysely<Tables>({
    dialect:
      target.kind === "sqlite"
        ? sqliteDialect(sqliteFile(target.file, target.makeFolder))
        : new PostgresDialect({ pool: postgresPool(target, options) }),
  });
  const database: Database = {
    kind: target.kind,
    shown: `${target.kind === "sqlite" ? "SQLite" : "PostgreSQL"} (${target.shown})`,
    db,
    ping: async () => void (await db.selectFrom("queue_item").select("id").limit(1).execute()),
    close: () => db.destroy(),
  };
  if (target.kind === "sqlite") await opened(db, target.file);
  return database;
}

function sqliteFile(file: string, makeFolder: boolean): string {
  if (file === ":memory:") return file;
  const folder = dirname(file);
  if (makeFolder) mkdirSync(folder, { recursive: true });
  if (!existsSync(folder)) throw new Error(`The folder ${folder} of the SQLite file does not exist.`);
  return file;
}

async function opened(db: Kysely<Tables>, file: string): Promise<void> {
  try {
    await sql`select 1`.execute(db);
  } catch (cause) {
    throw new Error(`The SQLite file ${file} cannot be opened: ${cause instanceof Error ? cause.message : "unknown"}`, {
      cause,
    });
  }
}

function postgresPool(
  target: PostgresTarget,
  options: { readonly poolSize?: number; readonly onIdleError?: (error: Error) => void },
): pg.Pool {
  const pool = new pg.Pool({
    ...(target.host !== undefined && { host: target.host }),
    ...(target.port !== undefined && { port: target.port }),
    ...(target.user !== undefined && { user: target.user }),
    ...(target.password !== undefined && { password: target.password }),
    database: target.database,
    ssl: tls(target),
    application_name: target.applicationName,
    max: options.poolSize ?? 5,
    connectionTimeoutMillis: connectMs,
    statement_timeout: statementMs,
    query_timeout: answerMs,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    types: { getTypeParser },
  });
  // A connection that breaks while nobody uses it: the pool has dropped it already, and must not end the process.
  pool.on("error", (error) => options.onIdleError?.(error));
  // One that breaks in use says so by an event, too, to which neither the pool nor Kysely listens then. Its statement fails by
  // itself.
  pool.on("connect", (client) => client.on("error", () => undefined));
  return pool;
}

/** Counts and ids fit a number for the next 285,000 years of a thousand items a second; the driver would make text of them. */
const getTypeParser: typeof pg.types.getTypeParser = (oid: number, format?: "text" | "binary") =>
  oid === int8Oid ? Number : pg.types.getTypeParser(oid, format);
const int8Oid: number = pg.types.builtins.INT8;

/** libpq's meaning of the modes, and `pg`'s of `no-verify`; a `sslrootcert` makes `require` verify, as it does there. */
function tls(target: PostgresTarget): false | ConnectionOptions {
  if (target.sslMode === "disable") return false;
  const root = target.sslRoot === undefined ? {} : { ca: target.sslRoot };
  if (target.sslMode === "verify-full") return { ...root, rejectUnauthorized: true };
  const isUnchecked = target.sslMode === "no-verify" || (target.sslMode === "require" && target.sslRoot === undefined);
  if (isUnchecked) return { rejectUnauthorized: false };
  return { ...root, rejectUnauthorized: true, checkServerIdentity: () => undefined };
}
