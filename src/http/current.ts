/** The page that is being rendered right now, wherever the code that adds to it stands. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Rendering } from "./render.ts";

const current = new AsyncLocalStorage<Rendering>();

/** Runs `work` so that {@link tags} speaks of `rendering`. */
export function rendering<T>(page: Rendering, work: () => T): T {
  return current.run(page, work);
}

/** What the page that is being rendered shows. */
export const tags = {
  /**
   * Adds tags to the page that is being rendered; without effect where none is.
   *
   * Name what is known beforehand in the option `tags`: a tag that is met for the first time while rendering is too new to
   * be trusted, so that one page is sent without being stored.
   */
  add(...names: readonly string[]): void {
    current.getStore()?.addTags(names);
  },
};
