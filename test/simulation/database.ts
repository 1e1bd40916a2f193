/**
 * A simulated database for the outbox: a real SQLite in memory, whose every statement is an event, with the time of the world.
 *
 * It looks like Kysely to the outbox. One transaction is open at a time, as in SQLite; statements of others wait for its
 * end. A process that is killed leaves its transaction to be rolled back.
 */
import { outboxSchema, type KyselyLike } from "everfresh/outbox";
import { sqliteNow } from "#src/outbox/schema.ts";
import Sqlite from "libsql";

/** Lets something happen later, as an event of one process, when `when` holds. */
export type Soon = (process: number, label: string, happen: () => void, when: () => boolean) => void;

/** What the world gives a transaction to write to. */
export interface SimTransaction {
  /** Changes what the source holds under `key` when, and only when, the transaction commits. */
  change(key: string): void;
}

interface Query {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

export class SimDatabase {
  readonly #sqlite = new Sqlite(":memory:");
  readonly #soon: Soon;
  readonly #nowMs: () => number;
  readonly #committed: (key: string) => void;
  /** The process whose transaction is open. */
  #owner: number | undefined;

  constructor(soon: Soon, nowMs: () => number, committed: (key: string) => void) {
    this.#soon = soon;
    this.#nowMs = nowMs;
    this.#committed = committed;
    for (const statement of outboxSchema("sqlite")) this.#run(statement, []);
  }

  /** Rows that wait in the outbox. */
  waiting(): number {
    const [row] = this.#run("SELECT count(*) AS n FROM everfresh_outbox", []) as { n: number }[];
    return row?.n ?? 0;
  }

  killed(process: number): void {
    if (this.#owner !== process) return;
    this.#sqlite.exec("ROLLBACK");
    this.#owner = undefined;
  }

  close(): void {
    this.#sqlite.close();
  }

  /** The database as one process has it. */
  handleOf(process: number): KyselyLike {
    const free = () => this.#owner === undefined;
    const handle = {
      executeQuery: (query: Query) => this.#query(process, query, free),
      transaction: () => ({
        execute: async <R>(callback: (tx: SimTransaction & { executeQuery: unknown }) => Promise<R>): Promise<R> => {
          await this.#event(process, "begins", free, () => {
            this.#owner = process;
            this.#sqlite.exec("BEGIN");
          });
          const changed: string[] = [];
          const own = () => this.#owner === process;
          const tx = {
            change: (key: string) => void changed.push(key),
            executeQuery: (query: Query) => this.#query(process, query, own),
          };
          try {
            const result = await callback(tx);
            await this.#event(process, "commits", own, () => {
              this.#sqlite.exec("COMMIT");
              this.#owner = undefined;
              for (const key of changed) this.#committed(key);
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
    return this.#event(process, sql.slice(0, 24).replaceAll("\n", " "), when, () => ({
      rows: this.#run(sql, parameters),
    }));
  }

  #event<T>(process: number, label: string, when: () => boolean, happen: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const run = () => {
        try {
          resolve(happen());
        } catch (error) {
          reject(error);
        }
      };
      this.#soon(process, `${process} database ${label}`, run, when);
    });
  }

  #run(sql: string, parameters: readonly unknown[]): readonly unknown[] {
    const statement = this.#sqlite.prepare(sql.replaceAll(sqliteNow, String(Math.floor(this.#nowMs()))));
    if (statement.reader) return statement.all(...parameters);
    statement.run(...parameters);
    return [];
  }
}
