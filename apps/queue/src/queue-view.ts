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
import { oncePerTurn } from "./once-per-turn.ts";
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

/** The entry that is cached: a text, because a text needs no copy for each of its readers. */
export type ViewEntry = Entry<[], string>;

/** Changes when the shape of {@link QueueView} does, so that a deploy never reads what the release before it meant. */
const shape = 1;

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
  return cache.entry("view", { load, ttl: "1h", version: shape, tags: [queueTag] });
}

export class QueueViews {
  readonly #entry: ViewEntry;
  readonly #askTogether: () => ReturnType<ViewEntry["getEntry"]>;
  #latest: { readonly text: string; readonly view: QueueView } | undefined;

  constructor(entry: ViewEntry) {
    this.#entry = entry;
    this.#askTogether = oncePerTurn(() => entry.getEntry());
  }

  /** The view, for a visitor. */
  async look(): Promise<Look> {
    const started = performance.now();
    const { value, status } = await this.#askTogether();
    const view = this.#read(value);
    return { view, ...seen(view, status, started) };
  }

  /** The view, for what is made from it: asked within the maker's own context, so that the cache knows what it is made from. */
  async read(): Promise<QueueView> {
    return this.#read(await this.#entry.get());
  }

  /** The view of a text; the same text is nearly always asked for again. */
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
