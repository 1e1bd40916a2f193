/** `everfresh`: the cache framework. */
export {
  classicBackend,
  memcached,
  memory,
  metaBackend,
  none,
  type Backend,
  type ClassicClient,
  type Item,
  type LeaseClient,
  type MemcachedOptions,
  type MemoryOptions,
  type Reading,
  type ReadSink,
  type ServerHealth,
  type Token,
  type Want,
} from "./backend/index.ts";
export type * from "./cache/index.ts";
export { cacheFromEnv, createCache } from "./cache/index.ts";
export type { Duration } from "./duration.ts";
export type { EventName, EventShapes } from "./events.ts";
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "./errors.ts";
