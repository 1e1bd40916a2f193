/** The transaction that is open around the running code, as the cache and the outbox see it. */
import { openTransaction, type OpenTransaction } from "../cache/index.ts";
import type { TargetSet } from "./targets.ts";

export class TransactionScope implements OpenTransaction {
  /** The handle that the transaction was begun on. */
  readonly handle: object;
  readonly #touched: TargetSet;
  open = true;

  constructor(handle: object, touched: TargetSet) {
    this.handle = handle;
    this.#touched = touched;
  }

  touches(namespace: string, key: string, tags: readonly string[]): boolean {
    if (this.#touched.size === 0) return false;
    return (
      this.#touched.has({ namespace, kind: "key", name: key }) ||
      tags.some((name) => this.#touched.has({ namespace, kind: "tag", name }))
    );
  }
}

/** Whether a transaction on `handle` is open around the caller. */
export function isInside(handle: object): boolean {
  const transaction = openTransaction();
  return transaction instanceof TransactionScope && transaction.handle === handle;
}
