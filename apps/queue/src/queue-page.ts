/**
 * The page of the queue, cached whole: rendered once in the fleet, filled for each visitor.
 *
 * The page is made from the cached view, so whatever invalidates the view invalidates the page. Its holes, the token and the
 * notices among them, are filled after the cache, and what is filled in is kept nowhere.
 */
import type { Cache } from "everfresh";
import { cutPage, type Pages, type VisitorsOwn } from "./page.ts";
import { queueTag, seen, type QueueViews, type Seen } from "./queue-view.ts";

/** A page for one visitor, and how it was come by. */
export interface PageLook {
  readonly seen: Seen;
  /** The page, filled with what is this visitor's own. */
  readonly fillIn: (own: VisitorsOwn) => Buffer | string;
}

/** Where pages come from. */
export interface QueuePages {
  look(): Promise<PageLook>;
}

/** Pages from the cache. */
export function cachedPages(cache: Cache, views: QueueViews, pages: Pages): QueuePages {
  const load = async (): Promise<Buffer> => {
    const view = await views.read();
    const { computedAt, queryMs } = view;
    return await cutPage.cut((holes) => pages.queue(view, holes), { computedAt, queryMs });
  };
  // Releases and configurations that run side by side have different pages.
  const key = `page:${pages.version}`;
  const options = Object.freeze({ ttl: "1h", tags: [queueTag], collects: true, shared: true } as const);
  return {
    async look() {
      const started = performance.now();
      const { value, status } = await cache.getOrSetEntry(key, load, options);
      const page = cutPage.open(value);
      const shown = seen(page.facts, status, started);
      return { seen: shown, fillIn: (own) => page.fillIn(pages.values(shown, own)) };
    },
  };
}

/** Pages that are rendered for each visitor from the cached view: what the article does. */
export function renderedPages(views: QueueViews, pages: Pages): QueuePages {
  return {
    async look() {
      const look = await views.look();
      return { seen: look, fillIn: (own) => pages.queue(look.view, pages.values(look, own)) };
    },
  };
}
