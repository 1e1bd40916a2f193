/**
 * What the outbox asks of a database: statements, transactions, and, where there is such a thing, a bell.
 *
 * The adapters beside this file make it from what people have (Kysely, `pg`, SQLite handles). They know handles by their
 * methods alone: the library depends on none of these packages.
 */

import { EverfreshError } from "../errors.ts";

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
  /** Whether somebody else's transaction is open on the only connection; undefined where that cannot be or cannot be told. */
  readonly isTaken?: () => Promise<boolean>;
  /**
   * Calls `ring` at each NOTIFY on `channel` (a checked name, written as it is), and `lost` once when the connection that
   * listens is gone. Undefined where the database has no such thing.
   */
  readonly listen?: (channel: string, ring: () => void, lost: () => void) => Promise<Listening>;
}

/**
 * A SQLite handle and a `pg` Client are one connection, and somebody may have begun a transaction on it. What that wrote can be
 * seen on it and may yet be rolled back: it is not to be told, and nothing of the outbox is to share its fate.
 */
export class ForeignTransactionError extends EverfreshError {
  constructor() {
    super(
      "EF_OPTION",
      "A transaction that the outbox did not begin is open on this connection; commit it first, or use outbox.transaction.",
    );
  }
}

/** Whether SQLite refused a BEGIN because a transaction is open already; the same words in every driver. */
export function isNested(error: unknown): boolean {
  return error instanceof Error && error.message.includes("within a transaction");
}

/**
 * Whether a statement of the outbox only reads. One that writes needs a transaction on SQLite even when it is alone: libsql never
 * ends a write that was refused because another process has the lock, and as long as that one is open nothing commits.
 */
export function isReading(sql: string): boolean {
  return sql.startsWith("SELECT");
}

/** A connection that listens. */
export interface Listening {
  stop(): Promise<void>;
}
