/** `store`: one memory with limits. The server keeps its items here, and so does the in-process backend. */
export * as layout from "./layout.ts";
export { type StoreOptions, type ResolvedStoreOptions, largestStoreBytes, smallestStoreBytes } from "./options.ts";
export type { Departure } from "./reclaimer.ts";
export { longestRelative } from "./seconds.ts";
export { type Draft, type Mode, type Outcome, memcachedSize, mode, outcome } from "./draft.ts";
export { Store } from "./store.ts";
export { type Counted, type Found, type Keep, Memory, type Stored } from "./memory.ts";
export { loadItems, saveItems } from "./snapshot.ts";
