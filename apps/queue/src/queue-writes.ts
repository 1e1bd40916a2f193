/**
 * Writes to the queue: what is committed, what the cache is told, and the next page, computed by the one who wrote.
 *
 * The cache is told through the outbox: "the queue has changed" is a row of the same transaction. A process that is killed after
 * the commit, or a cache that cannot be reached then, leaves that row to the relays, which deliver it within a second.
 */
import type { Cache } from "everfresh";
import { createOutbox, InvalidationPendingError, tag, type Outbox } from "everfresh/outbox";
import type { FastifyBaseLogger } from "fastify";
import type { Database } from "./database.ts";
import type { QueuePages } from "./queue-page.ts";
import type { Executor, Item, QueueStore } from "./queue-store.ts";
import { queueTag } from "./queue-view.ts";

/** What became of the cache after a write. */
export interface Refresh {
  /** `fresh`: the next look is a hit. `late`: it is being computed. `pending`: the cache could not be told yet, and will be. */
  readonly kind: "fresh" | "late" | "pending";
  readonly tookMs: number;
}

/** A write that is committed. */
export interface Written {
  readonly item: Item;
  readonly refresh: Refresh;
}

export interface WriteParts {
  readonly database: Database;
  readonly cache: Cache;
  readonly store: QueueStore;
  readonly pages: QueuePages;
  readonly log: FastifyBaseLogger;
}

/** How long a writer waits for the recomputed page; it goes on being computed after that. Well under a router's 30 s. */
const refreshWaitMs = 15_000;

export class QueueWrites {
  readonly #parts: WriteParts;
  readonly #outbox: Outbox;
  readonly #running = new Set<Promise<unknown>>();

  constructor(parts: WriteParts) {
    this.#parts = parts;
    this.#outbox = createOutbox({ db: parts.database.db, caches: parts.cache });
  }

  /** Adds an item at the back. When this resolves it is committed, and every look from now on shows it. */
  async add(text: string): Promise<Written> {
    return await this.#write(async (tx) => await this.#parts.store.add(text, tx));
  }

  /** Takes the front item, likewise. Undefined means that the queue was empty at some moment during the call. */
  async removeFront(): Promise<Written | undefined> {
    return await this.#parts.store.removeFrontBy((take) => this.#write(take));
  }

  /**
   * After a write whose outcome is unknown (the connection broke before the answer): nothing that is cached is believed. Should
   * the write be committed yet, its row of the outbox is as well, and the relays tell the cache again.
   */
  async doubt(): Promise<void> {
    try {
      await this.#parts.cache.invalidateTags([queueTag]);
    } catch (error) {
      this.#parts.log.warn({ err: error }, "the cache could not be told of a write whose outcome is unknown");
    }
  }

  /** Stops the relay, and waits for pages that are still being computed. Before the database and the cache are closed. */
  async close(): Promise<void> {
    await this.#outbox.close();
    await Promise.allSettled(this.#running);
  }

  async #write(work: (tx: Executor) => Promise<Item>): Promise<Written>;
  async #write(work: (tx: Executor) => Promise<Item | undefined>): Promise<Written | undefined>;
  async #write(work: (tx: Executor) => Promise<Item | undefined>): Promise<Written | undefined> {
    const { database, log } = this.#parts;
    try {
      const item = await this.#outbox.transaction(database.db, async (tx, invalidate) => {
        const written = await work(tx);
        if (written !== undefined) invalidate(tag(queueTag));
        return written;
      });
      return item && { item, refresh: await this.#refresh() };
    } catch (error) {
      if (!(error instanceof InvalidationPendingError)) throw error;
      log.warn({ err: error }, "the cache could not be told of a write; it will be");
      return { item: error.result as Item, refresh: { kind: "pending", tookMs: 0 } };
    }
  }

  /** Computes the next page. The one who writes waits for the query, so that nobody who looks has to. */
  async #refresh(): Promise<Refresh> {
    const { pages, log } = this.#parts;
    const started = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), refreshWaitMs).unref();
    });
    try {
      const kind = await Promise.race([this.#tracked(pages.look()).then(() => "fresh" as const), late]);
      const tookMs = performance.now() - started;
      if (kind === "late") log.warn({ tookMs }, "the page is still being computed after a write");
      return { kind, tookMs };
    } catch (error) {
      // The write is done, and the cache knows; whoever looks next computes.
      log.warn({ err: error }, "the page could not be computed after a write");
      return { kind: "late", tookMs: performance.now() - started };
    } finally {
      clearTimeout(timer);
    }
  }

  #tracked<Result>(promise: Promise<Result>): Promise<Result> {
    const settled: Promise<unknown> = Promise.allSettled([promise]).then(() => this.#running.delete(settled));
    this.#running.add(settled);
    return promise;
  }
}
