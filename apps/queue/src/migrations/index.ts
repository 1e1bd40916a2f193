/** Every step of the tables, in order. A step that has been released is never changed; a further one is added. */
import type { Migration } from "kysely";
import { queueItem } from "./001-queue-item.ts";
import { outbox } from "./002-outbox.ts";

export const migrations: Readonly<Record<string, Migration>> = {
  "001-queue-item": queueItem,
  "002-outbox": outbox,
};
