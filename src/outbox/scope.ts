/** The transaction that the running code is part of, carried along its promises. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { TargetSet } from "./targets.ts";

/** What is known about the transaction that is open around the caller. */
export interface TransactionScope {
  /** The handle that the transaction was begun on. */
  readonly handle: object;
  /** What was named by `invalidate` so far. */
  readonly touched: TargetSet;
}

const scopes = new AsyncLocalStorage<TransactionScope>();

/** The innermost transaction around the caller; undefined outside of any. */
export function currentTransaction(): TransactionScope | undefined {
  return scopes.getStore();
}

/** Runs `work` as part of a transaction. */
export function inScope<R>(scope: TransactionScope, work: () => R): R {
  return scopes.run(scope, work);
}

/** Runs `work` as part of no transaction. */
export function outOfScope<R>(work: () => R): R {
  return scopes.exit(work);
}
