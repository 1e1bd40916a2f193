import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { durationMs, longestDurationMs, type Duration } from "#src/duration.ts";

describe("a duration", () => {
  for (const [duration, ms] of [
    ["250ms", 250],
    ["30s", 30_000],
    ["5m", 300_000],
    ["1.5h", 5_400_000],
    ["7d", 604_800_000],
    ["0s", 0],
    [{ minutes: 5, seconds: 30 }, 330_000],
    [{ days: 1, hours: 1, milliseconds: 1 }, 90_000_001],
  ] as const)
    test(`${JSON.stringify(duration)} is ${ms} ms`, () => assert.equal(durationMs(duration, "ttl"), ms));

  test("that is positive never becomes 0", () => {
    assert.equal(durationMs("0.2ms", "ttl"), 1);
    assert.equal(durationMs({ seconds: 0.0001 }, "ttl"), 1);
  });

  for (const [wrong, reason] of [
    [60, /number 60; a duration is written like "250ms"/],
    ["60", /string "60"/],
    ["5 m", /string "5 m"/],
    ["-5m", /string "-5m"/],
    ["5w", /string "5w"/],
    ["1e3s", /string "1e3s"/],
    ["", /string ""/],
    [Number.NaN, /number NaN/],
    [Infinity, /number Infinity/],
    [null, /null/],
    [undefined, /ttl is missing/],
    [["5m"], /\["5m"\]/],
    [{}, /\{\}/],
    [{ weeks: 1 }, /weeks/],
    [{ minutes: -1 }, /minutes/],
    [{ minutes: "5" }, /minutes/],
    [{ minutes: Number.NaN }, /minutes/],
    [{ constructor: 1 }, /constructor/],
    ["36501d", /the longest duration is 100 years/],
    ["9".repeat(400) + "d", /the longest duration is 100 years/],
  ] as const)
    test(`${JSON.stringify(wrong)?.slice(0, 20)} is refused with its name and what would be right`, () =>
      assert.throws(() => durationMs(wrong as unknown as Duration, "ttl"), { code: "EF_OPTION", message: reason }));

  test("what JSON has no text for is refused like anything else", () => {
    assert.throws(() => durationMs(5n as never, "ttl"), { code: "EF_OPTION", message: /bigint 5n;/ });
    assert.throws(() => durationMs({ minutes: 5n } as never, "ttl"), { code: "EF_OPTION", message: /minutes: 5n/ });
  });

  test("means the same as text and as parts", () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: longestDurationMs / 1000 }), (seconds) => {
        assert.equal(durationMs(`${seconds}s`, "ttl"), durationMs({ seconds }, "ttl"));
      }),
    ));
});
