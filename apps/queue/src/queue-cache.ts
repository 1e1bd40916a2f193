/** The cache of the app. */
import type { QueueView, ViewEntry } from "./queue-view.ts";

export interface CacheHealth {
  readonly backend: string;
  readonly state: "up" | "degraded" | "down" | "off";
  readonly servers?: { readonly up: number; readonly all: number };
}

export interface QueueCache {
  /** What it is, safe to print. */
  readonly shown: string;
  entry(load: () => Promise<QueueView>): ViewEntry;
  health(): Promise<CacheHealth>;
  close(): Promise<void>;
}

/** Computes every view. */
export function withoutCache(): QueueCache {
  return {
    shown: "No cache",
    entry: (load) => ({ get: load, refresh: load }),
    health: () => Promise.resolve({ backend: "none", state: "off" }),
    close: () => Promise.resolve(),
  };
}
