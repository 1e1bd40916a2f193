/** Invalidations that wait for their server: how many may wait, and what becomes of them. */
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, test } from "node:test";
import { Deliveries, type Delivery } from "#src/cache/deliveries.ts";
import type { Clock } from "#src/clock.ts";
import { seededRandom } from "../support/manual-clock.ts";

const limit = 100_000;
const deadlineMs = 2_000;

/** Timers that fire when the test says so; there are too many here to look for the next one. */
class Timers implements Clock {
  readonly #set = new Set<{ readonly ms: number; readonly callback: () => void }>();

  now(): number {
    return 0;
  }

  monotonic(): number {
    return 0;
  }

  after(ms: number, callback: () => void): { cancel: () => void } {
    const timer = { ms, callback };
    this.#set.add(timer);
    return { cancel: () => void this.#set.delete(timer) };
  }

  fire(which: (ms: number) => boolean): void {
    for (const timer of this.#set)
      if (which(timer.ms)) {
        this.#set.delete(timer);
        timer.callback();
      }
  }
}

let timers: Timers;
let deliveries: Deliveries;
let isUp: boolean;

const hot = (): Delivery => ({
  server: "fake:1",
  key: "n=hot",
  attempt: () => (isUp ? Promise.resolve() : Promise.reject(new Error("down"))),
});

/** So many calls for one key; what is counted is how they ended. */
function crowd(size: number): { confirmed: number; refused: number } {
  const outcomes = { confirmed: 0, refused: 0 };
  for (let count = 0; count < size; count++)
    deliveries.deliver(hot(), deadlineMs).then(
      () => outcomes.confirmed++,
      (error: { code?: string }) => {
        assert.equal(error.code, "EF_INVALIDATION_PENDING");
        return outcomes.refused++;
      },
    );
  return outcomes;
}

async function retry(): Promise<void> {
  timers.fire((ms) => ms !== deadlineMs);
  for (let count = 0; count < 5; count++) await turn();
}

beforeEach(() => {
  timers = new Timers();
  deliveries = new Deliveries(timers, seededRandom(1));
  isUp = false;
  deliveries.push(hot());
});

test("as many as may wait for one key are told when the server is back, and what is more is told at once that it is pending", async () => {
  const outcomes = crowd(limit + 50);
  await turn();
  assert.deepEqual(outcomes, { confirmed: 0, refused: 50 });
  await retry();
  assert.equal(deliveries.blocked("fake:1"), true);
  isUp = true;
  await retry();
  assert.deepEqual(outcomes, { confirmed: limit, refused: 50 });
  assert.equal(deliveries.blocked("fake:1"), false);
});

test("whose deadline has passed takes nobody's place, also where an attempt was on its way", async () => {
  const first = crowd(limit);
  timers.fire((ms) => ms !== deadlineMs);
  timers.fire((ms) => ms === deadlineMs);
  await retry();
  assert.deepEqual(first, { confirmed: 0, refused: limit });
  const second = crowd(limit);
  await turn();
  assert.deepEqual(second, { confirmed: 0, refused: 0 });
  isUp = true;
  await retry();
  assert.deepEqual(second, { confirmed: limit, refused: 0 });
});

test("one that the server does not take for a reason of its own does not keep the others back", async () => {
  const done: string[] = [];
  const other = (key: string): Delivery => ({
    server: "fake:1",
    key,
    attempt: () => Promise.resolve(void done.push(key)),
  });
  for (const key of ["a", "b", "c"]) deliveries.push(other(key));
  for (let count = 0; count < 4; count++) await retry();
  assert.deepEqual(done, ["a", "b", "c"]);
  assert.equal(deliveries.blocked("fake:1"), true);
  isUp = true;
  await retry();
  assert.equal(deliveries.blocked("fake:1"), false);
});
