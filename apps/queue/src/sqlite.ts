/**
 * SQLite under Kysely: one connection to one file that several processes may share.
 *
 * libsql is synchronous, so SQLite's own busy timeout would stop the whole process while another one writes. It is off;
 * instead a writer takes the write lock first (`begin immediate`) and, while that is refused, waits without blocking.
 * Taking the lock first also means that nothing that has begun can fail for want of it.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  CompiledQuery,
  RawNode,
  SelectQueryNode,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type Kysely,
  type QueryResult,
} from "kysely";
import Libsql from "libsql";

/** How long a writer waits for the other processes before it gives up. */
const lockDeadlineMs = 10_000;

/** Kysely's dialect for the database in `file`, or for one in memory. */
export function sqliteDialect(file: string): Dialect {
  return {
    createDriver: () => new SqliteDriver(file),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new TransactionalSqliteAdapter(),
    createIntrospector: (db: Kysely<unknown>) => new SqliteIntrospector(db),
  };
}

/** SQLite can undo a half-made table; said here, migrations run inside of a transaction and thereby hold the write lock. */
class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class SqliteDriver implements Driver {
  readonly #file: string;
  readonly #mutex = new Mutex();
  #connection: SqliteConnection | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  async init(): Promise<void> {
    const database = new Libsql(this.#file);
    this.#connection = new SqliteConnection(database);
    // `normal` is safe in WAL mode: a crash of the process loses nothing, a power cut at most the last moments.
    await patiently(() => database.exec("pragma journal_mode = wal; pragma synchronous = normal"));
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    await this.#mutex.lock();
    if (this.#connection === undefined) throw new Error("the database is not open");
    return this.#connection;
  }

  async beginTransaction(): Promise<void> {
    await this.#connection?.begin();
  }

  async commitTransaction(): Promise<void> {
    await this.#connection?.commit();
  }

  rollbackTransaction(): Promise<void> {
    this.#connection?.rollback();
    return Promise.resolve();
  }

  releaseConnection(): Promise<void> {
    this.#mutex.unlock();
    return Promise.resolve();
  }

  destroy(): Promise<void> {
    this.#connection?.close();
    return Promise.resolve();
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #database: Libsql.Database;

  constructor(database: Libsql.Database) {
    this.#database = database;
  }

  async begin(): Promise<void> {
    await patiently(() => this.#database.exec("begin immediate"));
  }

  async commit(): Promise<void> {
    await patiently(() => this.#database.exec("commit"));
  }

  rollback(): void {
    if (this.#database.inTransaction) this.#database.exec("rollback");
  }

  close(): void {
    this.#database.close();
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    if (isOfTransactions(query)) {
      await patiently(() => this.#database.exec(query.sql));
      return { rows: [] };
    }
    if (reads(query) || this.#database.inTransaction) return await patiently(() => this.#run<Row>(query));
    await this.begin();
    try {
      const result = this.#run<Row>(query);
      await this.commit();
      return result;
    } catch (error) {
      this.rollback();
      throw error;
    }
  }

  #run<Row>(query: CompiledQuery): QueryResult<Row> {
    const statement = this.#database.prepare(query.sql);
    if (statement.reader) return { rows: statement.all(query.parameters) as Row[] };
    const { changes, lastInsertRowid } = statement.run(query.parameters);
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
  }

  streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error("the queue streams nothing");
  }
}

/**
 * Whether a statement only reads. All others take the lock first: libsql never ends a write that it has refused for want of the
 * lock, and as long as that one is open nothing commits.
 */
function reads({ query, sql }: CompiledQuery): boolean {
  return SelectQueryNode.is(query) || (RawNode.is(query) && /^\s*(?:select|pragma)\b/i.test(sql));
}

/**
 * Whether a statement begins or ends a transaction by hand, as the outbox's do. Prepared, it would be one that libsql never
 * ends.
 */
function isOfTransactions({ query, sql }: CompiledQuery): boolean {
  return RawNode.is(query) && /^\s*(?:begin|commit|rollback)\b/i.test(sql);
}

/** Does `action` again while another process holds the lock that it needs, until the deadline. */
async function patiently<Result>(action: () => Result): Promise<Result> {
  const until = performance.now() + lockDeadlineMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 32)) {
    try {
      return action();
    } catch (error) {
      if (!isBusy(error) || performance.now() > until) throw error;
    }
    await delay(pauseMs * (0.5 + Math.random()));
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");
}

/** One at a time, in the order of asking. */
class Mutex {
  #held = false;
  readonly #waiting: (() => void)[] = [];

  async lock(): Promise<void> {
    if (this.#held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#held = true;
  }

  unlock(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#held = false;
    else next();
  }
}
