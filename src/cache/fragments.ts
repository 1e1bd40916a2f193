/**
 * Cached pieces of a page, one within another.
 *
 * What a fragment is made of includes the fragments within it, so it inherits their tags, each with the generation that
 * the inner one was made from: whatever invalidates the inner fragment by tag invalidates the outer ones. Where an inner
 * fragment could not be stored, the outer one is not stored either.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Generation, Header } from "./envelope.ts";

/** What the fragments within one fragment were made from. */
export class Inherited {
  readonly tags = new Map<string, Generation>();
  /** An inner fragment says nothing about what it was made from. */
  unknown = false;

  /** `inner` is what was read or stored; undefined: it was not stored. */
  add(inner: Header | undefined): void {
    if (inner === undefined) {
      this.unknown = true;
      return;
    }
    for (const [index, tag] of inner.tags.entries()) {
      const generation = inner.generations[index];
      const known = this.tags.get(tag);
      if (generation !== undefined && known === undefined) this.tags.set(tag, generation);
      // Made from two generations of one tag: at least one of them is not current any more.
      else if (generation !== known) this.unknown = true;
    }
  }
}

/** The fragment that is being rendered. */
export const rendering = new AsyncLocalStorage<Inherited>();
