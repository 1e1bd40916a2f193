/** Numbers that a client keeps about itself. */
import type { Link } from "../connection/index.ts";
import type { ErrorCode } from "../errors.ts";

/** Counted by the typed commands. */
export class Counters {
  hits = 0;
  misses = 0;
}

type LinkNumbers = ReturnType<Link["numbers"]>;

/** Counted by links, summed. */
export class LinkSums implements LinkNumbers {
  answers = 0;
  bytesRead = 0;
  bytesWritten = 0;
  connects = 0;
  readonly failures: Partial<Record<ErrorCode, number>> = {};

  add(numbers: LinkNumbers): void {
    for (const name of ["answers", "bytesRead", "bytesWritten", "connects"] as const) this[name] += numbers[name];
    for (const [code, count] of Object.entries(numbers.failures) as [ErrorCode, number][])
      this.failures[code] = (this.failures[code] ?? 0) + count;
  }
}

/** A snapshot of a client's numbers, from its making to now. */
export interface ClientCounters {
  /** Reads that found something, and reads that did not; of many keys each counts. */
  readonly hits: number;
  readonly misses: number;
  /** Answers of any kind, bytes and connections, over all servers, also those that have left the list. */
  readonly answers: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly connects: number;
  /** Calls that failed, by the code of their error. */
  readonly failures: Readonly<Partial<Record<ErrorCode, number>>>;
}
