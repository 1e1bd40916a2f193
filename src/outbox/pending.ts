/** The error of a transaction that committed while a cache was away. */
import { EverfreshError } from "../errors.ts";
import type { Target } from "./targets.ts";

/**
 * **The data is committed.** Some of its invalidations could not be confirmed in time; they are rows of the outbox, and the
 * relays deliver them as soon as the cache can be reached. Running the transaction again would write the data twice.
 */
export class InvalidationPendingError extends EverfreshError {
  override readonly name = "InvalidationPendingError";
  /** Always true: what the transaction wrote is in the database. */
  readonly committed = true;
  /** What the transaction's callback returned. */
  readonly result: unknown;
  /** What is still to be delivered. */
  readonly pending: readonly Target[];

  constructor(pending: readonly Target[], result: unknown, cause: unknown) {
    const [first] = pending;
    super(
      "EF_INVALIDATION_PENDING",
      `The transaction IS COMMITTED; do not run it again. ${pending.length} of its invalidations could not be confirmed yet` +
        ` (the first: ${first === undefined ? "" : `${first.kind} ${first.name}`}); they are stored, and the relay delivers them.`,
      { cause, ...(first === undefined ? {} : { key: first.name }) },
    );
    this.pending = pending.map(({ namespace, kind, name }) => ({ namespace, kind, name }));
    this.result = result;
  }
}
