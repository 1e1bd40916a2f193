/** The transaction that is open around the running code, as the cache and the outbox see it. */
import { openTransaction, type OpenTransaction } from "../cache/index.ts";
import type { TargetSet } from "./targets.ts";

export class TransactionScope implements OpenTransaction {
  /** The handle that the transaction was begun on. */
  readonly handle: object;
  /** The transaction on another database that is open around this one. */
  readonly outer: OpenTransaction | undefined = openTransaction();
  readonly #touched: TargetSet;
  open = true;

  constructor(handle: object, touched: TargetSet) {
    this.handle = handle;
    this.#touched = touched;
  }

  touches(namespace: string, key: string, tags: readonly string[]): boolean {
    if (this.outer?.open === true && this.outer.touches(namespace, key, tags)) return true;
    if (this.#touched.size === 0) return false;
    return (
      this.#touched.has({ namespace, kind: "key", name: key }) ||
      tags.some((name) => this.#touched.has({ namespace, kind: "tag", name }))
    );
  }
}

/** Whether a transaction on `handle` is open around the caller, next to it or further out. */
export function isInside(handle: object): boolean {
  let transaction = openTransaction();
  while (transaction instanceof TransactionScope) {
    if (transaction.open && transaction.handle === handle) return true;
    transaction = transaction.outer;
  }
  return false;
}
