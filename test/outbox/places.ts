/** The databases that relays are tested on, each with what another process needs to open it. */
import type { DatabaseHandle } from "everfresh/outbox";
import { poolWithItems, sqliteFile } from "./support.ts";

/** A database with an outbox in it, and a second handle that any other program might have. */
export interface Place {
  readonly db: DatabaseHandle;
  /** What a process is told to open the same database. */
  readonly args: readonly string[];
  run(sql: string): Promise<void>;
  close(): Promise<void>;
}

export async function onPostgres(url: string): Promise<Place> {
  const pool = await poolWithItems(url);
  const schema = String(pool.options.options).replace("-c search_path=", "");
  return {
    db: pool,
    args: ["postgres", url, schema],
    run: async (sql) => void (await pool.query(sql)),
    close: () => pool.end(),
  };
}

export function onSqlite(): Promise<Place> {
  const file = sqliteFile();
  const handle = file.open();
  const other = file.open();
  return Promise.resolve({
    db: handle,
    args: ["sqlite", file.path],
    run(sql) {
      other.exec(sql);
      return Promise.resolve();
    },
    close() {
      handle.close();
      other.close();
      file.remove();
      return Promise.resolve();
    },
  });
}
