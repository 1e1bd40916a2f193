/** The pages as HTML, and the same numbers as JSON. Templates escape everything by default. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Eta } from "eta";
import { Shell } from "./shell.ts";
import type { Database } from "./database.ts";
import type { QueueCache } from "./queue-cache.ts";
import type { Look, QueueView, Refresh } from "./queue-view.ts";
import type { Item } from "./queue-store.ts";
import { age, count, items, milliseconds } from "./words.ts";

const home = fileURLToPath(new URL("../../", import.meta.url));
export const assetFolder = join(home, "public");

/** Changes with every asset, and is part of their addresses: a browser may keep them for ever. */
export const assetVersion = fingerprint(assetFolder);

/** A sentence at the top of the queue: what the last action did. */
export interface Notice {
  readonly kind: "done" | "empty" | "problem";
  readonly text: string;
}

/** The panel: where a view came from, in numbers and in words. */
export interface Panel {
  readonly source: Look["source"];
  readonly tookMs: number;
  readonly ageMs: number;
  readonly queryMs: number;
  /** The lengths of the two bars, of 1,000. */
  readonly bar: { readonly view: number; readonly query: number };
  readonly words: { readonly took: string; readonly age: string; readonly query: string; readonly sentence: string };
}

/** What a write cost, for the panel. */
export interface WriteCost {
  readonly tookMs: number;
  readonly refreshMs: number;
  readonly cache: Refresh["kind"];
  readonly sentence: string;
}

export interface QueuePage {
  readonly look: Look;
  readonly csrf: string;
  readonly notice?: Notice | undefined;
  readonly write?: string | undefined;
  /** What was typed, kept when it was refused. */
  readonly text?: string;
  readonly fieldError?: string | undefined;
}

export interface MessagePage {
  readonly title: string;
  readonly text: string;
}

/** What the app runs on, in the words of its footer. Addresses are nobody's business. */
export interface About {
  readonly database: Database["kind"];
  readonly cache: QueueCache["kind"];
  readonly slowQueryMs: number;
}

const databaseNames: Record<About["database"], string> = { postgres: "PostgreSQL", sqlite: "SQLite" };
const cacheNames: Record<About["cache"], string> = {
  memcached: "cached in memcached",
  embedded: "cached in the embedded memcached server",
  memory: "cached in this process’s memory",
  none: "without a cache",
};

/** Renders pages; one per process. */
export class Pages {
  readonly #eta = new Eta({ views: join(home, "views"), cache: true, varName: "it", autoTrim: false });
  readonly #about: object;
  /** The page of the latest view, which nearly always is the one that is asked for again. */
  #latest: { readonly id: string; readonly shell: Shell } | undefined;

  constructor({ database, cache, slowQueryMs }: About) {
    this.#about = {
      database: databaseNames[database],
      cache: cacheNames[cache],
      slow: count(slowQueryMs),
      slowQueryMs,
    };
  }

  /** The page of the queue. Without anything to tell, only the panel and the token differ from the one before. */
  queue(page: QueuePage): string {
    const { view } = page.look;
    const shown = panel(page.look);
    if (page.notice !== undefined || page.fieldError !== undefined || page.text !== undefined)
      return this.#render(view, { ...page, panel: shown });
    if (this.#latest?.id !== view.id)
      this.#latest = { id: view.id, shell: new Shell((slots) => this.#render(view, slots)) };
    return this.#latest.shell.fill(page.csrf, shown);
  }

  message(page: MessagePage): string {
    return this.#eta.render("message", { ...page, assetVersion });
  }

  #render(view: QueueView, page: object): string {
    const hidden = view.total - view.front.length - view.back.length;
    return this.#eta.render("queue", {
      ...page,
      about: this.#about,
      assetVersion,
      total: view.total,
      totalWords: items(view.total),
      list: this.#eta.render("list", {
        ...view,
        hidden: hidden > 0 ? count(hidden) : undefined,
        backStart: view.total - view.back.length + 1,
      }),
    });
  }
}

export function panel(look: Look): Panel {
  const { source, tookMs, ageMs } = look;
  const { queryMs } = look.view;
  const words = { took: milliseconds(tookMs), age: age(ageMs), query: milliseconds(queryMs) };
  const computed = `This view was computed just now by a query of the database that took ${words.query}.`;
  const sentence =
    source === "cache"
      ? `This view came from the cache in ${words.took}. It was computed ${words.age} ago, by a query that took ${words.query}.`
      : `${computed} ${look.asked ? "The next one comes from the cache." : "There was no cache to ask."}`;
  return { source, tookMs, ageMs, queryMs, bar: bar(look), words: { ...words, sentence } };
}

export function writeCost(what: "add" | "remove", tookMs: number, refresh: Refresh): WriteCost {
  const [took, refreshed] = [milliseconds(tookMs), milliseconds(refresh.tookMs)];
  const sentences: Record<Refresh["kind"], string> = {
    fresh: `Your ${what} took ${took}: ${refreshed} of it computed the new view, so that nobody has to wait for it now.`,
    late: `Your ${what} took ${took}; the new view is still being computed.`,
    pending: `Your ${what} took ${took}. The cache cannot be reached; until it can, views come from the database.`,
  };
  return { tookMs, refreshMs: refresh.tookMs, cache: refresh.kind, sentence: sentences[refresh.kind] };
}

/** Where an item stands, counted from the front; undefined when the window does not show it. */
export function positionOf(view: QueueView, item: Item): number | undefined {
  const inFront = view.front.findIndex((each) => each.id === item.id);
  if (inFront !== -1) return inFront + 1;
  const inBack = view.back.findIndex((each) => each.id === item.id);
  return inBack === -1 ? undefined : view.total - view.back.length + inBack + 1;
}

/** How long this view took beside how long the query took. */
function bar(look: Look): { readonly view: number; readonly query: number } {
  const longest = Math.max(look.tookMs, look.view.queryMs, 1);
  const share = (ms: number): number => Math.max(6, Math.round((1_000 * ms) / longest));
  return { view: share(look.tookMs), query: share(look.view.queryMs) };
}

function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).toSorted()) hash.update(name).update(readFileSync(join(folder, name)));
  return hash.digest("hex").slice(0, 12);
}
