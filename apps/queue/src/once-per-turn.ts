/** One question for all who ask in the same turn of the event loop. */

/**
 * `ask`, called once for all callers of one turn. It is called after the last of them, so each gets what it would have got by
 * itself; a busy process asks a tenth as often.
 */
export function oncePerTurn<Answer>(ask: () => Promise<Answer>): () => Promise<Answer> {
  let asking: Promise<Answer> | undefined;
  return () => {
    asking ??= new Promise((resolve) => {
      setImmediate(() => {
        asking = undefined;
        resolve(ask());
      });
    });
    return asking;
  };
}
