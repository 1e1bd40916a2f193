/** `GET /healthz`: whether pages can be served, and how each part is. Names no address and no secret. */
import { setTimeout as delay } from "node:timers/promises";
import type { Database } from "./database.ts";
import type { CacheHealth } from "./queue-cache.ts";
import type { QueueViews } from "./queue-view.ts";

export interface Health {
  /** `ok`; `degraded`: pages are served although a part is down; `down`: they are not. */
  readonly status: "ok" | "degraded" | "down";
  readonly database: { readonly kind: Database["kind"]; readonly state: "up" | "down"; readonly tookMs: number };
  readonly cache: CacheHealth;
}

/** A probe that takes longer counts as failed. */
const probeMs = 2_000;

export async function health(
  database: Database,
  cache: () => Promise<CacheHealth>,
  views: QueueViews,
): Promise<Health> {
  const started = performance.now();
  const [databaseUp, cacheHealth] = await Promise.all([
    answers(database.ping()).then((up) => ({ up, tookMs: Math.round((performance.now() - started) * 10) / 10 })),
    cache(),
  ]);
  // Without the database a page can still come from the cache, if it is there.
  const served = databaseUp.up || (await answers(views.look()));
  const allUp = databaseUp.up && cacheHealth.state !== "down" && cacheHealth.state !== "degraded";
  return {
    status: served ? (allUp ? "ok" : "degraded") : "down",
    database: { kind: database.kind, state: databaseUp.up ? "up" : "down", tookMs: databaseUp.tookMs },
    cache: cacheHealth,
  };
}

async function answers(probe: Promise<unknown>): Promise<boolean> {
  const late = new AbortController();
  try {
    return await Promise.race([probe.then(() => true), delay(probeMs, false, { signal: late.signal, ref: false })]);
  } catch {
    return false;
  } finally {
    late.abort();
  }
}
