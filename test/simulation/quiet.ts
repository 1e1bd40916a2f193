/** Knows when nothing moves any more by itself. */
const nextTurn = globalThis.setImmediate;
const turns = { asked: 0 };

// The cache collects the questions of a turn of the event loop; a world is quiet when nobody waits for a turn any more.
globalThis.setImmediate = ((callback: (...args: unknown[]) => void, ...args: unknown[]) => {
  turns.asked += 1;
  return nextTurn(() => {
    turns.asked -= 1;
    callback(...args);
  });
}) as typeof setImmediate;

/** Waits until nothing moves: all promises, ticks and turns that follow from the last event have run. */
export async function quiet(): Promise<void> {
  do
    await new Promise((resolve) => {
      nextTurn(resolve);
    });
  while (turns.asked > 0);
}
