/** `stats detail`: what was done to keys, counted by what stands before the first delimiter in them. */

/** Prefixes beyond this many are not counted: a visitor can make up any number of them. */
const mostPrefixes = 10_000;

interface Counts {
  gets: number;
  hits: number;
  sets: number;
  deletes: number;
}

export class PrefixCounts {
  readonly #delimiter: number;
  readonly #counts = new Map<string, Counts>();

  constructor(delimiter: string) {
    this.#delimiter = delimiter.charCodeAt(0);
  }

  get(key: Uint8Array, start: number, end: number, hit: boolean): void {
    const counts = this.#of(key, start, end);
    if (counts === undefined) return;
    counts.gets++;
    if (hit) counts.hits++;
  }

  set(key: Uint8Array, start: number, end: number): void {
    const counts = this.#of(key, start, end);
    if (counts !== undefined) counts.sets++;
  }

  delete(key: Uint8Array, start: number, end: number): void {
    const counts = this.#of(key, start, end);
    if (counts !== undefined) counts.deletes++;
  }

  /** The lines of `stats detail dump`. */
  dump(): string[] {
    return Array.from(
      this.#counts,
      ([prefix, { gets, hits, sets, deletes }]) =>
        `PREFIX ${prefix} get ${gets} hit ${hits} set ${sets} del ${deletes}`,
    );
  }

  clear(): void {
    this.#counts.clear();
  }

  #of(key: Uint8Array, start: number, end: number): Counts | undefined {
    let at = start;
    while (at < end && key[at] !== this.#delimiter) at++;
    if (at === end) return undefined;
    const prefix = Buffer.from(key.subarray(start, at)).toString("latin1");
    let counts = this.#counts.get(prefix);
    if (counts === undefined && this.#counts.size < mostPrefixes) {
      counts = { gets: 0, hits: 0, sets: 0, deletes: 0 };
      this.#counts.set(prefix, counts);
    }
    return counts;
  }
}
