/**
 * Telling a shared cache in front (a CDN, Varnish) what was invalidated, by the keys that its responses carried.
 *
 * The purge begins when Everfresh's own servers have confirmed, so that a page that is fetched anew is a new one. Purges of
 * one moment go out together; one that fails is tried again with growing pauses, because nothing else will ask for it.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { systemClock, type Clock } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { eventChannel, type EventShapes } from "../events.ts";
import { surrogateKey } from "./answer.ts";

/** Asks the cache in front to forget what carries one of these keys. Rejects when it could not be asked. */
export type Purge = (keys: readonly string[]) => Promise<unknown>;

export interface PurgeOptions {
  /** Only invalidations of this namespace. Default: of every one. */
  readonly namespace?: string | undefined;
  readonly clock?: Clock | undefined;
}

const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** More keys than this are not kept for later: whoever is so far behind should purge everything. */
const limitWaiting = 10_000;
const notices = eventChannel("everfresh:notice");

/**
 * Calls `purge` after every invalidation of tags in this process. Answers how to end it.
 *
 * @example
 * const end = purgeInFront((keys) => fetch(url, { method: "POST", headers: { "surrogate-key": keys.join(" ") } }));
 */
export function purgeInFront(purge: Purge, { namespace, clock = systemClock }: PurgeOptions = {}): () => void {
  if (typeof purge !== "function")
    throw new EverfreshError("EF_OPTION", `what purges in front is ${typeof purge}; it is a function of keys`);
  const waiting = new Set<string>();
  let pauseMs = firstPauseMs;
  let isBusy = false;
  const ended = new AbortController();

  async function send(): Promise<void> {
    const keys = [...waiting];
    waiting.clear();
    try {
      await purge(keys);
      pauseMs = firstPauseMs;
    } catch (error) {
      if (notices.hasSubscribers) notices.publish({ message: `a purge failed and is tried again: ${String(error)}` });
      for (const key of keys) if (waiting.size < limitWaiting) waiting.add(key);
      await new Promise<void>((resolve) => void clock.after(pauseMs, resolve));
      pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    }
  }
  async function drain(): Promise<void> {
    if (isBusy) return;
    isBusy = true;
    // What is invalidated in one turn of the event loop is purged with one call.
    await new Promise<void>((resolve) => void setImmediate(resolve));
    while (waiting.size > 0 && !ended.signal.aborted) await send();
    isBusy = false;
  }
  const listener = (message: unknown): void => {
    const { namespace: from, tags } = message as EventShapes["everfresh:cache:tags"];
    if (namespace !== undefined && from !== namespace) return;
    for (const tag of tags) if (waiting.size < limitWaiting) waiting.add(surrogateKey(tag));
    void drain();
  };
  subscribe("everfresh:cache:tags", listener);
  return () => {
    ended.abort();
    unsubscribe("everfresh:cache:tags", listener);
  };
}
