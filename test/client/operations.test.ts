/** Operations of several steps, on a clock of the test's own. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { createClient, type ClientOptions, type MemcachedClient } from "everfresh/client";
import { EverfreshError } from "#src/errors.ts";
import { systemClock, type Clock } from "#src/clock.ts";
import { freePort } from "../support/memcached.ts";
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

/** For what would go to a server that is not there: every failure must have somebody who waits for it. */
async function nowhere(options: Partial<ClientOptions>): Promise<MemcachedClient> {
  return createClient({ servers: `127.0.0.1:${await freePort()}`, splitLargeValues: true, ...options });
}

test("what is no key is refused before anything is done for it, also by commands of several steps", async (t) => {
  const client = await nowhere({ compression: { aboveBytes: 0 } });
  t.after(() => client.close());
  for (const key of [undefined, null, 5, {}, "", "k\ud800"]) {
    const wrong = key as string;
    await assert.rejects(client.touch(wrong, "1m"), { code: "EF_KEY" });
    await assert.rejects(client.incr(wrong, { initial: 1 }), { code: "EF_KEY" });
    await assert.rejects(client.set(wrong, randomBytes(3_000_000)), { code: "EF_KEY" });
  }
  assert.equal(client.numbers().connects, 0);
});

test("the failure of a part names the key that its caller wrote, and the part's server", async (t) => {
  const client = await nowhere({ compression: false });
  t.after(() => client.close());
  const [server] = client.servers().map(({ name }) => name);
  const failed = await client.set("film", randomBytes(3_000_000)).catch((error: unknown) => error as EverfreshError);
  assert.ok(failed instanceof EverfreshError);
  assert.deepEqual([failed.key, failed.command, failed.server], ["film", "store", server]);
});

test("a value whose time is over while its parts are being asked for fails once, and its parts with it", async (t) => {
  // Each look at the clock takes 400 ms.
  let looks = 0;
  const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + 400 * looks++ };
  const client = await nowhere({ clock, timeoutMs: 2000 });
  t.after(() => client.close());
  await assert.rejects(client.set("k", Buffer.alloc(9_000_000)), { code: "EF_TIMEOUT" });
  // Asked after the parts, it fails after them; in the next turn of the event loop Node tells of failures without a listener.
  await assert.rejects(client.get("k"));
  await new Promise(setImmediate);
});
