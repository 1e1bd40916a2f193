/** The ways that a handshake plan allows, tried one after the other until the server understands one. */
import type { EverfreshError } from "../errors.ts";
import type { Approach } from "./handshake.ts";

/** Where one link stands in its plan, over all rounds of trying. */
export class Approaches {
  readonly #all: readonly Approach[];
  /** The one that is being tried; each round begins with the first. */
  #at = 0;
  /** The first one that ever worked here. */
  #best = Infinity;
  /** What became of the first one in this round. */
  #firstCause: EverfreshError | undefined = undefined;

  constructor(all: readonly Approach[]) {
    this.#all = all;
  }

  /** The one that is being tried. */
  get present(): Approach | undefined {
    return this.#all[this.#at];
  }

  /** Begins a round. */
  begin(): void {
    this.#at = 0;
    this.#firstCause = undefined;
  }

  /** The server has understood the present one. */
  worked(): void {
    this.#best = Math.min(this.#best, this.#at);
  }

  /**
   * Goes on to the next one. Another approach may do where the server did not understand this one, or hung up on it. A
   * server that once understood it hangs up for other reasons.
   *
   * @param wasOpen whether the connection that `cause` ended had ever been open
   * @returns undefined, or where no other will do: why the server cannot be used
   */
  next(cause: EverfreshError, wasOpen: boolean): EverfreshError | undefined {
    // mcrouter calls what it does not know a "malformed request" of the client's.
    const misunderstood = ["EF_UNSUPPORTED", "EF_PROTOCOL", "EF_CLIENT_ERROR"].includes(cause.code);
    const hungUp = cause.code === "EF_CONNECTION_LOST" && wasOpen;
    if (!misunderstood && !hungUp) return cause;
    this.#firstCause ??= cause;
    if (hungUp && this.#at === this.#best) return cause;
    if (this.#at + 1 === this.#all.length) return this.#firstCause;
    this.#at++;
    return undefined;
  }
}
