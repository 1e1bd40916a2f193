/**
 * The client's readers against bytes that no server would send, found by coverage-guided fuzzing: whatever comes and
 * however it is cut, the readers tell the same, invent nothing, and fail with nothing but a typed error.
 *
 * `EVERFRESH_TEST_FUZZ=10` goes on for ten times as long, `EVERFRESH_TEST_SEED=<seed>` begins with the same inputs.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { chosenSeed, moreFuzzing } from "../support/thoroughness.ts";
import { Coverage, fuzz, type Draw } from "./coverage-fuzzer.ts";

// Only code that is loaded after this is watched, so the readers are loaded below it.
const coverage = new Coverage("/dist/protocol/");
after(() => coverage.stop());
const { hear, protocols, spoken } = await import("./conversations.ts");

const fuzzMs = 1500 * moreFuzzing;
const leastInputs = 1000;
const seed = chosenSeed ?? Date.now() % 1_000_000;

/** Numbers that repeat themselves from a seed (xorshift32). */
function generator(from: number): Draw {
  let state = from + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const words = {
  meta: [
    "VA ",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "ME ",
    "\r\n",
    " ",
    " k",
    " f",
    " c",
    " t-1",
    " s",
    " h1",
    " l",
    " O1",
    " W",
    " X",
    " Z",
  ],
  text: [
    "VALUE ",
    "END\r\n",
    "STORED\r\n",
    "STAT ",
    "CONFIG cluster 0 ",
    "NOT_FOUND\r\n",
    "TOUCHED\r\n",
    "\r\n",
    " ",
    "0 ",
    "1 ",
  ],
  binary: ["\u0081", "\u0081\u000c", "\0\0\0\u0004", "\0\0", "\0\u0001", "\0\u0020", "\u0000\u0081", "\r\n"],
};
const errors = [
  "ERROR\r\n",
  "CLIENT_ERROR x\r\n",
  "SERVER_ERROR object too large for cache\r\n",
  "VERSION 1.6.18\r\n",
  "4294967295",
];

/** What was told before the error, if there was one: in pieces an error may be seen earlier. */
const told = (lines: readonly string[]): readonly string[] => lines.filter((line) => !line.startsWith("EF_"));

for (const protocol of protocols) {
  test(`${protocol}: no bytes are read differently when they are cut, are invented, or do worse than a typed error (seed ${seed})`, () => {
    const draw = generator(seed);
    const { commands, bytes } = spoken[protocol];
    const run = (input: Buffer): void => {
      // The first byte says which command is the oldest, so that every one of them meets every reply.
      const first = (input[0] ?? 0) % commands.length;
      const asked = [...commands.slice(first), ...commands.slice(0, first)];
      const reply = input.subarray(1);
      const once = hear(protocol, asked, reply, []);
      assert.deepEqual(told(hear(protocol, asked, reply, Array.from(reply.keys()))), told(once), "byte by byte");
      const cuts = Array.from({ length: 3 }, () => draw(reply.length + 1)).toSorted((a, b) => a - b);
      assert.deepEqual(
        told(hear(protocol, asked, reply, cuts, draw(2) === 0)),
        told(once),
        `cut at ${cuts.join(", ")}`,
      );
      const all = reply.toString("latin1");
      for (const line of told(once)) {
        const data = line.split("|").slice(9, -1).join("|");
        assert.ok(data === "-" || data.includes("|") || all.includes(data), `${data} was not sent`);
      }
    };
    const seeds = commands.map((_, first) => Buffer.concat([Buffer.from([first]), bytes]));
    const until = performance.now() + fuzzMs;
    const target = { run, seeds, words: [...words[protocol], ...errors] };
    // On a busy machine the time may be over before anything was tried.
    const goesOn = (inputs: number): boolean => inputs < leastInputs || performance.now() < until;
    const { corpus } = fuzz(target, draw, goesOn, coverage);
    assert.ok(corpus.length > seeds.length, "nothing was found that reaches more than the seeds do");
  });
}

/** A bug behind four conditions, each of which must be met for the next to be tried. */
function planted(input: Buffer): void {
  if (input[0] !== 0x56) return;
  if (input[1] !== 0x41) return;
  if (input[2] !== 0x20) return;
  if (input[3] !== 0x7b) return;
  throw new Error("the planted bug");
}

test("a planted bug behind four conditions is found by guidance, and not by blind changes of the same number", () => {
  const own = new Coverage("/protocol/fuzz.test.js");
  const target = { run: planted, seeds: [Buffer.from("....")], words: ["\r\n"] };
  const most = 60_000;
  try {
    assert.throws(
      () => fuzz(target, generator(7), (inputs) => inputs < most, own),
      (error: Error) => (error.cause as Error).message === "the planted bug",
    );
  } finally {
    own.stop();
  }
  assert.doesNotThrow(() => fuzz(target, generator(7), (inputs) => inputs < most));
});
