/** The pages as HTML: what is the same for everybody, and what goes into the holes. Templates escape everything by default. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Eta } from "eta";
import { PageWithHoles, trustedHtml, type HoleValue } from "everfresh/http";
import type { Database } from "./database.ts";
import { panel } from "./panel.ts";
import type { QueueCache } from "./queue-cache.ts";
import type { Item } from "./queue-store.ts";
import type { QueueView, Seen } from "./queue-view.ts";
import { count, items, milliseconds } from "./words.ts";

const home = fileURLToPath(new URL("../../", import.meta.url));
export const assetFolder = join(home, "public");
const viewFolder = join(home, "views");

/** Changes with every asset, and is part of their addresses: a browser may keep them for ever. */
export const assetVersion = fingerprint(assetFolder);
const viewVersion = fingerprint(viewFolder);

/** A sentence at the top of the queue: what the last action did. */
export interface Notice {
  readonly kind: "done" | "empty" | "problem";
  readonly text: string;
}

/** What is one visitor's own on the page of the queue. */
export interface VisitorsOwn {
  readonly csrf: string;
  readonly notice?: Notice | undefined;
  readonly write?: string | undefined;
  /** What was typed, kept when it was refused. */
  readonly text?: string;
  readonly fieldError?: string | undefined;
}

/** The places of the page that differ from one answer to the next. */
const holes = [
  "csrf",
  "source",
  "took",
  "age",
  "sentence",
  "viewBar",
  "queryBar",
  "noticeKind",
  "notice",
  "write",
  "writeState",
  "text",
  "fieldState",
  "fieldError",
] as const;

export type Holes = Readonly<Record<(typeof holes)[number], HoleValue>>;

/** The page of the queue as it is cached: with holes, and with what the panel says of its view. */
export const cutPage = new PageWithHoles<(typeof holes)[number], Pick<QueueView, "computedAt" | "queryMs">>(holes);

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
  readonly #eta = new Eta({ views: viewFolder, cache: true, varName: "it", autoTrim: false });
  readonly #about: object;
  /** Tells pages apart that other templates, other holes or another configuration made. */
  readonly version: string;

  constructor(about: About) {
    const { database, cache, slowQueryMs } = about;
    this.#about = {
      database: databaseNames[database],
      cache: cacheNames[cache],
      slow: count(slowQueryMs),
      slowQueryMs,
    };
    this.version = createHash("sha256")
      .update(JSON.stringify([assetVersion, viewVersion, holes, this.#about]))
      .digest("hex")
      .slice(0, 12);
  }

  /** The page of the queue around what is put into its holes. */
  queue(view: QueueView, own: Holes): string {
    const hidden = view.total - view.front.length - view.back.length;
    return this.#eta.render("queue", {
      ...own,
      about: this.#about,
      assetVersion,
      total: view.total,
      totalWords: items(view.total),
      query: milliseconds(view.queryMs),
      list: this.#eta.render("list", {
        ...view,
        hidden: hidden > 0 ? count(hidden) : undefined,
        backStart: view.total - view.back.length + 1,
      }),
    });
  }

  /** What goes into the holes for one visitor. */
  values(seen: Seen, own: VisitorsOwn): Holes {
    const { source, bar, words } = panel(seen);
    return {
      csrf: own.csrf,
      source,
      took: words.took,
      age: words.age,
      sentence: words.sentence,
      viewBar: String(bar.view),
      queryBar: String(bar.query),
      noticeKind: own.notice?.kind ?? "",
      notice: own.notice?.text ?? "",
      write: own.write ?? "",
      writeState: own.write === undefined ? hiddenState : noState,
      text: own.text ?? "",
      fieldState: own.fieldError === undefined ? noState : invalidState,
      fieldError: own.fieldError ?? "",
    };
  }

  message(page: MessagePage): string {
    return this.#eta.render("message", { ...page, assetVersion });
  }
}

/** Attributes of elements; a text would be escaped, and is none. */
const noState = trustedHtml("");
const hiddenState = trustedHtml(" hidden");
const invalidState = trustedHtml(' aria-invalid="true" autofocus');

/** Where an item stands, counted from the front; undefined when the window does not show it. */
export function positionOf(view: QueueView, item: Item): number | undefined {
  const inFront = view.front.findIndex((each) => each.id === item.id);
  if (inFront !== -1) return inFront + 1;
  const inBack = view.back.findIndex((each) => each.id === item.id);
  return inBack === -1 ? undefined : view.total - view.back.length + inBack + 1;
}

function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).toSorted()) hash.update(name).update(readFileSync(join(folder, name)));
  return hash.digest("hex").slice(0, 12);
}
