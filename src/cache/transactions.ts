/**
 * Reads inside a transaction of the outbox: what they may take from the cache, and what they must not give to it.
 *
 * A transaction sees its own writes, and the cache must not hide them: what it said it touches is computed, past the
 * cache. What it loads may never be committed, so nothing that is computed inside is stored or shared with callers
 * outside, and no lease is taken or waited for while the transaction holds its locks. Hits of anything else are served.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { isRawTag, namedBy, visibleTags } from "./keys.ts";

/** A transaction that is open around a caller. */
export interface OpenTransaction {
  /** False once it was committed or rolled back; what still runs from inside it is outside then. */
  readonly open: boolean;
  /** The one that was open around it when it began. */
  readonly outer: OpenTransaction | undefined;
  /** Whether it has named this key, or one of these tags, as changed. */
  touches(namespace: string, key: string, tags: readonly string[]): boolean;
}

const around = new AsyncLocalStorage<OpenTransaction>();
/** How many are open in this process: where there are none, a read pays nothing. */
let running = 0;

/** Runs `work` inside `transaction`. */
export async function insideTransaction<R>(transaction: OpenTransaction, work: () => Promise<R>): Promise<R> {
  running += 1;
  try {
    return await around.run(transaction, work);
  } finally {
    running -= 1;
  }
}

/** The transaction that is open around the caller. */
export function openTransaction(): OpenTransaction | undefined {
  if (running === 0) return undefined;
  let transaction = around.getStore();
  // What an inner one left running is still inside of the outer one.
  while (transaction?.open === false) transaction = transaction.outer;
  return transaction;
}

/** Whether `transaction` has named this key, or anything that its value was made from: the tags are those of the value. */
export function touchesAny(
  transaction: OpenTransaction,
  namespace: string,
  key: string,
  tags: readonly string[],
): boolean {
  if (transaction.touches(namespace, key, visibleTags(tags))) return true;
  return tags.some((tag) => isRawTag(tag) && touchesRaw(transaction, tag));
}

function touchesRaw(transaction: OpenTransaction, tag: string): boolean {
  const named = namedBy(tag);
  switch (named.kind) {
    case "key":
      return transaction.touches(named.namespace, named.name, []);
    case "tag":
      return transaction.touches(named.namespace, "", [named.name]);
    case "namespace":
      return false;
    case "digest":
    default:
      // A digest says nothing of its key, which may have been named.
      return true;
  }
}
