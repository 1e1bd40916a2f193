/**
 * The queue as data: a cached query, looked at by whoever asks for JSON and by the page when it is rendered.
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
  /** Different for every computation. */
  readonly id: string;
  /** When the query had answered, in milliseconds since the epoch. */
  readonly computedAt: number;
  /** How long the query took. */
  readonly queryMs: number;
}

/** How something was come by that was made from a view of the queue. */
export interface Seen {
  /** `cache`: it was there. `database`: the query ran, or was waited for, during this look. */
  readonly source: "cache" | "database";
  /** Whether the cache was asked; false where there is none or it cannot be reached. */
  readonly asked: boolean;
  readonly tookMs: number;
  /** How long ago the view was computed. */
  readonly ageMs: number;
  /** How long the query took. */
  readonly queryMs: number;
}

/** A view, and how it was come by. */
export interface Look extends Seen {
  readonly view: QueueView;
}

/** What everything that shows the queue is tagged with: whoever writes to the table invalidates it. */
export const queueTag = "queue_item";

/** Changes when the shape of {@link QueueView} does, so that a deploy never reads what the release before it meant. */
const shape = 1;

/** What views are made from. */
export interface ViewParts {
  readonly cache: Cache;
  readonly store: QueueStore;
  /** How much the query is slowed down, on purpose. */
  readonly slowQueryMs: number;
  readonly log: FastifyBaseLogger;
}

export class QueueViews {
  readonly #parts: ViewParts;
  /** What is cached is a text, because a text needs no copy for each of its readers. */
  readonly #entry: Entry<[], string>;
  /** The latest text, which is nearly always the one that comes again, and what it says. */
  #latest: { readonly text: string; readonly view: QueueView } | undefined;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    const load = (): Promise<string> => this.#load();
    this.#entry = parts.cache.entry("view", { load, ttl: "1h", version: shape, tags: [queueTag] });
  }

  /** The view, for a visitor. */
  async look(): Promise<Look> {
    const started = performance.now();
    const { value, status } = await this.#entry.getEntry();
    const view = this.#read(value);
    return { view, ...seen(view, status, started) };
  }

  /** The view, for what is made from it. */
  async read(): Promise<QueueView> {
    return this.#read(await this.#entry.get());
  }

  /** Runs the query. */
  async #load(): Promise<string> {
    const { store, slowQueryMs, log } = this.#parts;
    const startedAt = performance.now();
    const window = await store.window();
    // A slow query looks at the tables when it starts and answers late. So does this one: what it saw may be old by then,
    // which is what leases are for.
    if (slowQueryMs > 0) await delay(slowQueryMs);
    const queryMs = performance.now() - startedAt;
    log.info({ queryMs: Math.round(queryMs), total: window.total }, "the database was asked for the queue");
    const view: QueueView = { id: randomUUID(), computedAt: Date.now(), queryMs, ...window };
    const text = JSON.stringify(view);
    this.#latest = { text, view };
    return text;
  }

  #read(text: string): QueueView {
    if (this.#latest?.text !== text) this.#latest = { text, view: JSON.parse(text) as QueueView };
    return this.#latest.view;
  }
}

/** How something was come by; `started` is when the look began, on the monotonic clock. */
export function seen(
  view: Pick<QueueView, "computedAt" | "queryMs">,
  status: "hit" | "miss" | "stale" | "bypass",
  started: number,
): Seen {
  return {
    source: status === "hit" || status === "stale" ? "cache" : "database",
    asked: status !== "bypass",
    tookMs: performance.now() - started,
    ageMs: Math.max(0, Date.now() - view.computedAt),
    queryMs: view.queryMs,
  };
}
