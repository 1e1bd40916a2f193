/** When values are right: the cache over a backend. */
export type { Cache, CacheHealth, WriteOptions } from "./cache.ts";
export { createCache, type CacheOptions, type LocalOptions } from "./create-cache.ts";
export type { BatchLoader, BatchOptions, BatchResult } from "./batch.ts";
export { Ambient } from "./ambient.ts";
export type { EntryAnswer, LoadContext, Status } from "./caller.ts";
export type { Entry, EntryOptions } from "./entry.ts";
export { checkNamespace, checkTags, limitKeyLength } from "./keys.ts";
export { cacheFromEnv, type CacheFromEnv, type Environment } from "./from-env.ts";
export type { Monitor, MonitorOptions, MonitorReport, StaleRead } from "./monitor.ts";
export type { ReadOptions, Relaxations, StandardSchema, Ttl, ValueOptions } from "./options.ts";
export type { Serializer } from "./serializer.ts";
export { insideTransaction, openTransaction, type OpenTransaction } from "./transactions.ts";
