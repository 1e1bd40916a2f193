/** Which of the adapters fits a handle, and what its transactions hand to the caller's code. */
import { EverfreshError } from "../errors.ts";
import type { Database } from "./database.ts";
import { kyselyDatabase, type KyselyLike } from "./kysely.ts";
import { pgClient, pgPool, type PgClientLike, type PgPoolLike } from "./pg.ts";
import { sqliteHandle, type SqliteLike } from "./sqlite.ts";

/** What people have: a Kysely instance, a `pg` Pool or Client, or a SQLite handle (better-sqlite3, libsql, `node:sqlite`). */
export type DatabaseHandle = KyselyLike | PgPoolLike | PgClientLike | SqliteLike;

/** What the callback of `transaction` receives: Kysely's Transaction, the pool's client, or the handle itself. */
export type TransactionOf<Handle> = Handle extends {
  transaction: () => { execute: (callback: (trx: infer Trx) => Promise<unknown>) => unknown };
  executeQuery: unknown;
}
  ? Trx
  : Handle extends { totalCount: number; connect: { (): Promise<infer Client>; (callback: never): void } }
    ? Client
    : Handle;

const known = new WeakMap<object, Database>();

/**
 * The outbox's view of `handle`; the same view for the same handle.
 *
 * @throws EverfreshError `EF_OPTION` for anything else
 */
export function databaseOf<Handle extends DatabaseHandle>(handle: Handle): Database<TransactionOf<Handle>> {
  const database = known.get(handle) ?? adapt(handle);
  known.set(handle, database);
  return database as Database<TransactionOf<Handle>>;
}

function adapt(handle: object | undefined): Database {
  if (has(handle, "executeQuery", "transaction")) return kyselyDatabase(handle as KyselyLike);
  if (has(handle, "query", "connect"))
    return "totalCount" in handle ? pgPool(handle as PgPoolLike) : pgClient(handle as PgClientLike);
  if (has(handle, "prepare", "exec")) return sqliteHandle(handle as SqliteLike);
  throw new EverfreshError(
    "EF_OPTION",
    "The outbox takes a Kysely instance, a pg Pool or Client, or a SQLite handle (better-sqlite3, libsql, node:sqlite).",
  );
}

function has(handle: object | undefined, ...methods: readonly string[]): handle is object {
  if (typeof handle !== "object" || handle === null) return false;
  return methods.every((name) => typeof (handle as Record<string, unknown>)[name] === "function");
}
