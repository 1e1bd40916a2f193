/** The page that is being rendered right now, wherever the code that adds to it stands. */
import { Ambient } from "../cache/index.ts";
import type { Rendering } from "./render.ts";

/** Pages that are being rendered. */
export const current = new Ambient<Rendering>();

/** Whether the code that runs is a part of `rendering`, and not of what stands around it. */
export function isPartOf(rendering: Rendering): boolean {
  return current.current === rendering;
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
    current.current?.addTags(names);
  },
};
