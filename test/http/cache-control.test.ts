import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { longestSeconds, parseCacheControl, seconds } from "#src/http/cache-control.ts";

describe("Cache-Control (RFC 9111 section 5.2)", () => {
  for (const [value, expected] of [
    ["", {}],
    ["no-store", { "no-store": undefined }],
    ["NO-STORE, Private", { "no-store": undefined, private: undefined }],
    ["max-age=60", { "max-age": "60" }],
    ['max-age="60"', { "max-age": "60" }],
    [" max-age = 60 ,, s-maxage=5,", { "max-age": "60", "s-maxage": "5" }],
    ['private="x, y", max-age=1', { private: "x, y", "max-age": "1" }],
    ['x="private"', { x: "private" }],
    ['x="a\\", no-store=\\"b", max-age=1', { x: 'a", no-store="b', "max-age": "1" }],
    ["=5", {}],
    ["max-age=60, max-age=5", { "max-age": "5" }],
    ['private="a", private', { private: undefined }],
  ] as const)
    test(`${JSON.stringify(value)} reads as ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(Object.fromEntries(parseCacheControl(value)), expected);
    });

  for (const [value, expected] of [
    ["max-age=0", 0],
    ["max-age=10", 10],
    ["max-age=abc", 0],
    ["max-age=", 0],
    ["max-age", 0],
    ["max-age=-1", 0],
    ["max-age=1.5", 0],
    ["max-age=99999999999999999999", longestSeconds],
    ["s-maxage=5", undefined],
  ] as const)
    test(`${JSON.stringify(value)} means ${String(expected)} seconds`, () => {
      assert.equal(seconds(parseCacheControl(value), "max-age"), expected);
    });

  test("no field makes the parser throw, and the name of a directive is never in capitals", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (value) => {
        for (const name of parseCacheControl(value).keys()) assert.equal(name, name.toLowerCase());
      }),
    );
  });
});
