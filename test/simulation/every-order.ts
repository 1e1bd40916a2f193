/** Tests that go through every order of events of a world. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { exploreAll } from "./explore.ts";
import type { Break, WorldOptions } from "./world-options.ts";
import { moreSimulation } from "../support/thoroughness.ts";

export const breaks: readonly Break[] = ["restart", "flush", "evict", "cut", "timeout", "kill", "pause"];

/** Whether there is time for what takes long. */
export const isLarge = moreSimulation >= 10;

async function holds(t: TestContext, options: WorldOptions): Promise<void> {
  const { complete, states, steps } = await exploreAll(options);
  t.diagnostic(`${states} states, ${steps} steps`);
  assert.ok(complete && states > 50, `${states} states, ${complete ? "complete" : "not complete"}`);
}

export function inEveryOrder(what: string, options: WorldOptions): void {
  test(`${what}: fresh in every order`, (t) => holds(t, options));
}

/** Nothing breaks, and then each of these once, at every point; the second list only where there is time. */
export function withEach(
  what: string,
  options: WorldOptions,
  kinds: readonly Break[],
  more: readonly Break[] = [],
): void {
  inEveryOrder(what, options);
  for (const kind of isLarge ? [...kinds, ...more] : kinds)
    inEveryOrder(`${what}, with one ${kind} at any point`, { ...options, breaks: { [kind]: 1 } });
}
