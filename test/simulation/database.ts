/**
 * A simulated database for the outbox: a real SQLite in memory, with the time of the world.
 *
 * It looks like Kysely to the outbox. One transaction is open at a time, as in SQLite; statements of others wait for its
 * end. So its beginning and its commit are events, and what it says in between is not: nobody could notice the order. A
 * process that is killed leaves its transaction to be rolled back.
 */
import { outboxSchema, type KyselyLike } from "everfresh/outbox";
import { sqliteNow } from "#src/outbox/schema.ts";
import Sqlite from "libsql";

/** Lets something happen later, as an event of one process, when `when` holds. */
export type Soon = (process: number, label: string, happen: () => unknown, when: () => boolean) => void;

/** What the world gives a transaction to write to. */
export interface SimTransaction {
  /** Changes what the source holds under `key` when, and only when, the transaction commits. */
  change(key: string): void;
}

interface Query {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** A SQLite in memory with an outbox in it; many worlds use one after the other, because making one takes long. */
class Memory {
  readonly sqlite = new Sqlite(":memory:");
  readonly #prepared = new Map<string, Sqlite.Statement>();

  constructor() {
    // Rows say when they were made by the clock of this machine, which no world knows: say 0.
    for (const statement of outboxSchema("sqlite")) this.sqlite.exec(statement.replaceAll(sqliteNow, "0"));
  }

  run(sql: string, parameters: readonly unknown[]): readonly unknown[] {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, (statement = this.sqlite.prepare(sql)));
    if (statement.reader) return statement.all(...parameters);
    statement.run(...parameters);
    return [];
  }

  clean(): void {
    if (this.sqlite.inTransaction) this.sqlite.exec("ROLLBACK");
    this.sqlite.exec("DELETE FROM everfresh_outbox; DELETE FROM sqlite_sequence");
  }
}

const unused: Memory[] = [];

export class SimDatabase {
  readonly #memory = unused.pop() ?? new Memory();
  readonly #soon: Soon;
  readonly #nowMs: () => number;
  readonly #committed: (key: string) => void;
  /** The process whose transaction is open. */
  #owner: number | undefined;
  /** What its transaction has changed in the source. */
  readonly #changed: string[] = [];

  constructor(soon: Soon, nowMs: () => number, committed: (key: string) => void) {
    this.#soon = soon;
    this.#nowMs = nowMs;
    this.#committed = committed;
  }

  /** Rows that wait in the outbox. */
  waiting(): number {
    const [row] = this.#run("SELECT count(*) AS n FROM everfresh_outbox", []) as { n: number }[];
    return row?.n ?? 0;
  }

  /** Everything that decides what it will answer. */
  state(): unknown {
    return [this.#owner, this.#changed, this.#run("SELECT * FROM everfresh_outbox ORDER BY id", [])];
  }

  killed(process: number): void {
    if (this.#owner !== process) return;
    this.#memory.sqlite.exec("ROLLBACK");
    this.#owner = undefined;
    this.#changed.length = 0;
  }

  /** Leaves the memory to the next world. */
  close(): void {
    this.#memory.clean();
    unused.push(this.#memory);
  }

  /** The database as one process has it. */
  handleOf(process: number): KyselyLike {
    const free = () => this.#owner === undefined;
    const handle = {
      executeQuery: (query: Query) => this.#query(process, query, free),
      // For one statement in a transaction of its own: a single event, since nobody could notice more.
      connection: () => ({
        execute: <R>(callback: (connection: { executeQuery: unknown }) => Promise<R>): Promise<R> =>
          callback({
            executeQuery: (query: Query) =>
              /^(?:BEGIN|COMMIT|ROLLBACK)/.test(query.sql)
                ? Promise.resolve({ rows: [] })
                : this.#query(process, query, free),
          }),
      }),
      transaction: () => ({
        execute: async <R>(callback: (tx: SimTransaction & { executeQuery: unknown }) => Promise<R>): Promise<R> => {
          await this.#event(process, "begins", free, () => {
            this.#owner = process;
            this.#memory.sqlite.exec("BEGIN");
          });
          const own = () => this.#owner === process;
          const tx = {
            change: (key: string) => void this.#changed.push(key),
            executeQuery: (query: Query) => this.#atOnce(query),
          };
          try {
            const result = await callback(tx);
            await this.#event(process, "commits", own, () => {
              this.#memory.sqlite.exec("COMMIT");
              this.#owner = undefined;
              for (const key of this.#changed.splice(0)) this.#committed(key);
            });
            return result;
          } catch (error) {
            await this.#event(process, "rolls back", own, () => this.killed(process));
            throw error;
          }
        },
      }),
    };
    return handle;
  }

  #query(process: number, { sql, parameters }: Query, when: () => boolean): Promise<{ rows: readonly unknown[] }> {
    // Which database it is never changes: no event, so that there are fewer orders of the others.
    if (sql.includes("version()")) return this.#atOnce({ sql, parameters });
    const label = `${sql.slice(0, 80).replaceAll(/\s+/g, " ")} ${JSON.stringify(parameters)}`;
    return this.#event(process, label, when, () => ({ rows: this.#run(sql, parameters) }));
  }

  async #atOnce({ sql, parameters }: Query): Promise<{ rows: readonly unknown[] }> {
    await Promise.resolve();
    return { rows: this.#run(sql, parameters) };
  }

  #event<T>(process: number, label: string, when: () => boolean, happen: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const run = () => {
        try {
          const answer = happen();
          resolve(answer);
          return answer;
        } catch (error) {
          reject(error);
          return String(error);
        }
      };
      this.#soon(process, `${process} database ${label}`, run, when);
    });
  }

  #run(sql: string, parameters: readonly unknown[]): readonly unknown[] {
    return this.#memory.run(sql.replaceAll(sqliteNow, String(Math.floor(this.#nowMs()))), parameters);
  }
}
