/** Entries and wrapped functions: what their arguments are to the key, and what is loaded for many. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { a, begin } from "./processes.ts";

beforeEach(() => begin(["fake:1", "fake:2", "fake:3"]));

describe("entries and wrapped functions", () => {
  test("many values are waited for where the arguments of one have no key", async () => {
    const ended: unknown[] = [];
    const load = async (id: unknown): Promise<never> => {
      await turn();
      ended.push(id);
      throw new Error("no database");
    };
    const entry = a.entry("row", { load });
    await assert.rejects(entry.getMany([[1], [Symbol("none")]]));
    assert.deepEqual(ended, [1]);
  });

  test("arguments that have no key are refused by the promise, so that whoever catches its errors catches that one", async () => {
    const entry = a.entry("row", { load: (id: unknown) => id });
    const wrapped = a.wrap("function", (id: unknown) => id);
    const refused = { code: "EF_OPTION", message: /give the entry a key/ };
    for (const name of ["get", "getEntry", "refresh", "invalidate"] as const) {
      const asked = entry[name](new Map());
      await assert.rejects(asked, refused);
    }
    const asked = wrapped(new Map());
    await assert.rejects(asked, refused);
    const untagged = a.entry("tagged", { load: (id: { name: string }) => id, tags: ({ name }) => [name] });
    const read = untagged.get(null as never);
    await assert.rejects(read, TypeError);
  });

  test("an entry loads many lists of arguments together", async () => {
    const calls: unknown[] = [];
    const songs = a.entry("song", {
      loadMany: (all: readonly [id: number, language: string][]) => {
        calls.push(all);
        return all.map(([id, language]) => (id === 9 ? undefined : `${id} ${language}`));
      },
      tags: (id) => [`song ${id}`],
    });
    assert.deepEqual(
      await songs.getMany([
        [1, "en"],
        [2, "de"],
        [9, "de"],
        [1, "en"],
      ]),
      ["1 en", "2 de", undefined, "1 en"],
    );
    assert.equal(calls.length, 1);
    assert.equal(await songs.get(1, "en"), "1 en");
    await a.invalidateTags(["song 1"]);
    await songs.getMany([
      [1, "en"],
      [2, "de"],
    ]);
    assert.deepEqual(calls[1], [[1, "en"]]);
  });

  test("the ttl of an entry may depend on its value", async () => {
    const entry = a.entry("n", { load: (value: number) => value, ttl: (value) => `${value}s` });
    assert.equal((await entry.getEntry(7)).ttlMs, 7_000);
  });

  test("a wrapped function computes once for equal arguments", async () => {
    let runs = 0;
    const square = a.wrap("square", (value: { n: number; m?: number }) => (runs++, value.n ** 2), { ttl: "1m" });
    assert.equal(await square({ n: 3 }), 9);
    assert.equal(await square({ n: 3 }), 9);
    assert.equal(await square({ n: 4 }), 16);
    assert.equal(runs, 2);
    assert.equal(await square.refresh({ n: 3 }), 9);
    assert.equal(runs, 3);
    assert.equal(square.key({ n: 1, m: 2 }), square.key(JSON.parse('{"m":2,"n":1}') as { n: number }));
  });

  test("other arguments, another key", () => {
    const entry = a.entry("e", { load: (...all: unknown[]) => all });
    const lists: unknown[][] = [
      [],
      [""],
      ["a", "b"],
      ["a,b"],
      ["a%2cb"],
      ["=7"],
      [7],
      ["7"],
      [7n],
      [null],
      ["null"],
      [undefined],
      [true],
      [["a", "b"]],
      [[["a"], "b"]],
      [{ a: "b" }],
      [{ a: ["b"] }],
      [Number.NaN],
      ["a", ""],
      ["", "a"],
      ["a", undefined],
      [{ max: Infinity }],
      [{ max: -Infinity }],
      [{ max: Number.NaN }],
      [{ max: null }],
      [{ max: 1n }],
      [{ max: 1 }],
      [[undefined]],
      [[null]],
      [[]],
      [Array.from({ length: 2 })],
      [[[]]],
      [new Date(0)],
      [new Date(0).toISOString()],
      [{ day: new Date(0) }],
      [{ day: new Date(0).toISOString() }],
    ];
    const keys = lists.map((args) => entry.key(...args));
    assert.equal(new Set(keys).size, lists.length, keys.join("\n"));
    assert.equal(entry.key({ max: undefined }), entry.key({}));
    const hole: unknown[] = [];
    hole.length = 1;
    assert.notEqual(entry.key(hole), entry.key([]));
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const strange of [
      new Map(),
      new Set(),
      [new URL("http://x/")],
      { f: () => 1 },
      Symbol("s"),
      { [Symbol("s")]: 1 },
      cycle,
    ])
      assert.throws(() => entry.key(strange), { code: "EF_OPTION", message: /give the entry a key/ });
    assert.throws(() => a.entry("a:b", { load: () => 1 }), { code: "EF_OPTION" });
  });
});
