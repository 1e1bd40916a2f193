/** Operations of several steps, on a clock of the test's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Operations, until } from "#src/client/operations.ts";
import { ManualClock } from "../support/manual-clock.ts";

test("work in the thread pool ends by the operation's deadline, and no step is sent after it", async () => {
  const clock = new ManualClock();
  const operations = new Operations(clock);
  const step = operations.begin({}, 200);
  const deadline = step[until];
  const never = operations.run(new Promise(() => undefined), deadline, { command: "set", key: "k" });
  const ended = assert.rejects(never, { code: "EF_TIMEOUT", command: "set", key: "k" });
  await clock.advance(150);
  assert.equal(operations.left(deadline), 50);
  const settled = operations.settled();
  await clock.advance(50);
  await ended;
  await settled;
  assert.throws(() => operations.left(deadline), { code: "EF_TIMEOUT" });
});
