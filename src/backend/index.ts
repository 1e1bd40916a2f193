/** Where values live: the contract of a backend, and the backends that come with Everfresh. */
export {
  sameToken,
  type Backend,
  type Item,
  type Reading,
  type ReadSink,
  type ServerHealth,
  type Token,
  type Want,
} from "./backend.ts";
export { classicBackend, type ClassicClient } from "./classic.ts";
export type { LeaseClient } from "./lease-client.ts";
export { metaBackend, type LeaseBackendOptions } from "./memcached.ts";
export { memory, type MemoryOptions } from "./memory.ts";
export { none } from "./none.ts";
export { memcached, type MemcachedOptions } from "./pool.ts";
