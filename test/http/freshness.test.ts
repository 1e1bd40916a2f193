import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseCacheControl } from "#src/http/cache-control.ts";
import { formatHttpDate, parseHttpDate } from "#src/http/dates.ts";
import { field, type Fields } from "#src/http/fields.ts";
import { arrivalAge, currentAge, explicitLifetime } from "#src/http/freshness.ts";

const now = Date.UTC(2026, 10, 23, 2, 0, 0);
const at = (seconds: number): string => formatHttpDate(now + seconds * 1000);

describe("the three forms of a date (RFC 9110 section 5.6.7)", () => {
  const moment = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "SUN, 06 nov 1994 08:49:37 gmt",
  ])
    test(`${text} is read`, () => assert.equal(parseHttpDate(text, now), moment));

  for (const text of [
    "0",
    "-1",
    "",
    "tomorrow",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 31 Feb 2026 08:49:37 GMT",
    "2026-11-23T00:00:00Z",
    "1795000000",
  ])
    test(`${JSON.stringify(text)} is no date`, () => assert.equal(parseHttpDate(text, now), undefined));

  test("a two-digit year that would be more than 50 years ahead is of the last century", () => {
    assert.equal(parseHttpDate("Sunday, 06-Nov-77 08:49:37 GMT", now), Date.UTC(1977, 10, 6, 8, 49, 37));
    assert.equal(parseHttpDate("Sunday, 06-Nov-76 08:49:37 GMT", now), Date.UTC(2076, 10, 6, 8, 49, 37));
  });

  test("what is written is read back", () => assert.equal(parseHttpDate(formatHttpDate(now), now), now));
});

describe("the lifetime that a response declares (RFC 9111 section 4.2.1)", () => {
  const rows: readonly (readonly [title: string, fields: Fields, expected: number | undefined])[] = [
    ["nothing is said", {}, undefined],
    ["max-age", { "cache-control": "max-age=60" }, 60],
    ["s-maxage comes before max-age", { "cache-control": "max-age=60, s-maxage=5" }, 5],
    ["s-maxage=0", { "cache-control": "max-age=60, s-maxage=0" }, 0],
    ["max-age comes before Expires", { "cache-control": "max-age=60", expires: at(-5), date: at(0) }, 60],
    ["max-age that is no number", { "cache-control": "max-age=abc", expires: at(100) }, 0],
    ["Expires minus Date", { expires: at(100), date: at(40) }, 60],
    ["Expires without Date counts from now", { expires: at(100) }, 100],
    ["Expires in the past", { expires: at(-1), date: at(0) }, 0],
    ["Expires: 0", { expires: "0" }, 0],
    ["Last-Modified alone declares nothing: no heuristics", { "last-modified": at(-1000) }, undefined],
  ];
  for (const [title, fields, expected] of rows)
    test(title, () => {
      const directives = parseCacheControl(field(fields, "cache-control"));
      assert.equal(explicitLifetime(directives, fields, now), expected);
    });

  test("s-maxage does not speak to a page of one user (section 5.2.2.10)", () => {
    const directives = parseCacheControl("s-maxage=5, max-age=60");
    assert.equal(explicitLifetime(directives, {}, now, false), 60);
  });
});

describe("age (RFC 9111 sections 4.2.3 and 5.1)", () => {
  for (const [age, expected] of [
    [undefined, 0],
    ["30", 30],
    ["30, 60", 30],
    ["-5", 0],
    ["abc", 0],
    ["1.5", 0],
  ] as const)
    test(`a response with Age ${String(age)} arrives ${expected} seconds old`, () => {
      assert.equal(arrivalAge(age === undefined ? {} : { age }, now), expected);
    });

  test("a Date that lies back counts as age, unless Age says more", () => {
    assert.equal(arrivalAge({ date: at(-90) }, now), 90);
    assert.equal(arrivalAge({ date: at(-90), age: "100" }, now), 100);
    assert.equal(arrivalAge({ date: at(90), age: "5" }, now), 5);
    assert.equal(arrivalAge({ date: "yesterday" }, now), 0);
  });

  test("the time in the cache is added, in whole seconds", () => {
    assert.equal(currentAge(0, now, now + 999), 0);
    assert.equal(currentAge(30, now, now + 12_500), 42);
  });

  test("a clock that was set back does not make a page younger than it came", () => {
    assert.equal(currentAge(30, now, now - 60_000), 30);
  });
});
