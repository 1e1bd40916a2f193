/** Small worlds that more than one test uses. */
import type { Actor, Deed, WorldOptions } from "./world-options.ts";

/** A world of processes on one server: each actor is the number of its process and what it does, step after step. */
export function world(tags: readonly string[], ...actors: readonly (readonly [number, ...Deed[]])[]): WorldOptions {
  return {
    warm: true,
    prompt: "replies and loads",
    processes: Math.max(...actors.map(([process]) => process)) + 1,
    actors: actors.map(([process, ...does]): Actor => ({ process, does })),
    ...(tags.length > 0 && { tags }),
  };
}

export const readerAndWriter = world([], [0, "read"], [1, "write", "read"]);

export const twoReadersTwoWriters = world([], [0, "read"], [1, "write"], [2, "read"], [3, "write"]);

/** The relay is where the reader is, so that it outlives the writer. */
export const transactorAndReader: WorldOptions = {
  ...world([], [0, "read"], [1, "transact"]),
  outbox: "relayed",
  relays: [0],
};

/** The same with answers delayed at will. */
export function delayed(options: WorldOptions): WorldOptions {
  const all: WorldOptions & { prompt?: WorldOptions["prompt"] } = { ...options };
  delete all.prompt;
  return all;
}
