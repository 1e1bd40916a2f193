/**
 * The contract of a backend as tests: whoever writes one runs these over it.
 *
 * @example
 * import { backendContract } from "everfresh/testing";
 * backendContract("my backend", async () => ({ backend: await openMine() }));
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../clock.ts";
import { sameToken, type Backend, type Item, type Reading, type Token, type Want } from "../backend/index.ts";

/** A backend that is open, and how the suite may treat it. */
export interface OpenBackend {
  readonly backend: Backend;
  /** Lets so many milliseconds pass for the backend. Default: they pass. Tests of expiry wait 2 to 3 seconds. */
  readonly pass?: (ms: number) => Promise<void>;
  /** Drops the backend's connections, as a fault would; what is stored stays. Without it that test is left out. */
  readonly disconnect?: () => Promise<void>;
}

/** Registers the suite with `node:test`. */
export function backendContract(name: string, open: () => Promise<OpenBackend> | OpenBackend): void {
  describe(`the contract of a backend: ${name}`, { concurrency: false }, () => {
    let opened: OpenBackend;
    let backend: Backend;
    before(async () => {
      opened = await open();
      ({ backend } = opened);
    });
    after(() => backend.close());
    const pass = (ms: number): Promise<void> => (opened.pass ?? sleep)(ms);

    test("a missing key is absent to who only looks", async () => {
      assert.equal((await backend.read(key(), {})).kind, "absent");
    });

    test("of all who want the lease of a missing key one wins, and the others wait", async () => {
      const wire = key();
      const kinds = await Promise.all(Array.from({ length: 5 }, async () => (await backend.read(wire, lease)).kind));
      assert.deepEqual(kinds.toSorted(), ["leased", "leased", "leased", "leased", "won"]);
      assert.equal((await backend.read(wire, {})).kind, "absent");
    });

    test("the holder fills, once, and everybody reads what it stored", async () => {
      const wire = key();
      const token = await win(backend, wire);
      const stored = await backend.replace(wire, token, item("value"), 60);
      assert.ok(stored);
      assert.deepEqual(await text(backend, wire), "value");
      assert.equal(await backend.replace(wire, token, item("again"), 60), undefined);
      assert.deepEqual(await text(backend, wire), "value");
    });

    test("an invalidation that is confirmed keeps every older lease from filling", async () => {
      const wire = key();
      const token = await win(backend, wire);
      await backend.remove(wire);
      assert.equal(await backend.replace(wire, token, item("old"), 60), undefined);
      const next = await win(backend, wire);
      assert.equal(await backend.replace(wire, token, item("old"), 60), undefined, "also when a new lease stands");
      assert.ok(await backend.replace(wire, next, item("new"), 60));
      assert.equal(await text(backend, wire), "new");
    });

    test("so does one that would keep a value for a while, and it does so however the lease was made", async () => {
      const leases: ((wire: string) => Promise<Token | undefined>)[] = [
        (wire) => win(backend, wire),
        async (wire) => await backend.renew(wire, await win(backend, wire), 5),
        async (wire) => {
          await backend.put(wire, item("outdated"), 60, "set");
          return await backend.claim(wire, await found(backend, wire), 5);
        },
      ];
      for (const [index, make] of leases.entries())
        for (const keepSeconds of [0, 30]) {
          const wire = key();
          const token = await make(wire);
          assert.ok(token);
          await backend.remove(wire, keepSeconds);
          assert.equal(await backend.replace(wire, token, item("old"), 60), undefined, `${index}, ${keepSeconds}`);
        }
    });

    test("what is put in the place of a lease stays, whatever its holder does", async () => {
      const wire = key();
      const token = await win(backend, wire);
      await backend.put(wire, item("put"), 60, "set");
      assert.equal(await backend.replace(wire, token, item("computed"), 60), undefined);
      assert.equal(await text(backend, wire), "put");
    });

    test("an older version changes nothing of the one that stands, be that a lease or a value", async () => {
      const wire = key();
      const old = await win(backend, wire);
      await backend.remove(wire);
      const next = await win(backend, wire);
      const changesNothing = async (token: Token): Promise<void> => {
        assert.equal(await backend.renew(wire, token, 5), undefined);
        assert.equal(await backend.claim(wire, token, 5), undefined);
        assert.equal(await backend.expire(wire, token, 30), false);
        assert.equal(await backend.drop(wire, token), false);
      };
      await changesNothing(old);
      assert.ok(await backend.replace(wire, next, item("new"), 60), "its lease still stands");
      await changesNothing(next);
      assert.equal(await text(backend, wire), "new");
    });

    test("removing says whether something was there, and a lease counts as such or not", async () => {
      const wire = key();
      assert.equal(await backend.remove(wire), false);
      await backend.put(wire, item("x"), 60, "set");
      assert.equal(await backend.remove(wire), true);
      assert.equal((await backend.read(wire, {})).kind, "absent");
    });

    test("a value is taken over by one of all who try, and its version is then worth nothing", async () => {
      const wire = key();
      await backend.put(wire, item("outdated"), 60, "set");
      const token = await found(backend, wire);
      const claims = await Promise.all([1, 2, 3].map(() => backend.claim(wire, token, 5)));
      const won = claims.filter((claim) => claim !== undefined);
      assert.equal(won.length, 1);
      assert.equal((await backend.read(wire, lease)).kind, "leased");
      assert.equal(await backend.replace(wire, token, item("too late"), 60), undefined);
      assert.ok(won[0] && (await backend.replace(wire, won[0], item("new"), 60)));
    });

    test("a lease that was given back goes to the next caller at once", async () => {
      const wire = key();
      const token = await win(backend, wire);
      assert.equal(await backend.drop(wire, token), true);
      assert.equal(await backend.drop(wire, token), false);
      assert.equal(await backend.replace(wire, token, item("late"), 60), undefined);
      await win(backend, wire);
    });

    test("a lease ends by itself, and not while it is renewed", async () => {
      const [dead, alive] = [key(), key()];
      const over = await win(backend, dead, 2);
      let token = await win(backend, alive, 2);
      for (let round = 0; round < 3; round++) {
        await pass(1_000);
        const renewed = await backend.renew(alive, token, 3);
        assert.ok(renewed);
        token = renewed;
      }
      // It may have been invalidated since, which leaves no trace where nothing was.
      assert.equal(await backend.replace(dead, over, item("late"), 60), undefined);
      await win(backend, dead);
      assert.equal((await backend.read(alive, lease)).kind, "leased");
      assert.ok(await backend.replace(alive, token, item("slow"), 60));
    });

    test("what was renewed, taken over or dropped has another version", async () => {
      const wire = key();
      const token = await win(backend, wire);
      await backend.remove(wire);
      assert.equal(await backend.renew(wire, token, 5), undefined);
      assert.equal(await backend.drop(wire, token), false);
      assert.equal(await backend.claim(wire, token, 5), undefined);
    });

    test("put stores always, or only where nothing is", async () => {
      const wire = key();
      assert.equal(await backend.put(wire, item("first"), 0, "add"), true);
      assert.equal(await backend.put(wire, item("second"), 0, "add"), false);
      assert.equal(await text(backend, wire), "first");
      assert.equal(await backend.put(wire, item("third"), 0, "set"), true);
      assert.equal(await text(backend, wire), "third");
    });

    test("an item is gone when its time is over", async () => {
      const [wire, kept, filled, long] = [key(), key(), key(), key()];
      await backend.put(wire, item("short"), 1, "set");
      await backend.put(kept, item("short"), 60, "set");
      await backend.remove(kept, 1);
      await backend.replace(filled, await win(backend, filled), item("short"), 1);
      await backend.replace(long, await win(backend, long, 1), item("long"), 60);
      await pass(2_100);
      for (const gone of [wire, kept, filled]) assert.equal((await backend.read(gone, {})).kind, "absent");
      assert.equal(await text(backend, long), "long", "not when its lease would have been over");
    });

    test("who says which version it has is told that this is still the one, or gets the other", async () => {
      const wire = key();
      await backend.put(wire, item("one"), 60, "set");
      const known = await found(backend, wire);
      const same = await backend.read(wire, { ...lease, known });
      // A backend for which bytes cost nothing may send them again.
      assert.ok((same.kind === "same" || same.kind === "item") && sameToken(same.token, known));
      await backend.put(wire, item("two"), 60, "set");
      const other = await backend.read(wire, { ...lease, known });
      assert.ok(other.kind === "item" && other.item.bytes.toString() === "two");
      await backend.remove(wire);
      assert.equal((await backend.read(wire, { ...lease, known })).kind, "won");
    });

    test("every byte comes back, and so does a large item", async () => {
      const bytes = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256));
      const large = Buffer.concat(Array.from({ length: 1_500 }, () => bytes));
      for (const value of [bytes, large, Buffer.from("\r\nEND\r\n")]) {
        const wire = key();
        assert.equal(await backend.put(wire, { bytes: value, flags: 0 }, 60, "set"), true);
        const reading = await backend.read(wire, {});
        assert.ok(reading.kind === "item" && reading.item.bytes.equals(value));
      }
    });

    test("a sink is told what a promise would be, once, after the asking; what it was lent may be enough for it", async () => {
      if (backend.readInto === undefined) return;
      const into = (wire: string, want: Want, enough?: boolean): Promise<string> =>
        new Promise((resolve, reject) => {
          let asking = true;
          const told = (what: string): void => (asking ? reject(new Error("told within the call")) : resolve(what));
          backend.readInto?.(wire, want, {
            found: (reading) => told(reading.kind === "item" ? `item ${reading.item.bytes.toString()}` : reading.kind),
            failed: reject,
            ...(enough !== undefined && {
              glance(data, start, end) {
                if (enough) told(`glance ${data.toString("latin1", start, end)}`);
                return enough;
              },
            }),
          });
          asking = false;
        });
      const wire = key();
      assert.equal(await into(wire, {}, true), "absent");
      assert.equal(await into(wire, lease, true), "won");
      assert.equal(await into(wire, lease, true), "leased");
      await backend.put(wire, item("value"), 60, "set");
      for (const want of [{}, lease]) {
        assert.equal(await into(wire, want), "item value");
        assert.equal(await into(wire, want, false), "item value");
        assert.match(await into(wire, want, true), /^(?:glance|item) value$/);
      }
      if (!backend.keepsStale) return;
      await backend.remove(wire, 30);
      assert.equal(await into(wire, lease, true), "item value", "a stale one is not lent");
    });

    test("an invalidated item that is kept is stale, one reader wins its refresh, and a fill ends that", async () => {
      if (!backend.keepsStale) return;
      const wire = key();
      await backend.put(wire, item("old"), 60, "set");
      const old = await found(backend, wire);
      assert.equal(await backend.remove(wire, 30), true);
      assert.equal(await backend.replace(wire, old, item("older"), 60), undefined);
      const first = await backend.read(wire, lease);
      const second = await backend.read(wire, lease);
      assert.ok(first.kind === "item" && first.stale && first.won && first.item.bytes.toString() === "old");
      assert.ok(second.kind === "item" && second.stale && !second.won && second.leased);
      assert.equal(await backend.expire(wire, first.token, 30), true, "given back");
      const third = await backend.read(wire, lease);
      assert.ok(third.kind === "item" && third.won);
      assert.equal(await backend.expire(wire, third.token), true, "given back, for as long as it has left");
      const fourth = await backend.read(wire, { ...lease, ttl: true });
      assert.ok(fourth.kind === "item" && fourth.stale && fourth.won && fourth.item.bytes.toString() === "old");
      assert.ok(fourth.ttlSeconds === 30 || fourth.ttlSeconds === 29, `has ${fourth.ttlSeconds} s left`);
      assert.ok(await backend.replace(wire, fourth.token, item("new"), 60));
      const fresh = await backend.read(wire, lease);
      assert.ok(fresh.kind === "item" && !fresh.stale && !fresh.won && !fresh.leased);
    });

    test("an invalidation ends the refresh of what was kept, or is refreshed ahead, whether it keeps that or not", async () => {
      if (!backend.keepsStale) return;
      for (const keepSeconds of [0, 30])
        for (const isStale of [false, true]) {
          const wire = key();
          await backend.put(wire, item("old"), 10, "set");
          if (isStale) await backend.remove(wire, 30);
          const reading = await backend.read(wire, { ...lease, recache: 30 });
          assert.ok(reading.kind === "item" && reading.won);
          assert.equal(await backend.remove(wire, keepSeconds), true);
          assert.equal(await backend.replace(wire, reading.token, item("older"), 60), undefined);
          const next = await backend.read(wire, lease);
          assert.equal(next.kind === "item" ? next.stale && next.won : next.kind, keepSeconds > 0 ? true : "won");
        }
    });

    test("a refresh ahead of time is won by one reader, who has the value like the others", async () => {
      if (!backend.keepsStale) return;
      const wire = key();
      await backend.put(wire, item("soon old"), 10, "set");
      const want = { ...lease, recache: 30, ttl: true };
      const readings = await Promise.all([1, 2, 3].map(() => backend.read(wire, want)));
      assert.equal(readings.filter((reading) => reading.kind === "item" && reading.won).length, 1);
      assert.ok(readings.every((reading) => reading.kind === "item" && !reading.stale));
      assert.ok(readings.every((reading) => reading.kind === "item" && (reading.ttlSeconds ?? 99) <= 10));
      const winner = readings.find((reading) => reading.kind === "item" && reading.won);
      assert.ok(winner?.kind === "item" && (await backend.replace(wire, winner.token, item("new"), 60)));
      assert.equal(await text(backend, wire), "new");
    });

    test("a version is worth nothing on another connection", async (context) => {
      if (opened.disconnect === undefined) {
        context.diagnostic("left out: this backend has no connections that could be lost");
        return;
      }
      const wire = key();
      const token = await win(backend, wire);
      await opened.disconnect();
      const outcome = await backend.replace(wire, token, item("late"), 60).catch(() => undefined);
      assert.equal(outcome, undefined);
    });

    test("a key has one home, whatever happens", async () => {
      const wire = key();
      const names = backend.servers().map(({ name: server }) => server);
      const home = backend.serverOf(wire);
      assert.ok(names.includes(home));
      await backend.put(wire, item("x"), 60, "set");
      assert.equal(backend.serverOf(wire), home);
      assert.doesNotMatch(backend.describe(), /\n/);
    });
  });
}

const lease = { lease: 5 };
let number = 0;

function key(): string {
  return `contract=${process.pid}.${number++}`;
}

function item(value: string): Item {
  return { bytes: Buffer.from(value), flags: 0 };
}

async function win(backend: Backend, wire: string, seconds = 5): Promise<Token> {
  const reading: Reading = await backend.read(wire, { lease: seconds });
  if (reading.kind !== "won") throw new Error(`expected to win the lease, and it was ${reading.kind}`);
  return reading.token;
}

async function found(backend: Backend, wire: string): Promise<Token> {
  const reading = await backend.read(wire, {});
  if (reading.kind !== "item") throw new Error(`expected an item, and it was ${reading.kind}`);
  return reading.token;
}

async function text(backend: Backend, wire: string): Promise<string | undefined> {
  const reading = await backend.read(wire, {});
  return reading.kind === "item" ? reading.item.bytes.toString() : undefined;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => systemClock.after(ms, resolve));
}
