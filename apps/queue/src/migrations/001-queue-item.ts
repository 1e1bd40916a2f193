/** The queue: first in, first out by `id`. */
import { sql, type Kysely, type Migration } from "kysely";
import { isPostgres } from "./dialect.ts";

/** Creates the table. Neither database reuses an id, so a new item is always the last. */
export const queueItem: Migration = {
  async up(db: Kysely<unknown>) {
    const length = isPostgres(db) ? sql`char_length(text)` : sql`length(text)`;
    const id = isPostgres(db) ? sql`bigint` : sql`integer`;
    await db.schema
      .createTable("queue_item")
      .addColumn("id", id, (column) =>
        isPostgres(db) ? column.primaryKey().generatedAlwaysAsIdentity() : column.primaryKey().autoIncrement(),
      )
      .addColumn("text", "text", (column) => column.notNull().check(sql`${length} between 1 and 200`))
      .execute();
  },
};
