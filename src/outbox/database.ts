/**
 * What the outbox asks of a database: statements, transactions, and, where there is such a thing, a bell.
 *
 * The adapters beside this file make it from what people have (Kysely, `pg`, SQLite handles). They know handles by their
 * methods alone: the library depends on none of these packages.
 */

/** The two families of SQL that the outbox speaks. */
export type Dialect = "postgres" | "sqlite";

/** One row of an answer. */
export type Row = Readonly<Record<string, unknown>>;

/** Where statements go: one at a time, each committed by itself or all inside one transaction. */
export interface Session {
  /** Runs one statement and returns its rows; none for statements that have none. */
  query(sql: string, parameters?: readonly unknown[]): Promise<readonly Row[]>;
}

/** How transactions keep apart; PostgreSQL only, SQLite's are always serializable. */
export type Isolation = "read committed" | "repeatable read" | "serializable";

/** A database as the outbox sees it. `Tx` is what the caller's own code receives inside a transaction. */
export interface Database<Tx = unknown> {
  /** Which SQL it speaks. Kysely does not tell, so it may have to be asked. */
  dialect(): Promise<Dialect>;
  /** Each statement is committed by itself, and none of them runs inside somebody's open transaction. */
  readonly session: Session;
  /**
   * Runs `work` inside one transaction and commits when it resolves; rolls back and rethrows when it rejects.
   * Nothing of `work` is visible to `session` before the commit.
   */
  transaction<R>(work: (tx: Tx, session: Session) => Promise<R>, isolation?: Isolation): Promise<R>;
  /**
   * Calls `ring` at each NOTIFY on `channel`, and `lost` once when the connection that listens is gone.
   * Undefined where the database has no such thing.
   */
  readonly listen?: (channel: string, ring: () => void, lost: () => void) => Promise<Listening>;
}

/** A connection that listens. */
export interface Listening {
  stop(): Promise<void>;
}
