/**
 * `store`: one memory with limits, where the server keeps its items. The backend `memory()` does not: it keeps what was
 * decoded beside the bytes, so that a hit decodes nothing, and an arena of bytes cannot.
 */
export * as layout from "./layout.ts";
export { type StoreOptions, type ResolvedStoreOptions, largestStoreBytes, smallestStoreBytes } from "./options.ts";
export type { Departure } from "./reclaimer.ts";
export { longestRelative } from "./seconds.ts";
export { type Draft, type Mode, type Outcome, memcachedSize, mode, outcome } from "./draft.ts";
export { Store } from "./store.ts";
export { loadItems, saveItems } from "./snapshot.ts";
