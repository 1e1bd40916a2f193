/** `everfresh/outbox`: invalidations that commit with the data. */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
export type { Dialect, Isolation } from "./database.ts";
export type { OutboxCache } from "./delivery.ts";
export type { DatabaseHandle, TransactionOf } from "./handles.ts";
export type { KyselyLike } from "./kysely.ts";
export {
  createOutbox,
  Outbox,
  type Invalidate,
  type OutboxOptions,
  type OutboxStatus,
  type OutboxWatch,
  type TransactionOptions,
} from "./outbox.ts";
export { InvalidationPendingError } from "./pending.ts";
export type { PgClientLike, PgPoolLike } from "./pg.ts";
export type { RelayCounts } from "./relay.ts";
export { defaultTable, outboxSchema } from "./schema.ts";
export type { SqliteLike } from "./sqlite.ts";
export type { NamespaceCount } from "./statements.ts";
export { key, tag, type Invalidatable, type KeyTarget, type TagTarget, type Target } from "./targets.ts";
export { unwatchStatements, watchStatements, type WatchOptions } from "./watch.ts";
