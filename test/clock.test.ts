/** The system's clock, in what it does beyond the system. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#src/clock.ts";

test("a delay that is longer than the system can wait is the longest that it can, not none", (t) => {
  const delays: unknown[] = [];
  t.mock.method(globalThis, "setTimeout", (_callback: unknown, delay: unknown) => {
    delays.push(delay);
    return { unref: () => undefined };
  });
  for (const delayMs of [10, 25 * 24 * 60 * 60 * 1000, Infinity]) systemClock.after(delayMs, () => undefined);
  assert.deepEqual(delays, [10, 2_147_483_647, 2_147_483_647]);
});
