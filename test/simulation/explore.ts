/** Who decides what happens next: everything in turn, or chance by a seed. */
import { World } from "./world.ts";
import type { WorldOptions } from "./world-options.ts";

/** What an exploration saw. */
export interface Explored {
  readonly runs: number;
  readonly states: number;
  readonly steps: number;
  /** Whether every order was tried; false when a limit ended it. */
  readonly complete: boolean;
}

/** A failure, with the order of events that leads to it. */
export class Found extends Error {
  constructor(cause: unknown, world: World, how: string) {
    super(`${cause instanceof Error ? cause.message : String(cause)}\n${how}\n${world.log.join("\n")}`, { cause });
  }
}

/**
 * Every order of events, depth first. A state that was seen before is not followed again: what can happen from it depends
 * on the servers, the database, what travels, and what each process has heard, and on nothing else.
 */
export async function exploreAll(options: WorldOptions, limitRuns = Infinity): Promise<Explored> {
  const seen = new Set<string>();
  const open: number[][] = [[]];
  let runs = 0;
  let steps = 0;
  for (let prefix = open.pop(); prefix !== undefined; prefix = open.pop()) {
    if (runs >= limitRuns) return { runs, states: seen.size, steps, complete: false };
    runs += 1;
    const world = new World(options);
    const path: number[] = [];
    try {
      for (;;) {
        const choices = world.options();
        if (choices.length === 0) {
          await world.finish();
          break;
        }
        let choice = prefix[path.length];
        if (choice === undefined) {
          const state = world.state();
          if (seen.has(state)) break;
          seen.add(state);
          for (let other = choices.length - 1; other >= 1; other -= 1) open.push([...path, other]);
          choice = 0;
        }
        path.push(choice);
        const chosen = choices[choice];
        if (chosen === undefined) throw new Error("the world is not the same when it is repeated");
        steps += 1;
        await world.step(chosen);
      }
    } catch (error) {
      throw new Found(error, world, `path ${JSON.stringify(path)} of ${JSON.stringify(options)}`);
    } finally {
      world.close();
    }
  }
  return { runs, states: seen.size, steps, complete: true };
}

/** One run in which chance, by `seed`, picks every event. Breaks are picked less often. */
export async function exploreAtRandom(options: WorldOptions, seed: number): Promise<World> {
  const world = new World(options);
  const random = generator(seed);
  try {
    for (let steps = 0; ; steps += 1) {
      const choices = world.options();
      if (choices.length === 0) break;
      if (steps > 20_000) throw new Error("it does not end");
      const plain = choices.filter((choice) => !choice.isBreak);
      const breaks = choices.filter((choice) => choice.isBreak);
      const from = breaks.length > 0 && (plain.length === 0 || random() < 0.04) ? breaks : plain;
      const chosen = from[Math.floor(random() * from.length)];
      if (chosen === undefined) break;
      await world.step(chosen);
    }
    await world.finish();
  } catch (error) {
    throw new Found(error, world, `seed ${seed} of ${JSON.stringify(options)}`);
  } finally {
    world.close();
  }
  return world;
}

/** mulberry32: small, and good enough to pick events. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
