/** What the source holds of a key, and what its readers must see at least, because of who was told what. */

/** Somebody was told that what they invalidated is done, or, if it is pending, that it is not. */
interface Told {
  readonly version: number;
  readonly process: number;
  readonly atMs: number;
  /** A reader who names no tag need not notice the invalidation of one. */
  readonly byTag: boolean;
  readonly pending: boolean;
}

/** Who reads, and when. */
export interface Observer {
  readonly process: number;
  readonly nowMs: number;
  /** Whether it names the tags. */
  readonly namesTags: boolean;
}

export class Truth {
  version = 0;
  /** What others wrote may be older by so much. */
  readonly #maxAgeMs: number;
  readonly #processes: number;
  #told: Told[] = [];

  constructor(processes: number, maxAgeMs: number) {
    this.#processes = processes;
    this.#maxAgeMs = maxAgeMs;
  }

  tell(told: Told): void {
    this.#told.push(told);
  }

  /** The oldest version that `observer` may see. A rejected invalidation counts for the readers of its own process. */
  least({ process, nowMs, namesTags }: Observer): number {
    let least = 0;
    for (const told of this.#told) {
      if (told.byTag && !namesTags) continue;
      const isOwn = told.process === process;
      if (isOwn || (!told.pending && told.atMs <= nowMs - this.#maxAgeMs)) least = Math.max(least, told.version);
    }
    return least;
  }

  /** When somebody was last told that what is newer than `version` was made known; undefined: nobody was. */
  outdatedAt(version: number): number | undefined {
    const newer = this.#told.filter((told) => told.version > version && !told.pending);
    return newer.length === 0 ? undefined : Math.max(...newer.map(({ atMs }) => atMs));
  }

  /** Everything that decides what readers must see from here on. */
  state(nowMs: number): unknown {
    if (this.#maxAgeMs > 0) return [this.version, this.#told];
    const all = Array.from({ length: this.#processes }, (_, process) => process);
    return [
      this.version,
      all.map((process) => [true, false].map((namesTags) => this.least({ process, nowMs, namesTags }))),
    ];
  }
}
