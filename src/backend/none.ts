/** No backend at all: nothing is kept, every read computes. For tests, and to rule the cache out as a cause. */
import type { Backend } from "./backend.ts";

/** Stores nothing. The promise holds trivially; at most `maxConcurrentLoads` loads run at a time, one per key. */
export function none(): Backend {
  return {
    reach: "nobody",
    keepsStale: false,
    itemLimitBytes: Number.MAX_SAFE_INTEGER,
    describe: () => "no cache: every read computes",
    serverOf: () => "none",
    servers: () => [],
    read: () => Promise.resolve({ kind: "absent" }),
    claim: () => Promise.resolve(undefined),
    expire: () => Promise.resolve(false),
    replace: () => Promise.resolve(undefined),
    renew: () => Promise.resolve(undefined),
    drop: () => Promise.resolve(false),
    put: () => Promise.resolve(false),
    remove: () => Promise.resolve(false),
    close: () => Promise.resolve(),
  };
}
