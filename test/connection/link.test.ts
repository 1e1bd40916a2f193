/** A link on a transport and a clock of the test's own: order, deadlines, coming back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EverfreshError } from "everfresh/client";
import type { Clock } from "#src/clock.ts";
import { backoffMs } from "#src/connection/backoff.ts";
import { Call } from "#src/connection/call.ts";
import { Fifo } from "#src/connection/fifo.ts";
import { planHandshake } from "#src/connection/handshake.ts";
import { Link } from "#src/connection/link.ts";
import type { TransportEvents } from "#src/connection/transport.ts";
import { politely } from "../support/peers.ts";

/** Time that moves when the test moves it. */
class TestClock implements Clock {
  #now = 1000;
  #timers: { at: number; run: () => void }[] = [];
  now(): number {
    return this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  after(delayMs: number, run: () => void): { cancel: () => void } {
    const timer = { at: this.#now + delayMs, run };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((each) => each !== timer)) };
  }
  /** Time goes by while the process is too busy to run anything. */
  heldUp(ms: number): void {
    this.#now += ms;
  }
  get timers(): number {
    return this.#timers.length;
  }
  /** Moves time, and lets what was due run in its order. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#now = Math.max(this.#now, next.at);
      this.#timers = this.#timers.filter((each) => each !== next);
      next.run();
      await turn();
    }
    this.#now = end;
  }
}

/** Lets everything that was queued run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A link and what it does: every incarnation with its events and what was written on it. */
function rig(options: { maxPending?: number; room?: boolean; patienceMs?: number; protocol?: "auto" } = {}) {
  const clock = new TestClock();
  const made: { events: TransportEvents; writes: string[]; ended: boolean }[] = [];
  const state = { room: options.room ?? true };
  const link = new Link({
    server: "s:1",
    open: (events) => {
      const one = { events, writes: [] as string[], ended: false };
      made.push(one);
      const finish = (): void => {
        if (one.ended) return;
        one.ended = true;
        // As a socket does.
        setImmediate(() => events.closed(undefined));
      };
      return {
        asksForEnds: false,
        send(out) {
          one.writes.push(out.text);
          out.clear(true);
          return state.room;
        },
        end: finish,
        destroy: finish,
      };
    },
    plan: planHandshake(options.protocol ?? "meta", undefined, "auto", false),
    connectTimeoutMs: 500,
    patienceMs: options.patienceMs ?? 1,
    maxPending: options.maxPending ?? 100,
    valueLimitBytes: 1000,
    backoff: { firstMs: 100, longestMs: 1000 },
    clock,
    random: { fraction: () => 1, bytes: (length) => new Uint8Array(length) },
  });
  const ask = (key: string, timeoutMs = 1000): Promise<string> => {
    const call = new Call<string>(
      "get",
      key,
      false,
      3,
      undefined,
      undefined,
      undefined,
      timeoutMs,
      undefined,
      false,
      (answer) => answer.kind,
    );
    link.send(call);
    return call.promise.catch((error: unknown) => (error instanceof EverfreshError ? error.code : String(error)));
  };
  /** Opens the newest incarnation and answers its greeting. */
  const greet = async (): Promise<void> => {
    const newest = made.at(-1) ?? assert.fail("nothing was opened");
    newest.events.opened();
    await turn();
    newest.events.received(Buffer.from("VERSION 1.6.18\r\nMN\r\nMN\r\nMN\r\nMN\r\n"));
    await turn();
  };
  const say = (text: string): void => made.at(-1)?.events.received(Buffer.from(text));
  return { link, clock, made, state, ask, greet, say };
}

test("all calls of a tick leave in one write, in their order, and the answers find their callers", async () => {
  const { ask, greet, made, say } = rig();
  const first = ask("a");
  await turn();
  await greet();
  const more = [ask("b"), ask("c"), ask("d")];
  await turn();
  assert.deepEqual(made[0]?.writes.slice(1), ["mg a k v f\r\n", "mg b k v f\r\nmg c k v f\r\nmg d k v f\r\n"]);
  say(`${politely("mg a")}${politely("mg b")}EN kc\r\n${politely("mg d")}`);
  assert.deepEqual(await Promise.all([first, ...more]), ["hit", "hit", "miss", "hit"]);
});

test("one timer serves all deadlines, and each call ends at its own", async () => {
  const { ask, greet, clock } = rig();
  const warm = ask("warm", 100_000);
  await turn();
  await greet();
  const ended: string[] = [];
  const calls = [300, 100, 200].map((ms) =>
    ask(`k${ms}`, ms).then((code) => ended.push(`${ms} ${code} at ${clock.now() - 1000}`)),
  );
  await turn();
  assert.equal(clock.timers, 1);
  await clock.pass(1000);
  await Promise.all(calls);
  assert.deepEqual(
    ended.map((line) => line.split(" ")[1]),
    ["EF_TIMEOUT", "EF_TIMEOUT", "EF_TIMEOUT"],
  );
  assert.deepEqual(
    ended.map((line) => line.split(" ")[0]),
    ["100", "200", "300"],
  );
  void warm;
});

test("a connection that says nothing for a whole deadline is given up; one that says something gets another", async () => {
  const { ask, greet, clock, made, say, link } = rig();
  const first = ask("a", 100);
  await turn();
  await greet();
  const second = ask("b", 100);
  await turn();
  await clock.pass(50);
  say(politely("mg a"));
  assert.equal(await first, "hit");
  await clock.pass(60);
  assert.equal(await second, "EF_TIMEOUT");
  assert.equal(made[0]?.ended, false);
  await clock.pass(100);
  assert.equal(made[0]?.ended, true);
  assert.equal(link.state, "idle");
});

test("one caller's short deadline ends its own call, not the connection of all", async () => {
  const { ask, greet, clock, made, say } = rig({ patienceMs: 1000 });
  const hasty = ask("hasty", 5);
  await turn();
  await greet();
  const other = ask("other", 1000);
  await turn();
  await clock.pass(300);
  assert.equal(await hasty, "EF_TIMEOUT");
  say(politely("mg hasty") + politely("mg other"));
  assert.equal(await other, "hit");
  const silent = ask("silent", 5);
  await turn();
  await clock.pass(999);
  assert.equal(await silent, "EF_TIMEOUT");
  assert.deepEqual([made.length, made[0]?.ended], [1, false]);
  await clock.pass(2);
  assert.equal(made[0]?.ended, true);
});

test("a call that waits while a hung connection is replaced ends by its own deadline, and so does closing", async () => {
  const { ask, greet, clock, say, state, link } = rig();
  const first = ask("a");
  await turn();
  await greet();
  say(politely("mg a"));
  await first;
  state.room = false;
  const hung = ask("hung", 100);
  await turn();
  const waiting = ask("waiting", 150);
  await turn();
  await clock.pass(110);
  assert.equal(await hung, "EF_TIMEOUT");
  assert.equal(link.state, "connecting");
  await greet();
  assert.equal(link.state, "up");
  const settled = link.settled();
  await clock.pass(50);
  assert.equal(link.pending, 1);
  assert.equal(await Promise.race([waiting, turn()]), "EF_TIMEOUT");
  await settled;
});

test("without room nothing is written, and calls whose deadline passes meanwhile never are", async () => {
  const { ask, greet, clock, made, say, state } = rig();
  const first = ask("a", 5000);
  await turn();
  await greet();
  say(politely("mg a"));
  await first;
  state.room = false;
  const blocked = ask("b", 5000);
  await turn();
  const late = ask("late", 50);
  const patient = ask("patient", 5000);
  await turn();
  await clock.pass(60);
  assert.equal(await late, "EF_TIMEOUT");
  state.room = true;
  made[0]?.events.drained();
  await turn();
  assert.equal(made[0]?.writes.at(-1), "mg patient k v f\r\n");
  say(politely("mg b") + politely("mg patient"));
  assert.deepEqual(await Promise.all([blocked, patient]), ["hit", "hit"]);
});

test("a server that is down is probed with growing intervals, and calls fail at once meanwhile", async () => {
  const { ask, clock, made, greet, link } = rig();
  const first = ask("a");
  await turn();
  made[0]?.events.closed(new Error("refused"));
  assert.equal(await first, "EF_SERVER_DOWN");
  const tries: number[] = [];
  for (let step = 0; step < 400; step++) {
    const before = made.length;
    await clock.pass(10);
    if (made.length > before) {
      tries.push(clock.now() - 1000);
      made.at(-1)?.events.closed(new Error("refused"));
    }
    assert.equal(link.state, "down");
  }
  assert.deepEqual(tries, [100, 300, 700, 1500, 2500, 3500]);
  assert.equal(await ask("b"), "EF_SERVER_DOWN");
  await clock.pass(600);
  await greet();
  assert.equal(link.state, "up");
});

test("calls do not wait for the probe of a server that is down; they are sent again once it has answered", async () => {
  const { ask, clock, made, greet, link, say } = rig();
  const first = ask("a");
  await turn();
  await clock.pass(500);
  assert.equal(await first, "EF_SERVER_DOWN");
  await clock.pass(100);
  assert.equal(made.length, 2);
  made[1]?.events.opened();
  await turn();
  assert.equal(link.state, "down");
  assert.equal(await Promise.race([ask("b"), turn()]), "EF_SERVER_DOWN");
  // That probe hangs, too; the next one comes after its time, not before.
  await clock.pass(500);
  assert.equal(made.length, 2);
  await clock.pass(400);
  assert.equal(made.length, 3);
  await greet();
  assert.equal(link.state, "up");
  const last = ask("c");
  await turn();
  say(politely("mg c"));
  assert.equal(await last, "hit");
});

test("a greeting that was hung up on does not change what is spoken from then on", async () => {
  const { ask, greet, made, say, link, clock } = rig({ protocol: "auto" });
  const first = ask("a");
  await turn();
  made[0]?.events.opened();
  made[0]?.events.closed(undefined);
  made[1]?.events.opened();
  await turn();
  say("VERSION 1.6.18\r\n".repeat(5));
  await turn();
  assert.equal(link.protocol, "text");
  made.at(-1)?.events.closed(undefined);
  assert.equal(await first, "EF_CONNECTION_LOST");
  const second = ask("b");
  await turn();
  await greet();
  assert.equal(link.protocol, "meta");
  say(politely("mg b"));
  assert.equal(await second, "hit");
  made.at(-1)?.events.closed(undefined);
  const third = ask("c");
  await turn();
  const before = made.length;
  made.at(-1)?.events.opened();
  made.at(-1)?.events.closed(undefined);
  // Meta has worked here, so it is not meta that the server hung up on.
  assert.deepEqual([await third, link.state, made.length], ["EF_SERVER_DOWN", "down", before]);
  await clock.pass(100);
  await greet();
  assert.equal(link.protocol, "meta");
});

test("closing waits for calls, not for the probe of a server that is down", async () => {
  const { ask, clock, made, link } = rig();
  const call = ask("a");
  await turn();
  made[0]?.events.closed(new Error("refused"));
  assert.equal(await call, "EF_SERVER_DOWN");
  await clock.pass(100);
  made[1]?.events.opened();
  await turn();
  link.drain();
  assert.equal(await Promise.race([link.settled().then(() => "settled"), turn()]), "settled");
  link.close();
});

test("a server that hangs after every greeting counts as down, though meta was refused before each", async () => {
  const { ask, clock, made, say, link } = rig({ protocol: "auto", patienceMs: 100 });
  for (let round = 1; round <= 3; round++) {
    const call = ask("a", 100);
    await turn();
    made.at(-1)?.events.opened();
    await turn();
    say("VERSION 1.4.0\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\n");
    await turn();
    made.at(-1)?.events.opened();
    await turn();
    say("VERSION 1.4.0\r\n".repeat(5));
    await turn();
    assert.deepEqual([link.protocol, link.state], ["text", "up"]);
    await clock.pass(200);
    assert.equal(await call, "EF_TIMEOUT");
    assert.equal(link.state, round < 3 ? "idle" : "down");
  }
});

test("a server that hangs up on the protocol that it knows is down; what it does not know is not the cause", async () => {
  const { ask, made, say, link } = rig({ protocol: "auto" });
  const connect = async (): Promise<void> => {
    await turn();
    made.at(-1)?.events.opened();
    await turn();
    say("ERROR\r\n".repeat(5));
    await turn();
    made.at(-1)?.events.opened();
    await turn();
  };
  const first = ask("a");
  await connect();
  say("VERSION 1.4.0\r\n".repeat(5));
  await turn();
  assert.equal(link.protocol, "text");
  made.at(-1)?.events.closed(undefined);
  assert.equal(await first, "EF_CONNECTION_LOST");
  const second = ask("b");
  await connect();
  made.at(-1)?.events.closed(undefined);
  assert.equal(await second, "EF_SERVER_DOWN");
});

test("a server that has too many connections is down, whatever would have been tried next", async () => {
  const { ask, made, link } = rig({ protocol: "auto" });
  const call = ask("a");
  await turn();
  made[0]?.events.opened();
  made[0]?.events.received(Buffer.from("ERROR Too many open connections\r\n"));
  await turn();
  made[0]?.events.closed(undefined);
  assert.equal(await call, "EF_SERVER_DOWN");
  assert.match(link.cause?.message ?? "", /Too many open connections/);
  assert.equal(made.length, 1);
});

test("a lost connection fails what was sent, and what was not sent goes over the next one", async () => {
  const { ask, greet, made, say, state } = rig();
  const first = ask("a");
  await turn();
  await greet();
  state.room = false;
  say(politely("mg a"));
  await first;
  const sent = ask("sent");
  await turn();
  const unsent = ask("unsent");
  await turn();
  state.room = true;
  made[0]?.events.closed(undefined);
  assert.equal(await sent, "EF_CONNECTION_LOST");
  await turn();
  assert.equal(made.length, 2);
  await greet();
  say(politely("mg unsent"));
  assert.equal(await unsent, "hit");
});

test("a call that is overdue when the connection comes is not sent, though no alarm has rung yet", async () => {
  const { ask, clock, greet, made, say } = rig();
  const late = ask("late", 50);
  const fine = ask("fine", 1000);
  await turn();
  clock.heldUp(60);
  await greet();
  assert.equal(await late, "EF_TIMEOUT");
  const written = made[0]?.writes.join("") ?? "";
  assert.match(written, /mg fine/);
  assert.doesNotMatch(written, /mg late/);
  say(politely("mg fine"));
  assert.equal(await fine, "hit");
});

test("a process that was held up while it connected gives the server its time once more, and then takes it for down", async () => {
  for (const answers of [true, false]) {
    const { ask, clock, greet, link, say } = rig();
    const asked = ask("k", 5000);
    await turn();
    clock.heldUp(600);
    await clock.pass(499);
    assert.equal(link.state, "connecting");
    if (answers) {
      await greet();
      say(politely("mg k"));
    } else await clock.pass(1);
    assert.equal(await asked, answers ? "hit" : "EF_SERVER_DOWN");
  }
});

test("more than maxPending calls are refused; answered ones make room", async () => {
  const { ask, greet, say } = rig({ maxPending: 2 });
  const calls = [ask("a"), ask("b"), ask("c")];
  assert.equal(await calls[2], "EF_OVERLOADED");
  await turn();
  await greet();
  say(politely("mg a"));
  assert.equal(await calls[0], "hit");
  const next = ask("d");
  await turn();
  say(politely("mg b") + politely("mg d"));
  assert.deepEqual(await Promise.all([calls[1], next]), ["hit", "hit"]);
});

test("calls that were given up while they waited for a connection leave their room to others", async () => {
  const { link, ask, clock, greet, say } = rig({ maxPending: 2 });
  const data = Buffer.alloc(100 * 2 ** 20);
  const store = (): Call<string> => {
    const call = new Call("store", "k", false, 0, data, 0, undefined, 1000, undefined, false, (answer) => answer.kind);
    link.send(call);
    return call;
  };
  const given = store();
  const first = ask("first");
  assert.equal(await ask("second"), "EF_OVERLOADED");
  await turn();
  given.abort("enough", "s:1");
  await assert.rejects(given.promise, { code: "EF_ABORTED" });
  clock.heldUp(10);
  const third = store();
  assert.equal(await ask("fourth"), "EF_OVERLOADED");
  await greet();
  say(politely("mg first") + politely("ms k"));
  assert.deepEqual([await first, await third.promise], ["hit", "stored"]);
});

test("values that cannot be sent are held up to a bound in bytes, not only in number", async () => {
  const { link, ask } = rig();
  const data = Buffer.alloc(50 * 2 ** 20);
  const codes = Array.from({ length: 4 }, () => {
    const call = new Call<string>(
      "store",
      "k",
      false,
      0,
      data,
      0,
      undefined,
      1000,
      undefined,
      false,
      (answer) => answer.kind,
    );
    link.send(call);
    return call.promise.catch((error: unknown) => (error as EverfreshError).code);
  });
  assert.deepEqual(await Promise.all(codes.slice(2)), ["EF_OVERLOADED", "EF_OVERLOADED"]);
  const small = ask("still fits");
  link.close();
  assert.equal(await small, "EF_CLOSED");
});

test("the waiting between tries doubles up to its bound and is jittered", () => {
  const options = { firstMs: 100, longestMs: 10_000 };
  assert.deepEqual(
    [1, 2, 3, 8, 1000].map((failures) => backoffMs(failures, options, 1)),
    [100, 200, 400, 10_000, 10_000],
  );
  fc.assert(
    fc.property(fc.nat(100), fc.double({ min: 0, max: 0.999, noNaN: true }), (failures, chance) => {
      const wait = backoffMs(failures, options, chance);
      assert.ok(wait >= 50 && wait <= 10_000 && wait <= backoffMs(failures, options, 1));
    }),
  );
});

test("the queue of calls behaves like an array", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat()), { maxLength: 500 }), (steps) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      for (const step of steps) {
        if (step === null) assert.equal(fifo.shift(), model.shift());
        else {
          fifo.push(step);
          model.push(step);
        }
        assert.deepEqual([fifo.length, fifo.peek(), fifo.at(model.length - 1)], [model.length, model[0], model.at(-1)]);
      }
    }),
  );
});
