/** The cache of the app: whatever the environment configures, under a namespace of its own, and how it is. */
import { cacheFromEnv, type Cache, type CacheFromEnv } from "everfresh";

/** What the app needs of a cache. */
export interface QueueCache {
  readonly cache: Cache;
  readonly kind: CacheFromEnv["kind"];
  /** What it is and which variables said so, in a sentence that is safe to print. */
  readonly description: string;
  close(): Promise<void>;
}

/** How the cache is, for `GET /healthz`. */
export interface CacheReport {
  readonly kind: QueueCache["kind"];
  /** `off`: chosen to be without. `degraded`: some servers are down; their keys come from the database. */
  readonly state: "up" | "degraded" | "down" | "off";
  readonly servers: { readonly up: number; readonly all: number };
  /** Invalidations that a server has not confirmed; nothing is read from it before it has. */
  readonly pendingInvalidations: number;
}

/**
 * Opens the cache that the environment describes.
 *
 * `CACHE_NAMESPACE` keeps apps apart that share servers, such as a review app and production. Default: `queue`.
 *
 * @throws EverfreshError `EF_OPTION` with a sentence when the configuration is missing or half there
 */
export async function openCache(env: NodeJS.ProcessEnv): Promise<QueueCache> {
  const namespace = env["CACHE_NAMESPACE"]?.trim() ?? "";
  return await cacheFromEnv(env, { namespace: namespace === "" ? "queue" : namespace, local: true });
}

export function cacheReport({ cache, kind }: QueueCache): CacheReport {
  const { servers } = cache.health();
  const up = servers.filter(({ state }) => state === "up" || state === "idle").length;
  const state = kind === "none" ? "off" : up === servers.length ? "up" : up === 0 ? "down" : "degraded";
  return {
    kind,
    state,
    servers: { up, all: servers.length },
    pendingInvalidations: servers.reduce((sum, server) => sum + server.pendingInvalidations, 0),
  };
}
