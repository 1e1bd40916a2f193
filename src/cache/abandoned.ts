/**
 * Leases beside stale values whose holder must be gone.
 *
 * Such a lease lasts as long as the value is kept, which may be hours, and cannot be renewed without giving it up. But no loader
 * runs for longer than its `hardTimeout`. So who has seen one and the same lease for longer than that takes it.
 */
import { sameToken, type Token } from "../backend/index.ts";

/** So many leases are watched. */
const limitSeen = 1_000;

export class Abandoned {
  readonly #seen = new Map<string, { readonly token: Token; readonly since: number }>();

  /** Whether the lease of the version `token` under `wire` has been seen for longer than `longestMs`. */
  is(wire: string, token: Token, longestMs: number, now: number): boolean {
    const seen = this.#seen.get(wire);
    if (seen === undefined || !sameToken(seen.token, token)) {
      if (this.#seen.size >= limitSeen) this.#seen.clear();
      this.#seen.set(wire, { token, since: now });
      return false;
    }
    if (now - seen.since <= longestMs) return false;
    this.#seen.delete(wire);
    return true;
  }
}
