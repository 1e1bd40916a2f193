/**
 * A lease that this process holds: renewed while its value is computed, then filled or released, once.
 *
 * A renewal replaces the lease item by itself with a later end, so it has a new token; a fill waits for a renewal that
 * is under way. A renewal whose answer is lost loses the lease: the value is still handed out, only not stored.
 */
import { sameToken, type Backend, type Item, type Token } from "../backend/index.ts";
import type { Clock, Timer } from "../clock.ts";

/**
 * What stands under the key meanwhile. A lease beside a value that is kept lasts as long as that value, and is not renewed;
 * shortly before a stale one ends, an ordinary lease takes its place. Others take it when its loader must have been given up
 * (`abandoned.ts`); given back, a stale value waits for the next caller for as long as it has left, and a fresh one stays as it is.
 */
export type Kept = "nothing" | "a fresh value" | "a stale value";

/** A server that counts whole seconds may be a second ahead, and the command takes its time. */
const swapAheadMs = 1_500;

export class Lease {
  readonly key: string;
  #kept: Kept;
  readonly #backend: Backend;
  readonly #clock: Clock;
  readonly #seconds: number;
  #token: Token | undefined;
  #timer: Timer | undefined;
  #renewal: Promise<void> | undefined;

  /** @param keptMs for so long a stale value is kept; undefined where that is not known */
  constructor(
    backend: Backend,
    clock: Clock,
    key: string,
    token: Token,
    seconds: number,
    kept: Kept,
    keptMs: number | undefined,
  ) {
    this.#backend = backend;
    this.#clock = clock;
    this.#seconds = seconds;
    this.#token = token;
    this.key = key;
    this.#kept = kept;
    if (kept === "nothing") this.#schedule();
    else if (kept === "a stale value" && keptMs !== undefined) this.#outlive(keptMs);
  }

  /** Whether it is a lease beside the version `token`. */
  isBeside(token: Token): boolean {
    return this.#kept !== "nothing" && this.#token !== undefined && sameToken(this.#token, token);
  }

  /**
   * Stores `item` if the lease still stands.
   *
   * @param failed is given the error where it is not that the lease is gone
   * @returns the token of what was stored; undefined when an invalidation, an eviction or a lost connection came between
   */
  store(item: Item, ttlSeconds: number, failed: (error: unknown) => void): Promise<Token | undefined> {
    return this.#finish((token) => {
      const storing = this.#backend.replace(this.key, token, item, ttlSeconds);
      // What the server refused (too large, no memory) must not keep others waiting for the end of the lease.
      storing
        .catch((error: unknown) => {
          failed(error);
          return this.#giveBack(token);
        })
        .catch(() => undefined);
      return storing;
    });
  }

  /** Gives the lease back, so that the next caller gets it at once. True when it still stood until then. */
  async release(): Promise<boolean> {
    const released = await this.#finish(async (token) => ((await this.#giveBack(token)) ? token : undefined));
    return released !== undefined;
  }

  async #giveBack(token: Token): Promise<boolean> {
    if (this.#kept === "a fresh value") return false;
    return await (this.#kept === "nothing"
      ? this.#backend.drop(this.key, token)
      : this.#backend.expire(this.key, token));
  }

  /** Sends at once where no renewal is under way, so that the order of this tick's commands is kept. */
  #finish(send: (token: Token) => Promise<Token | undefined>): Promise<Token | undefined> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const now = (): Promise<Token | undefined> => {
      const token = this.#token;
      this.#token = undefined;
      if (token === undefined) return Promise.resolve(undefined);
      return send(token).catch(() => undefined);
    };
    return this.#renewal === undefined ? now() : this.#renewal.then(now);
  }

  #schedule(): void {
    this.#timer = this.#clock.after((this.#seconds * 1000) / 3, () => {
      this.#exchange((token) => this.#backend.renew(this.key, token, this.#seconds));
    });
  }

  /**
   * What is computed for longer than the stale value may be served would otherwise be computed by the next reader, too. One that is
   * kept for a second or two is still there for half of that, should the loader fail.
   */
  #outlive(keptMs: number): void {
    this.#timer = this.#clock.after(Math.max(keptMs / 2, keptMs - swapAheadMs), () => {
      this.#kept = "nothing";
      this.#exchange((token) => this.#backend.claim(this.key, token, this.#seconds));
    });
  }

  #exchange(send: (token: Token) => Promise<Token | undefined>): void {
    const token = this.#token;
    if (token === undefined) return;
    this.#renewal = send(token)
      .catch(() => undefined)
      .then((renewed) => {
        this.#renewal = undefined;
        this.#token = renewed;
        if (renewed !== undefined && this.#timer !== undefined) this.#schedule();
        return undefined;
      });
  }
}
