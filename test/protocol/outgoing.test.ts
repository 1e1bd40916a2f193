/** What a tick gathers is what it sends, in its order, whatever the values are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Outgoing } from "#src/protocol/outgoing.ts";
import { moreRuns } from "../support/thoroughness.ts";

type Step = { text: string } | { bytes: Uint8Array } | { value: string | Uint8Array };

const sizes = fc.oneof(fc.nat(300), fc.constantFrom(9, 10, 99, 100, 999, 1000, 9999, 10_000, 50_000));
const values = fc
  .tuple(fc.constantFrom("a", "é", "€", "𝄞", "\ud800", "\u0080"), sizes, fc.string({ unit: "binary", maxLength: 5 }))
  .map(([character, size, rest]) => character.repeat(size) + rest);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 50 }),
  sizes.map((size) => new Uint8Array(size).fill(size)),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ text: fc.constantFrom("get a\r\n", "mn\r\n", `mg ${"k".repeat(200)} v\r\n`) }),
    fc.record({ bytes }),
    fc.record({ value: fc.oneof(values, bytes) }),
  ),
  { maxLength: 12 },
);

/** The longest key, and one whose bytes are not ASCII. */
const keys = ["k", "k".repeat(250), "\u00e9"];

function say(out: Outgoing, step: Step, turn: number): Buffer {
  if ("text" in step) {
    out.text += step.text;
    return Buffer.from(step.text, "latin1");
  }
  if ("bytes" in step) {
    out.data(step.bytes);
    return Buffer.from(step.bytes);
  }
  const key = keys[turn % keys.length] ?? "";
  out.block("ms ", key, " ", step.value, " k\r\n");
  const value = Buffer.from(step.value as string, "utf8");
  return Buffer.concat([Buffer.from(`ms ${key} ${value.length} k\r\n`, "latin1"), value, Buffer.from("\r\n")]);
}

/** What would be sent, not copied. */
function gathered(out: Outgoing): Uint8Array[] {
  out.finish();
  return [...out.pieces, out.text].map((piece) => (typeof piece === "string" ? Buffer.from(piece, "latin1") : piece));
}

test("the bytes are those that were said; what the system has not taken yet is not written over", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(steps, fc.boolean()), { minLength: 1, maxLength: 5 }), (ticks) => {
      const out = new Outgoing();
      const pending: { sent: Uint8Array[]; said: Buffer }[] = [];
      for (const [tick, taken] of ticks) {
        const said = Buffer.concat(tick.map((step, turn) => say(out, step, turn)));
        assert.equal(out.size(), said.length);
        const sent = gathered(out);
        assert.ok(Buffer.concat(sent).equals(said));
        if (!taken) pending.push({ sent, said });
        out.clear(taken);
        assert.equal(out.size(), 0);
      }
      for (const { sent, said } of pending) assert.ok(Buffer.concat(sent).equals(said));
    }),
    { numRuns: 300 * moreRuns },
  );
});

test("a tick with many values leaves in few pieces, and one with commands alone in one text", () => {
  const out = new Outgoing();
  for (let turn = 0; turn < 64; turn++) out.block("ms ", `key-${turn}`, " ", "v".repeat(1000), " k\r\n");
  assert.equal(gathered(out).length, 2);
  assert.equal(out.text, "");
  out.clear(true);
  for (let turn = 0; turn < 64; turn++) out.text += "mn\r\n";
  out.finish();
  assert.deepEqual([out.pieces.length, out.text.length], [0, 256]);
});
