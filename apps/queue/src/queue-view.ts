/**
 * The queue as its page shows it: a cached entry, looked at by readers and refreshed by writers.
 *
 * What is cached is data alone: no token, no cookie, nothing that belongs to one visitor. The promise of the cache is that a
 * look that starts after a write was answered shows that write.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import type { QueueStore, QueueWindow } from "./queue-store.ts";

/** What the cache holds. */
export interface QueueView extends QueueWindow {
  /** Different for every computation; what is made from a view (its HTML) is kept under it. */
  readonly id: string;
  /** When the query had answered, in milliseconds since the epoch. */
  readonly computedAt: number;
  /** How long the query took. */
  readonly queryMs: number;
}

/** A view, and how it was come by. */
export interface Look {
  readonly view: QueueView;
  /** `cache`: it was there. `database`: the query ran, or was waited for, during this look. */
  readonly source: "cache" | "database";
  readonly tookMs: number;
  /** How long ago the view was computed. */
  readonly ageMs: number;
}

/** What became of the cache after a write. */
export interface Refresh {
  /** `fresh`: the next look is a hit. `late`: it is being computed. `pending`: the cache could not be told yet, and will be. */
  readonly kind: "fresh" | "late" | "pending";
  readonly tookMs: number;
}

/** What this file needs of `cache.entry(...)`. */
export interface ViewEntry {
  get(): Promise<QueueView>;
  refresh(): Promise<QueueView>;
}

/** How long a writer waits for the recomputed view; it goes on being computed after that. Well under a router's 30 s. */
const refreshWaitMs = 15_000;

/** The loader of the entry: the query, made slow on purpose where that was asked for. */
export function loadView(store: QueueStore, slowQueryMs: number, log: FastifyBaseLogger): () => Promise<QueueView> {
  return async () => {
    const startedAt = performance.now();
    const window = await store.window();
    // A slow query looks at the tables when it starts and answers late. So does this one: what it saw may be old by then,
    // which is what leases are for.
    if (slowQueryMs > 0) await delay(slowQueryMs);
    const queryMs = performance.now() - startedAt;
    log.info({ queryMs: Math.round(queryMs), total: window.total }, "the database was asked for the queue");
    return { id: randomUUID(), computedAt: Date.now(), queryMs, ...window };
  };
}

export class QueueViews {
  readonly #entry: ViewEntry;
  readonly #log: FastifyBaseLogger;
  readonly #running = new Set<Promise<unknown>>();

  constructor(entry: ViewEntry, log: FastifyBaseLogger) {
    this.#entry = entry;
    this.#log = log;
  }

  async look(): Promise<Look> {
    const startedAt = Date.now();
    const started = performance.now();
    const view = await this.#entry.get();
    return {
      view,
      source: view.computedAt >= startedAt ? "database" : "cache",
      tookMs: performance.now() - started,
      ageMs: Math.max(0, Date.now() - view.computedAt),
    };
  }

  /**
   * Tells the cache that the queue has changed and computes the next view. Call it when the write is committed, never before.
   *
   * The one who writes waits for the query, so that nobody who looks has to. It never fails the write, which is done.
   */
  async refresh(): Promise<Refresh> {
    const started = performance.now();
    const tookMs = (): number => performance.now() - started;
    const late = new AbortController();
    const refreshing = this.#tracked(this.#entry.refresh());
    try {
      const kind = await Promise.race([
        refreshing.then(() => "fresh" as const),
        delay(refreshWaitMs, "late" as const, { signal: late.signal, ref: false }),
      ]);
      if (kind === "late")
        this.#log.warn({ tookMs: tookMs() }, "the queue's view is still being computed after a write");
      return { kind, tookMs: tookMs() };
    } catch (error) {
      this.#log.warn({ err: error }, "the cache could not be refreshed after a write");
      return { kind: "pending", tookMs: tookMs() };
    } finally {
      late.abort();
    }
  }

  /**
   * After a write whose outcome is unknown (the connection broke before the answer): tells the cache now, and once more when
   * the database can no longer be working on it.
   */
  doubt(uncertainMs: number): void {
    void this.refresh();
    if (uncertainMs > 0) setTimeout(() => void this.refresh(), uncertainMs).unref();
  }

  /** Waits for refreshes that are still running. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  #tracked<Result>(promise: Promise<Result>): Promise<Result> {
    const settled: Promise<unknown> = Promise.allSettled([promise]).then(() => this.#running.delete(settled));
    this.#running.add(settled);
    return promise;
  }
}
