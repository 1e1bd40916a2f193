/** Numbers that a client keeps about itself. */
import type { ErrorCode } from "../errors.ts";

/** Counted by the typed commands. */
export class Counters {
  hits = 0;
  misses = 0;
}

/** A snapshot of a client's numbers, from its making to now. */
export interface ClientCounters {
  /** Reads that found something, and reads that did not. */
  readonly hits: number;
  readonly misses: number;
  /** Answers of any kind, bytes and connections, over all servers. */
  readonly answers: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly connects: number;
  /** Calls that failed, by the code of their error. */
  readonly failures: Readonly<Partial<Record<ErrorCode, number>>>;
}
