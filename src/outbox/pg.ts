/**
 * `pg` (node-postgres) as a database of the outbox: a Pool, or a Client that somebody else lends.
 *
 * A Client has one connection, so its transactions wait for one another here, and no relay may run on it: it would see
 * rows that its own connection has not committed yet.
 */
import { EverfreshError } from "../errors.ts";
import {
  ForeignTransactionError,
  type Database,
  type Isolation,
  type Listening,
  type Row,
  type Session,
} from "./database.ts";
import { Turns } from "./turns.ts";

/** The part of a `pg` Client (or PoolClient) that is used. */
export interface PgClientLike {
  query: (...args: never[]) => unknown;
  connect: (...args: never[]) => unknown;
}

/** The part of a `pg` Pool that is used. `totalCount` is how it is told apart from a Client. */
export interface PgPoolLike extends PgClientLike {
  readonly totalCount: number;
}

interface Connection {
  query(
    sql: string,
    parameters?: readonly unknown[],
  ): Promise<{ readonly rows: readonly Row[]; readonly command?: string }>;
  on(event: string, listener: (detail: unknown) => void): unknown;
  removeListener(event: string, listener: (detail: unknown) => void): unknown;
}
interface PooledConnection extends Connection {
  release(error?: boolean): void;
}
interface Pool extends Connection {
  readonly options?: { readonly max?: number };
  connect(): Promise<PooledConnection>;
}

const levels: Record<Isolation, string> = {
  "read committed": "ISOLATION LEVEL READ COMMITTED",
  "repeatable read": "ISOLATION LEVEL REPEATABLE READ",
  serializable: "ISOLATION LEVEL SERIALIZABLE",
};

/** The outbox's view of a Pool: every transaction on a connection of its own. */
export function pgPool<Tx>(handle: PgPoolLike): Database<Tx> {
  const pool = handle as unknown as Pool;
  return {
    dialect: () => Promise.resolve("postgres"),
    session: sessionOn(pool),
    async transaction(work, isolation) {
      const connection = await pool.connect();
      // A checked-out connection that breaks says so by an "error" event too, and nobody listening ends the process.
      // The statement that waits on it rejects as well, so there is nothing to do here.
      connection.on("error", ignore);
      let broken = true;
      try {
        await connection.query(isolation === undefined ? "BEGIN" : `BEGIN ${levels[isolation]}`);
        const result = await untilCommit(connection, work);
        broken = false;
        return result;
      } catch (error) {
        broken = await connection.query("ROLLBACK").then(
          () => false,
          () => true,
        );
        throw error;
      } finally {
        connection.removeListener("error", ignore);
        connection.release(broken);
      }
    },
    // A pool of one connection has none to spare: it would be kept from everybody else.
    ...(pool.options?.max === 1 ? {} : { listen: (channel, ring, lost) => listen(pool, channel, ring, lost) }),
  };
}

/** Clients that are lent stay lent: their transactions take turns across all outboxes of the process. */
const turnsOfClients = new WeakMap<PgClientLike, Turns>();

/** The outbox's view of a Client: one connection, one transaction at a time, no bell. */
export function pgClient<Tx>(handle: PgClientLike): Database<Tx> {
  const connection = handle as unknown as Connection;
  const turns = turnsOfClients.get(handle) ?? new Turns();
  turnsOfClients.set(handle, turns);
  const plain = sessionOn(connection);
  return {
    dialect: () => Promise.resolve("postgres"),
    session: { query: (sql, parameters) => turns.take(() => plain.query(sql, parameters)) },
    transaction: (work, isolation) =>
      turns.take(async () => {
        await beginOnLent(connection);
        try {
          if (isolation !== undefined) await connection.query(`SET TRANSACTION ${levels[isolation]}`);
          return await untilCommit(connection, work);
        } catch (error) {
          await connection.query("ROLLBACK").catch(ignore);
          throw error;
        }
      }),
  };
}

/**
 * Refuses a Client on which a transaction is open: PostgreSQL would merely warn, our COMMIT would end that one, and what its owner
 * then rolls back would be committed. Without a level of isolation, which would make that transaction fail.
 */
async function beginOnLent(connection: Connection): Promise<void> {
  let isOpen = false;
  const warned = (notice: unknown) => {
    // active_sql_transaction (PostgreSQL, Appendix A)
    if ((notice as { code?: string }).code === "25001") isOpen = true;
  };
  connection.on("notice", warned);
  try {
    await connection.query("BEGIN");
  } finally {
    connection.removeListener("notice", warned);
  }
  if (isOpen) throw new ForeignTransactionError();
}

/** What is said after BEGIN. */
async function untilCommit<R>(connection: Connection, work: (tx: never, session: Session) => Promise<R>): Promise<R> {
  const result = await work(connection as never, sessionOn(connection));
  // In a transaction that has failed COMMIT answers ROLLBACK, without an error (PostgreSQL, COMMIT, Notes). The outbox's
  // own last statement would have been refused by then; this is for the case that it is not the last.
  const { command } = await connection.query("COMMIT");
  if (command === "ROLLBACK")
    throw new EverfreshError("EF_TRANSACTION", "The transaction had failed, and PostgreSQL rolled it back at COMMIT.");
  return result;
}

function sessionOn(connection: Connection): Session {
  return {
    query: async (sql, parameters) =>
      (await (parameters === undefined ? connection.query(sql) : connection.query(sql, parameters))).rows,
  };
}

async function listen(pool: Pool, channel: string, ring: () => void, lost: () => void): Promise<Listening> {
  const connection = await pool.connect();
  let over = false;
  const leave = (broken: boolean, tell: boolean) => {
    if (over) return;
    over = true;
    connection.release(broken);
    if (tell) lost();
  };
  connection.on("error", () => leave(true, true));
  connection.on("end", () => leave(true, true));
  connection.on("notification", ring);
  try {
    // In quotes, as in pg_notify: otherwise PostgreSQL writes it small, and takes `user` for a word of its own.
    await connection.query(`LISTEN "${channel}"`);
  } catch (error) {
    leave(true, false);
    throw error;
  }
  return {
    // The connection is closed rather than given back: it would go on listening for whoever gets it next.
    stop() {
      leave(true, false);
      return Promise.resolve();
    },
  };
}

function ignore(): void {
  // Nothing: whoever waits for the statement has been told.
}
