/**
 * The in-process tier: decoded values with the version they have on their server.
 *
 * A value of the tier is never served on its own authority. On each read the server is asked whether that version
 * still is the current one, which costs a few bytes and no decoding; only `local: { maxAge }`, which says so in its
 * name, skips the question for that long. Bounded by bytes and entries; what was not read lately goes first.
 */
import type { Item, Token } from "../backend/index.ts";
import type { Stored } from "./envelope.ts";
import { isRawTag } from "./keys.ts";

/** What the tiers of all namespaces know together: when this process has last invalidated anything in one of them. */
export interface OwnInvalidations {
  latest: number;
}

export interface TierEntry {
  readonly item: Item;
  readonly stored: Stored;
  readonly token: Token;
  /** Whether it was made from other values, whose invalidation does not name it. */
  readonly isOuter: boolean;
  /** When the server was last asked whether this is the current version, and it is; monotonic milliseconds. */
  askedAt: number;
  /** The moment of that question. */
  moment: number;
  visited: boolean;
}

const entryOverheadBytes = 300;
const limitForgotten = 1_000;

export class Tier {
  readonly #limitBytes: number;
  readonly #limitEntries: number;
  readonly #own: OwnInvalidations;
  readonly #entries = new Map<string, TierEntry>();
  /** When this process invalidated keys: a question that is older may bring back the value from before. */
  readonly #forgotten = new Map<string, number>();
  /** When it last did so with one that is not in the list any more, or with all of them. */
  #forgottenSince = 0;
  #bytes = 0;
  #trustedSince = 0;

  constructor(limitBytes: number, limitEntries: number, own: OwnInvalidations) {
    this.#limitBytes = limitBytes;
    this.#limitEntries = limitEntries;
    this.#own = own;
  }

  get(wire: string): TierEntry | undefined {
    const entry = this.#entries.get(wire);
    if (entry !== undefined) entry.visited = true;
    return entry;
  }

  /** The entry, if the server was asked less than `maxAgeMs` ago, and this process has not invalidated it since. */
  trusted(wire: string, maxAgeMs: number, now: number): TierEntry | undefined {
    const entry = this.get(wire);
    if (entry === undefined || entry.askedAt + maxAgeMs <= now || entry.moment <= this.#trustedSince) return undefined;
    return entry.isOuter && entry.moment <= this.#own.latest ? undefined : entry;
  }

  /** The server was asked about the entry at `moment`, and it is current. */
  confirm(wire: string, entry: TierEntry, askedAt: number, moment: number): void {
    if (this.#isFromBefore(wire, moment)) return;
    entry.askedAt = askedAt;
    entry.moment = moment;
  }

  /** Whatever was asked before the moment `moment` must be asked about again. */
  distrust(moment: number): void {
    this.#trustedSince = moment;
    this.#own.latest = moment;
  }

  /** Forgets what this process has invalidated at `moment`. */
  forget(wire: string, moment: number): void {
    this.delete(wire);
    this.#own.latest = moment;
    if (this.#forgotten.size >= limitForgotten) {
      this.#forgotten.clear();
      this.#forgottenSince = moment;
    }
    this.#forgotten.set(wire, moment);
  }

  #isFromBefore(wire: string, moment: number): boolean {
    return moment <= this.#forgottenSince || moment <= (this.#forgotten.get(wire) ?? 0);
  }

  /** Keeps what the server was asked for, or what began to be computed, at `asked`. */
  set(wire: string, item: Item, stored: Stored, token: Token, asked: number, moment: number): void {
    this.delete(wire);
    const cost = costOf(wire, stored);
    // Nothing gives way to what would not fit even then.
    if (cost > this.#limitBytes) return;
    const isOuter = stored.tags.some(isRawTag);
    const askedAt = this.#isFromBefore(wire, moment) ? -Infinity : asked;
    // Before it is there: where everything else was read lately, it would give way itself.
    while (this.#bytes + cost > this.#limitBytes || this.#entries.size >= this.#limitEntries) this.#evictOne();
    this.#entries.set(wire, { item, stored, token, isOuter, askedAt, moment, visited: false });
    this.#bytes += cost;
  }

  delete(wire: string): void {
    const entry = this.#entries.get(wire);
    if (entry === undefined) return;
    this.#entries.delete(wire);
    this.#bytes -= costOf(wire, entry.stored);
  }

  /** Forgets all, which this process has invalidated at `moment`. */
  clear(moment: number): void {
    this.#entries.clear();
    this.#forgotten.clear();
    this.#forgottenSince = moment;
    this.#own.latest = moment;
    this.#bytes = 0;
  }

  #evictOne(): void {
    for (const [wire, entry] of this.#entries) {
      if (!entry.visited) {
        this.delete(wire);
        return;
      }
      // A second chance: to the end of the line.
      entry.visited = false;
      this.#entries.delete(wire);
      this.#entries.set(wire, entry);
    }
  }
}

/** The bytes as they are stored, twice: the decoded value takes about as much again. */
function costOf(wire: string, stored: Stored): number {
  return wire.length * 2 + stored.sizeBytes * 2 + entryOverheadBytes;
}
