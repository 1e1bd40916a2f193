/**
 * A plain SQLite handle as a database of the outbox: better-sqlite3, libsql, or `node:sqlite`'s DatabaseSync.
 *
 * A handle is one connection. Its transactions take turns here; but code that uses the same handle directly while a
 * transaction's callback awaits something writes into that transaction, as it always does with SQLite.
 */
import { ForeignTransactionError, isNested, isReading, type Database, type Row, type Session } from "./database.ts";
import { Turns } from "./turns.ts";

/** The part of a SQLite handle that is used. */
export interface SqliteLike {
  prepare: (sql: string) => { all: (...parameters: never[]) => unknown; run: (...parameters: never[]) => unknown };
  exec: (sql: string) => unknown;
  /** better-sqlite3 and libsql: whether somebody has begun a transaction on it. */
  readonly inTransaction?: boolean;
  /** The same of `node:sqlite`, where it tells. */
  readonly isTransaction?: boolean;
}

interface Statement {
  /** better-sqlite3 and libsql: whether it returns rows. `node:sqlite` lacks it, and takes `all` for every statement. */
  readonly reader?: boolean;
  /** `node:sqlite` from Node 24 on: a handle may have been opened so that rows are arrays. */
  setReturnArrays?(enabled: boolean): void;
  all(...parameters: readonly unknown[]): readonly Row[];
  run(...parameters: readonly unknown[]): unknown;
}

/** So many statements are kept prepared for one handle. */
const mostPrepared = 50;

const turnsOfHandles = new WeakMap<SqliteLike, Turns>();

/** The outbox's view of a SQLite handle. */
export function sqliteHandle<Tx>(handle: SqliteLike): Database<Tx> {
  const turns = turnsOfHandles.get(handle) ?? new Turns();
  turnsOfHandles.set(handle, turns);
  const prepared = new Map<string, Statement>();
  // Preparing costs more than running; the outbox says the same few statements over and over.
  const prepare = (sql: string): Statement => {
    const known = prepared.get(sql);
    if (known !== undefined) return known;
    const statement = handle.prepare(sql) as Statement;
    statement.setReturnArrays?.(false);
    if (/^(?:SELECT|INSERT|UPDATE|DELETE)/.test(sql) && prepared.size < mostPrepared) prepared.set(sql, statement);
    return statement;
  };
  const run = (sql: string, parameters: readonly unknown[] = []): readonly Row[] => {
    const statement = prepare(sql);
    if (statement.reader !== false) return statement.all(...parameters);
    statement.run(...parameters);
    return [];
  };
  // Without a pause between BEGIN and COMMIT: code that uses the handle directly would write into this transaction.
  const runAlone = (sql: string, parameters?: readonly unknown[]): readonly Row[] => {
    beginOn(handle);
    try {
      const rows = run(sql, parameters);
      handle.exec("COMMIT");
      return rows;
    } catch (error) {
      rollBack(handle);
      throw error;
    }
  };
  const inside: Session = { query: (sql, parameters) => Promise.resolve(run(sql, parameters)) };
  return {
    dialect: () => Promise.resolve("sqlite"),
    session: {
      query: (sql, parameters) =>
        turns.take(() => Promise.resolve(isReading(sql) ? run(sql, parameters) : runAlone(sql, parameters))),
    },
    isTaken: () => turns.take(() => Promise.resolve(tellsTransaction(handle))),
    transaction: (work) =>
      turns.take(async () => {
        beginOn(handle);
        try {
          const result = await work(handle as unknown as Tx, inside);
          handle.exec("COMMIT");
          return result;
        } catch (error) {
          rollBack(handle);
          throw error;
        }
      }),
  };
}

/** IMMEDIATE: a transaction that reads first and writes later is refused when another process wrote in between. */
function beginOn(handle: SqliteLike): void {
  if (tellsTransaction(handle)) throw new ForeignTransactionError();
  try {
    handle.exec("BEGIN IMMEDIATE");
  } catch (error) {
    // The first versions of `node:sqlite` tell in no other way that a transaction is open.
    throw isNested(error) ? new ForeignTransactionError() : error;
  }
}

function tellsTransaction(handle: SqliteLike): boolean {
  return handle.inTransaction === true || handle.isTransaction === true;
}

function rollBack(handle: SqliteLike): void {
  try {
    handle.exec("ROLLBACK");
  } catch {
    // SQLite has rolled back by itself (full disk, I/O error); the error of the statement is the one to tell.
  }
}
