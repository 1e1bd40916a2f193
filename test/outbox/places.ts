/** The databases that relays are tested on, each with what another process needs to open it. */
import type { TestContext } from "node:test";
import { createOutbox, type DatabaseHandle, type Outbox } from "everfresh/outbox";
import { needsPostgres } from "../support/postgres.ts";
import { poolWithItems, RememberingCache, schemaOf, sqliteFile } from "./support.ts";

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
  return {
    db: pool,
    args: ["postgres", url, schemaOf(pool)],
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

/** Every kind of place, with what its tests need. */
export function placesOn(postgres: { readonly url: string }) {
  return [
    { name: "PostgreSQL", needs: needsPostgres(), make: () => onPostgres(postgres.url) },
    { name: "SQLite", needs: { skip: false }, make: onSqlite },
  ] as const;
}

/** An outbox on a place of its own. */
export interface Watching {
  readonly place: Place;
  readonly outbox: Outbox;
  /** Writes past the outbox, and answers which tags its relay tells thereupon. */
  readonly told: (sql: string) => Promise<string[]>;
}

/** An outbox whose relay looks when the test asks it to; it and its database are gone when the test ends. */
export async function watching(t: TestContext, make: () => Promise<Place>, table?: string): Promise<Watching> {
  const place = await make();
  const cache = new RememberingCache();
  const outbox = createOutbox({ db: place.db, caches: cache, relay: false, ...(table === undefined ? {} : { table }) });
  t.after(async () => {
    await outbox.close();
    await place.close();
  });
  await outbox.install();
  const told = async (sql: string) => {
    if (sql !== "") await place.run(sql);
    cache.told.length = 0;
    await outbox.relayOnce();
    return cache.told.map((name) => name.replace("tag ", "")).toSorted();
  };
  return { place, outbox, told };
}
