/** The panel, where a view came from and how long that took, and what a write cost: in numbers and in words. */
import type { Seen } from "./queue-view.ts";
import type { Refresh } from "./queue-writes.ts";
import { age, milliseconds } from "./words.ts";

/** The panel: where a view came from, in numbers and in words. */
export interface Panel {
  readonly source: Seen["source"];
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

/** The panel of a look. */
export function panel(seen: Seen): Panel {
  const { source, tookMs, ageMs, queryMs } = seen;
  const words = { took: milliseconds(tookMs), age: age(ageMs), query: milliseconds(queryMs) };
  const computed = `This view was computed just now by a query of the database that took ${words.query}.`;
  const sentence =
    source === "cache"
      ? `This view came from the cache in ${words.took}. It was computed ${words.age} ago, by a query that took ${words.query}.`
      : `${computed} ${seen.asked ? "The next one comes from the cache." : "There was no cache to ask."}`;
  return { source, tookMs, ageMs, queryMs, bar: bars(seen), words: { ...words, sentence } };
}

/** What a write cost; `tookMs` is all of it. */
export function writeCost(what: "add" | "remove", tookMs: number, refresh: Refresh): WriteCost {
  const [took, refreshed] = [milliseconds(tookMs), milliseconds(refresh.tookMs)];
  const sentences: Record<Refresh["kind"], string> = {
    fresh: `Your ${what} took ${took}: ${refreshed} of it computed the new view, so that nobody has to wait for it now.`,
    late: `Your ${what} took ${took}; the new view is still being computed.`,
    pending: `Your ${what} took ${took}. The cache cannot be reached; until it can, views come from the database.`,
  };
  return { tookMs, refreshMs: refresh.tookMs, cache: refresh.kind, sentence: sentences[refresh.kind] };
}

/** How long this view took beside how long the query took. */
function bars({ tookMs, queryMs }: Seen): { readonly view: number; readonly query: number } {
  const longest = Math.max(tookMs, queryMs, 1);
  const share = (ms: number): number => Math.max(6, Math.round((1_000 * ms) / longest));
  return { view: share(tookMs), query: share(queryMs) };
}
