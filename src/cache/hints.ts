/** Which tags the values of some keys have besides those that their readers name, so that these are read before a load. */

/** So many keys are remembered. */
const limitHints = 10_000;

const none: readonly string[] = [];

export class Hints {
  readonly #tags = new Map<string, readonly string[]>();

  /** The tags that the value under `wire` is known to have. */
  of(wire: string): readonly string[] {
    return this.#tags.size === 0 ? none : (this.#tags.get(wire) ?? none);
  }

  remember(wire: string, tags: readonly string[]): void {
    if (this.#tags.size >= limitHints) this.#tags.clear();
    this.#tags.set(wire, tags);
  }
}
