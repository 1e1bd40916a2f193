/** What an error says to people. */

/** Where a name has several addresses, Node rejects with an AggregateError, whose own message is empty. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === "" ? ((error as NodeJS.ErrnoException).code ?? error.name) : error.message;
}
