/** The contract between whoever reads a peer's bytes and whoever asked the questions. */
import type { Answer } from "./answer.ts";
import type { Command } from "./command.ts";

/** Who asked, in the order of asking. */
export interface Asker {
  /** The oldest command without a whole answer; undefined when nothing was asked. */
  oldest(): Command | undefined;
  /** Whether the oldest command's caller keeps a value as bytes. */
  keepsBytes(): boolean;
  /** An answer to the oldest command; with `last` it is whole, and the next command becomes the oldest. */
  answered(answer: Answer, last: boolean): void;
}

/** Reads one connection. */
export interface Reader {
  /**
   * Reads what arrived and tells the asker. `chunk` is lent until this returns.
   *
   * @throws EverfreshError `EF_PROTOCOL` when the peer broke the protocol; the reader must not be used again
   */
  feed(chunk: Buffer): void;
}

/** How much a peer may make us hold. */
export interface ReadLimits {
  /** The longest line, in bytes. */
  readonly lineBytes: number;
  /** The largest value that is kept, in bytes. A larger one is counted away and answered as `oversized`. */
  readonly valueBytes: number;
}

/** The largest size that a peer may announce for a value; beyond it, it is not waited for. */
export const longestValue = 2 ** 30;
