/**
 * The queue as its page shows it: a cached entry, looked at by readers and refreshed by writers.
 *
 * What is cached is data alone: no token, no cookie, nothing that belongs to one visitor. The promise of the cache is that a
 * look that starts after a write was answered shows that write.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Cache, Entry } from "everfresh";
import type { FastifyBaseLogger } from "fastify";
import type { QueueStore, QueueWindow } from "./queue-store.ts";

/** A view of the queue; the cache holds it as JSON text. Shared by all who look: never change one. */
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
  /** Whether the cache was asked; false where there is none or it cannot be reached. */
  readonly asked: boolean;
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

/** The entry that is cached: a text, because a text needs no copy for each of its readers. */
export type ViewEntry = Entry<[], string>;

/** Changes when the shape of {@link QueueView} does, so that a deploy never reads what the release before it meant. */
const shape = 1;

/** How long a writer waits for the recomputed view; it goes on being computed after that. Well under a router's 30 s. */
const refreshWaitMs = 15_000;

/** Declares the entry. Its loader is the query, made slow on purpose where that was asked for. */
export function viewEntry(cache: Cache, store: QueueStore, slowQueryMs: number, log: FastifyBaseLogger): ViewEntry {
  const load = async (): Promise<string> => {
    const startedAt = performance.now();
    const window = await store.window();
    // A slow query looks at the tables when it starts and answers late. So does this one: what it saw may be old by then,
    // which is what leases are for.
    if (slowQueryMs > 0) await delay(slowQueryMs);
    const queryMs = performance.now() - startedAt;
    log.info({ queryMs: Math.round(queryMs), total: window.total }, "the database was asked for the queue");
    const view: QueueView = { id: randomUUID(), computedAt: Date.now(), queryMs, ...window };
    return JSON.stringify(view);
  };
  return cache.entry("view", { load, ttl: "1h", version: shape, tags: ["queue_item"] });
}

export class QueueViews {
  readonly #entry: ViewEntry;
  readonly #log: FastifyBaseLogger;
  readonly #running = new Set<Promise<unknown>>();
  #asking: ReturnType<ViewEntry["getEntry"]> | undefined;
  #latest: { readonly text: string; readonly view: QueueView } | undefined;

  constructor(entry: ViewEntry, log: FastifyBaseLogger) {
    this.#entry = entry;
    this.#log = log;
  }

  async look(): Promise<Look> {
    const started = performance.now();
    const { value, status } = await this.#ask();
    const view = this.#read(value);
    return {
      view,
      source: status === "hit" || status === "stale" ? "cache" : "database",
      asked: status !== "bypass",
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

  /**
   * Asks the cache, once for all looks of one turn of the event loop. The question leaves after the last of them began, so
   * each gets what it would have got by itself; a busy process asks a tenth as often.
   */
  #ask(): ReturnType<ViewEntry["getEntry"]> {
    this.#asking ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#asking = undefined;
        resolve(this.#entry.getEntry());
      });
    });
    return this.#asking;
  }

  /** The view of a text; the same text is nearly always asked for again. */
  #read(text: string): QueueView {
    if (this.#latest?.text !== text) this.#latest = { text, view: JSON.parse(text) as QueueView };
    return this.#latest.view;
  }

  #tracked<Result>(promise: Promise<Result>): Promise<Result> {
    const settled: Promise<unknown> = Promise.allSettled([promise]).then(() => this.#running.delete(settled));
    this.#running.add(settled);
    return promise;
  }
}
