/** `GET /healthz`: whether pages can be served, and how each part is. Names no address and no secret. */
import { setTimeout as delay } from "node:timers/promises";
import type { Database } from "./database.ts";
import { cacheReport, type CacheReport, type QueueCache } from "./queue-cache.ts";
import type { QueueViews } from "./queue-view.ts";

export interface Health {
  /** `ok`; `degraded`: pages are served although a part is down; `down`: they are not. */
  readonly status: "ok" | "degraded" | "down";
  readonly database: { readonly kind: Database["kind"]; readonly state: "up" | "down"; readonly tookMs: number };
  readonly cache: CacheReport;
}

/** A probe that takes longer counts as failed. */
const probeMs = 2_000;

export async function health(database: Database, cache: QueueCache, views: QueueViews): Promise<Health> {
  const started = performance.now();
  const up = await answers(database.ping());
  const tookMs = Math.round((performance.now() - started) * 10) / 10;
  const report = cacheReport(cache);
  // Without the database a page can still come from the cache, if it is there.
  const served = up || (await answers(views.look()));
  const allUp = up && report.state !== "down" && report.state !== "degraded";
  return {
    status: served ? (allUp ? "ok" : "degraded") : "down",
    database: { kind: database.kind, state: up ? "up" : "down", tookMs },
    cache: report,
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
