/** The outbox: what a write must tell the cache, committed with the write. */
import type { Kysely, Migration } from "kysely";
import { sql } from "kysely";
import { outboxSchema } from "everfresh/outbox";
import { isPostgres } from "./dialect.ts";

/** Creates the outbox's table as this version of Everfresh has it. */
export const outbox: Migration = {
  async up(db: Kysely<unknown>) {
    for (const statement of outboxSchema(isPostgres(db) ? "postgres" : "sqlite")) await sql.raw(statement).execute(db);
  },
};
