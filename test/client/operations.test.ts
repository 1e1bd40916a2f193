/** Operations of several steps, on a clock of the test's own. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
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

test("work in the thread pool ends when its caller gives up, before or meanwhile", async () => {
  const operations = new Operations(new ManualClock());
  const controller = new AbortController();
  const run = (): Promise<unknown> =>
    operations.run(new Promise(() => undefined), 200, { command: "set", key: "k" }, controller.signal);
  const ended = { code: "EF_ABORTED", command: "set", key: "k", cause: "enough" };
  const meanwhile = assert.rejects(run(), ended);
  controller.abort("enough");
  await meanwhile;
  await assert.rejects(run(), ended);
  await operations.settled();
  const other = new AbortController();
  await operations.run(Promise.resolve(), 200, { command: "set" }, other.signal);
  assert.equal(getEventListeners(other.signal, "abort").length, 0);
});
