/** May a page that is not current be shown? Only under a relaxation of the options, and never against its own Cache-Control. */
import { mayBeServedStale } from "./cacheable.ts";
import type { PagePolicy } from "./options.ts";
import { decodeRecord, type PageRecord } from "./page.ts";
import type { StoreResult } from "./store.ts";

/** Whether a stale page that was found may be shown, and why it is stale may be told. */
export function mayShow(
  { why }: StoreResult,
  page: PageRecord | undefined,
  policy: PagePolicy<never>,
  nowMs: number,
): boolean {
  const { staleWhileRevalidateMs, staleIfErrorMs, isPrivate } = policy;
  if (page?.kind !== "page" || !mayBeServedStale(page.fields, !isPrivate)) return false;
  if (why === "the loader failed") return nowMs < page.freshUntilMs + staleIfErrorMs;
  // Its time is over. What was invalidated (`tag songs`) is shown to nobody.
  return staleWhileRevalidateMs > 0 && (why === "expired" || why === "invalidated");
}

/** Whether a page that is kept may go out in the place of an error (RFC 5861 section 4, RFC 9111 section 4.2.4). */
export function mayStandForError(
  kept: unknown,
  { staleIfErrorMs, isPrivate }: PagePolicy<never>,
  nowMs: number,
): boolean {
  const page = staleIfErrorMs > 0 && Buffer.isBuffer(kept) ? decodeRecord(kept) : undefined;
  if (page?.kind !== "page" || !mayBeServedStale(page.fields, !isPrivate)) return false;
  return nowMs < page.freshUntilMs + staleIfErrorMs;
}
