/** Kysely as a database of the outbox, on PostgreSQL or SQLite. It is known by its methods; nothing of it is imported. */
import { EverfreshError } from "../errors.ts";
import {
  ForeignTransactionError,
  isNested,
  isReading,
  type Database,
  type Dialect,
  type Row,
  type Session,
} from "./database.ts";

/** The part of a Kysely instance that is used. */
export interface KyselyLike {
  transaction: () => { execute: (callback: never) => unknown };
  executeQuery: (query: never) => unknown;
}

/** What `CompiledQuery.raw` of Kysely makes. */
interface CompiledQuery {
  readonly sql: string;
  readonly parameters: readonly unknown[];
  readonly query: { readonly kind: "RawNode"; readonly sqlFragments: readonly string[]; readonly parameters: [] };
  readonly queryId: { readonly queryId: string };
}
interface Executor {
  executeQuery(query: CompiledQuery): Promise<{ readonly rows: readonly Row[] }>;
  withoutPlugins?(): Executor;
}
interface TransactionBuilder {
  setIsolationLevel(level: string): TransactionBuilder;
  execute<R>(callback: (trx: Executor) => Promise<R>): Promise<R>;
}
interface Kysely extends Executor {
  connection(): { execute<R>(callback: (connection: Executor) => Promise<R>): Promise<R> };
  transaction(): TransactionBuilder;
}

/** The outbox's view of a Kysely instance. */
export function kyselyDatabase<Tx>(handle: KyselyLike): Database<Tx> {
  const db = handle as unknown as Kysely;
  const direct = sessionOn(db);
  let asked: Promise<Dialect> | undefined;
  const dialect = (): Promise<Dialect> => {
    asked ??= askDialect(direct).catch((error: unknown) => {
      asked = undefined;
      throw error;
    });
    return asked;
  };
  return {
    dialect,
    session: {
      query: async (sql, parameters) =>
        isReading(sql) || (await dialect()) === "postgres"
          ? await direct.query(sql, parameters)
          : await db.connection().execute((connection) => alone(sessionOn(connection), sql, parameters)),
    },
    transaction(work, isolation) {
      const builder = db.transaction();
      const leveled = isolation === undefined ? builder : builder.setIsolationLevel(isolation);
      return leveled.execute((trx) => work(trx as unknown as Tx, sessionOn(trx)));
    },
  };
}

/**
 * On SQLite, one statement in a transaction of its own. Not by Kysely's `transaction()`: when BEGIN is refused because one is
 * open already, some versions roll that one back.
 */
async function alone(session: Session, sql: string, parameters?: readonly unknown[]): Promise<readonly Row[]> {
  try {
    await session.query("BEGIN IMMEDIATE");
  } catch (error) {
    throw isNested(error) ? new ForeignTransactionError() : error;
  }
  try {
    const rows = await session.query(sql, parameters);
    await session.query("COMMIT");
    return rows;
  } catch (error) {
    // SQLite may have rolled back by itself; the error of the statement is the one to tell.
    await session.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

/** Past the plugins, which may change rows: one that parses JSON takes a key like `{"page":2}` for an object. */
function sessionOn(executor: Executor): Session {
  const plain = executor.withoutPlugins?.() ?? executor;
  return { query: async (sql, parameters = []) => (await plain.executeQuery(compiled(sql, parameters))).rows };
}

let queries = 0;

function compiled(sql: string, parameters: readonly unknown[]): CompiledQuery {
  queries += 1;
  const query = { kind: "RawNode", sqlFragments: [sql], parameters: [] } as const;
  return { sql, parameters, query: { ...query, parameters: [] }, queryId: { queryId: `everfresh-${queries}` } };
}

/** SQLite has no `version()`, and says so without leaving a line in anybody's log. */
async function askDialect(session: Session): Promise<Dialect> {
  let version: unknown;
  try {
    [{ version } = { version: undefined }] = (await session.query("SELECT version() AS version")) as {
      version: unknown;
    }[];
  } catch (error) {
    const rows = await session.query("SELECT sqlite_version() AS version").catch(() => undefined);
    if (rows === undefined) throw error;
    return "sqlite";
  }
  if (typeof version === "string" && version.startsWith("PostgreSQL")) return "postgres";
  throw new EverfreshError("EF_OPTION", `The outbox knows PostgreSQL and SQLite; this database is ${String(version)}.`);
}
