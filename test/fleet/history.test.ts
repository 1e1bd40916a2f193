/** The judge of the fleet tests, judged: it must see every kind of wrong page, and accuse no right one. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { History, type Change } from "./history.ts";

const add = (text: string, sentAt: number, answeredAt: number): Change => ({ kind: "add", text, sentAt, answeredAt });
const remove = (text: string, sentAt: number, answeredAt: number): Change => ({
  kind: "remove",
  text,
  sentAt,
  answeredAt,
});

function history(...changes: readonly Change[]): History {
  const noted = new History();
  for (const change of changes) noted.note(change);
  return noted;
}

/** The kinds of findings about a page that was asked for at 10 and came at 11. */
function kinds(noted: History, texts: readonly string[]): string[] {
  return noted.judge({ texts, sentAt: 10, answeredAt: 11 }).map((finding) => finding.kind);
}

describe("a page", () => {
  test("that lacks an item added before is stale", () =>
    assert.deepEqual(kinds(history(add("a", 1, 2)), []), ["stale: lacks an item"]));
  test("that shows an item removed before is stale", () =>
    assert.deepEqual(kinds(history(add("a", 1, 2), remove("a", 3, 4)), ["a"]), ["stale: shows a removed item"]));
  test("may or may not show what was added meanwhile", () => {
    assert.deepEqual(kinds(history(add("a", 9, 12)), []), []);
    assert.deepEqual(kinds(history(add("a", 9, 12)), ["a"]), []);
  });
  test("may or may not show what was removed meanwhile", () => {
    assert.deepEqual(kinds(history(add("a", 1, 2), remove("a", 9, 12)), []), []);
    assert.deepEqual(kinds(history(add("a", 1, 2), remove("a", 9, 12)), ["a"]), []);
  });
  test("may or may not show what was added by a request whose answer was lost", () => {
    assert.deepEqual(kinds(history(add("a", 1, Infinity)), []), []);
    assert.deepEqual(kinds(history(add("a", 1, Infinity)), ["a"]), []);
  });
  test("cannot show what was added later, by nobody, or twice", () => {
    assert.deepEqual(kinds(history(add("a", 12, 13)), ["a"]), ["from the future"]);
    assert.deepEqual(kinds(history(), ["a"]), ["unknown item"]);
    assert.deepEqual(kinds(history(add("a", 1, 2)), ["a", "a"]), ["doubled"]);
  });
  test("keeps the order of items that were added one after the other", () => {
    const noted = history(add("a", 1, 2), add("b", 3, 4));
    assert.deepEqual(kinds(noted, ["a", "b"]), []);
    assert.deepEqual(kinds(noted, ["b", "a"]), ["out of order"]);
    assert.deepEqual(kinds(history(add("a", 1, 4), add("b", 3, 5)), ["b", "a"]), []);
  });
});

test("an item that two requests took away is doubled, and one that nobody added is unknown", () => {
  const noted = history(add("a", 1, 2), remove("a", 3, 4), remove("a", 3, 5), remove("b", 3, 4));
  assert.deepEqual(
    noted.lossesAndDoubles().map(({ kind, text }) => [kind, text]),
    [
      ["doubled", "a"],
      ["unknown item", "b"],
    ],
  );
});

/** A queue that is always right: operations take effect at one moment each, between being sent and being answered. */
const truths = fc.array(
  fc.record({
    at: fc.integer({ min: 0, max: 100 }),
    before: fc.nat(5),
    after: fc.nat(5),
    what: fc.constantFrom("add", "remove", "view"),
  }),
  { maxLength: 40 },
);

test("no page of a queue that is always right is accused", () =>
  fc.assert(
    fc.property(truths, (operations) => {
      const noted = new History();
      const queue: string[] = [];
      const views = [];
      // Effects at distinct moments: the position breaks ties.
      for (const [position, { at, before, after, what }] of operations.toSorted((a, b) => a.at - b.at).entries()) {
        const moment = at + position / 1000;
        const span = { sentAt: moment - before - 0.0001, answeredAt: moment + after + 0.0001 };
        if (what === "add") {
          queue.push(`item ${position}`);
          noted.note({ kind: "add", text: `item ${position}`, ...span });
        } else if (what === "remove") {
          const text = queue.shift();
          if (text !== undefined) noted.note({ kind: "remove", text, ...span });
        } else views.push({ texts: [...queue], ...span });
      }
      assert.deepEqual(
        views.flatMap((view) => noted.judge(view)),
        [],
      );
      assert.deepEqual(noted.lossesAndDoubles(), []);
      assert.deepEqual(noted.remaining(), queue);
    }),
  ));
