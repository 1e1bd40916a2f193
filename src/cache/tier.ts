/**
 * The in-process tier: decoded values with the version they have on their server.
 *
 * A value of the tier is never served on its own authority. On each read the server is asked whether that version
 * still is the current one, which costs a few bytes and no decoding; only `local: { maxAge }`, which says so in its
 * name, skips the question for that long. Bounded by bytes and entries; what was not read lately goes first.
 */
import type { Item, Token } from "../backend/index.ts";
import type { Stored } from "./envelope.ts";

export interface TierEntry {
  readonly item: Item;
  readonly stored: Stored;
  readonly token: Token;
  /** When the server last said that this is the current version, monotonic milliseconds. */
  askedAt: number;
  /** The moment when that question was asked. */
  moment: number;
  visited: boolean;
}

const entryOverheadBytes = 300;

export class Tier {
  readonly #limitBytes: number;
  readonly #limitEntries: number;
  readonly #entries = new Map<string, TierEntry>();
  #bytes = 0;
  #trustedSince = 0;

  constructor(limitBytes: number, limitEntries: number) {
    this.#limitBytes = limitBytes;
    this.#limitEntries = limitEntries;
  }

  get(wire: string): TierEntry | undefined {
    const entry = this.#entries.get(wire);
    if (entry !== undefined) entry.visited = true;
    return entry;
  }

  /** The entry, if the server confirmed it less than `maxAgeMs` ago. */
  trusted(wire: string, maxAgeMs: number, now: number): TierEntry | undefined {
    const entry = this.get(wire);
    return entry && entry.askedAt + maxAgeMs > now && entry.moment > this.#trustedSince ? entry : undefined;
  }

  /** Whatever was asked before the moment `moment` must be asked about again. */
  distrust(moment: number): void {
    this.#trustedSince = moment;
  }

  set(wire: string, item: Item, stored: Stored, token: Token, askedAt: number, moment: number): void {
    this.delete(wire);
    const cost = costOf(wire, stored);
    // Nothing gives way to what would not fit even then.
    if (cost > this.#limitBytes) return;
    this.#entries.set(wire, { item, stored, token, askedAt, moment, visited: false });
    this.#bytes += cost;
    while (this.#bytes > this.#limitBytes || this.#entries.size > this.#limitEntries) this.#evictOne();
  }

  delete(wire: string): void {
    const entry = this.#entries.get(wire);
    if (entry === undefined) return;
    this.#entries.delete(wire);
    this.#bytes -= costOf(wire, entry.stored);
  }

  clear(): void {
    this.#entries.clear();
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
