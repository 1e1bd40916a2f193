/** How long a response may be used (RFC 9111 section 4.2): `Cache-Control`, `Expires`, `Age`, and what is malformed in them. */
import { pause, rows, twice, type Case } from "./table.ts";

const malformed = "RFC 9111 4.2.1: invalid freshness information is taken for stale";
const twoSaid = "RFC 9111 4.2.1 lets a cache take the first of two or call it stale; ours takes the shorter";
const spaced = "read as it was meant: ignoring it would leave the option's longer lifetime";
const byOption = "the option `ttl` says how long, so a response need not";

const maxAge = (value: string): { "cache-control": string } => ({ "cache-control": `max-age=${value}` });

export const cacheControl: readonly Case[] = [
  ...rows([
    ["freshness-none", {}, "rendered", byOption],
    ["freshness-max-age", maxAge("3600"), "reused"],
    ["freshness-max-age-stale", maxAge("2"), "rendered"],
    ["freshness-max-age-0", maxAge("0"), "rendered"],
    ["freshness-max-age-max-minus-1", maxAge("2147483647"), "reused"],
    ["freshness-max-age-max", maxAge("2147483648"), "reused"],
    ["freshness-max-age-max-plus-1", maxAge("2147483649"), "reused"],
    ["freshness-max-age-max-plus", maxAge("99999999999"), "reused"],
    ["freshness-max-age-age", { ...maxAge("3600"), age: "7200", date: 0 }, "rendered"],
    ["freshness-max-age-date", { ...maxAge("3600"), date: -7200 }, "rendered"],
    ["freshness-max-age-expires", { ...maxAge("3600"), expires: -7200, date: 0 }, "reused"],
    ["freshness-max-age-expires-invalid", { ...maxAge("3600"), expires: "0", date: 0 }, "reused"],
    ["freshness-max-age-0-expires", { ...maxAge("0"), expires: 3600, date: 0 }, "rendered"],
    ["freshness-max-age-extension", { "cache-control": "foobar, max-age=3600" }, "reused"],
    ["freshness-max-age-case-insenstive", { "cache-control": "MaX-aGe=3600" }, "reused"],
    ["freshness-max-age-negative", maxAge("-3600"), "rendered"],
    ["freshness-s-maxage-shared", { "cache-control": "s-maxage=3600" }, "reused"],
    ["freshness-max-age-s-maxage-shared-longer", { "cache-control": "max-age=3600, s-maxage=1" }, "rendered"],
    ["freshness-max-age-s-maxage-shared-longer-reversed", { "cache-control": "s-maxage=1, max-age=3600" }, "rendered"],
    [
      "freshness-max-age-s-maxage-shared-longer-multiple",
      { "cache-control": ["max-age=3600", "s-maxage=1"] },
      "rendered",
    ],
    ["freshness-max-age-s-maxage-shared-shorter", { "cache-control": "max-age=1, s-maxage=3600" }, "reused"],
    [
      "freshness-max-age-s-maxage-shared-shorter-expires",
      { "cache-control": "max-age=0, s-maxage=3600", expires: -10 },
      "reused",
    ],
  ]),
  ...rows(
    [
      ["freshness-max-age-s-maxage-private", { "cache-control": "s-maxage=3600, max-age=1" }, "rendered"],
      ["freshness-max-age-s-maxage-private-multiple", { "cache-control": ["s-maxage=3600", "max-age=1"] }, "rendered"],
    ],
    "oneUser",
  ),
];

export const cacheControlParsing: readonly Case[] = rows([
  ["freshness-max-age-two-fresh-stale-sameline", { "cache-control": "max-age=1800, max-age=1" }, "reused", twoSaid],
  ["freshness-max-age-two-fresh-stale-sepline", { "cache-control": ["max-age=1800", "max-age=1"] }, "reused", twoSaid],
  ["freshness-max-age-two-stale-fresh-sameline", { "cache-control": "max-age=1, max-age=1800" }, "reused", twoSaid],
  ["freshness-max-age-two-stale-fresh-sepline", { "cache-control": ["max-age=1", "max-age=1800"] }, "reused", twoSaid],
  ["freshness-max-age-quoted", maxAge('"3600"'), "reused"],
  ["freshness-max-age-ignore-quoted", { "cache-control": 'extension="max-age=3600", max-age=1' }, "rendered"],
  ["freshness-max-age-ignore-quoted-rev", { "cache-control": 'max-age=1, extension="max-age=3600"' }, "rendered"],
  ["freshness-max-age-space-before-equals", { "cache-control": "max-age =3600" }, "rendered", spaced],
  ["freshness-max-age-space-after-equals", maxAge(" 3600"), "rendered", spaced],
  ["freshness-max-age-leading-zero", maxAge("003600"), "reused"],
  ["freshness-max-age-single-quoted", maxAge("'3600'"), "rendered"],
  ["freshness-max-age-decimal-zero", maxAge("3600.0"), "reused", malformed],
  ["freshness-max-age-decimal-five", maxAge("3600.5"), "reused", malformed],
  ["freshness-max-age-a100", maxAge("a3600"), "reused", malformed],
  ["freshness-max-age-100a", maxAge("3600a"), "reused", malformed],
]);

const aged = (age: string | string[]): Record<string, string | number | string[]> => ({
  ...maxAge("3600"),
  age,
  date: 0,
});
const ignored = "RFC 9111 5.1: a value that is no number is ignored";

export const ageParsing: readonly Case[] = rows([
  ["age-parse-nonnumeric", aged("abc"), "reused"],
  ["age-parse-negative", aged("-7200"), "reused"],
  ["age-parse-float", aged("7200.0"), "reused"],
  ["age-parse-large-minus-one", aged("2147483647"), "rendered"],
  ["age-parse-large", aged("2147483648"), "rendered"],
  ["age-parse-larger", aged("2147483649"), "rendered"],
  ["age-parse-suffix", aged("7200, 0"), "rendered"],
  ["age-parse-prefix", aged("0, 7200"), "reused"],
  ["age-parse-suffix-twoline", aged(["7200", "0"]), "rendered"],
  ["age-parse-prefix-twoline", aged(["0", "7200"]), "reused"],
  ["age-parse-dup-0", aged("0, 0"), "reused"],
  ["age-parse-dup-0-twoline", aged(["0", "0"]), "reused"],
  ["age-parse-dup-old", { ...aged(["3600", "3600"]), ...maxAge("10000") }, "reused"],
  ["age-parse-parameter", aged("7200;foo=bar"), "rendered", ignored],
  ["age-parse-numeric-parameter", aged("7200;foo=111"), "rendered", ignored],
]);

const month = 30 * 24 * 60 * 60;

export const expires: readonly Case[] = rows([
  ["freshness-expires-future", { expires: month, date: 0 }, "reused"],
  ["freshness-expires-past", { expires: -month, date: 0 }, "rendered"],
  ["freshness-expires-present", { expires: 0, date: 0 }, "rendered"],
  ["freshness-expires-old-date", { expires: 300, date: 400 }, "rendered"],
  ["freshness-expires-invalid", { expires: "0", date: 0 }, "rendered"],
  ["freshness-expires-invalid-date", { expires: 10, date: "foo" }, "reused"],
  ["freshness-expires-age-slow-date", { expires: 10, date: -10, age: "25" }, "rendered"],
  ["freshness-expires-age-fast-date", { expires: 20, date: 10, age: "15" }, "rendered"],
]);

const dated = (id: string, text: string | string[], wanted: "reused" | "rendered"): Case =>
  twice(`freshness-expires-${id}`, { fields: { expires: text, date: 0 } }, wanted);

export const expiresParsing: readonly Case[] = [
  dated("32bit", "Tue, 19 Jan 2038 14:14:08 GMT", "reused"),
  dated("far-future", "Sun, 21 Nov 2286 04:46:39 GMT", "reused"),
  dated("rfc850", "Thursday, 18-Aug-50 02:01:18 GMT", "reused"),
  dated("ansi-c", "Thu Aug  8 02:01:18 2050", "reused"),
  dated("wrong-case-weekday", "THU, 18 Aug 2050 02:01:18 GMT", "reused"),
  dated("wrong-case-month", "Thu, 18 AUG 2050 02:01:18 GMT", "reused"),
  dated("wrong-case-tz", "Thu, 18 Aug 2050 02:01:18 gMT", "reused"),
  dated("invalid-utc", "Thu, 18 Aug 2050 02:01:18 UTC", "rendered"),
  dated("invalid-aest", "Thu, 18 Aug 2050 02:01:18 AEST", "rendered"),
  dated("invalid-2-digit-year", "Thu, 18 Aug 50 02:01:18 GMT", "rendered"),
  dated("invalid-no-comma", "Thu 18 Aug 2050 02:01:18 GMT", "rendered"),
  dated("invalid-multiple-spaces", "Thu, 18  Aug  2050 02:01:18 GMT", "rendered"),
  dated("invalid-date-dashes", "Thu, 18-Aug-2050 02:01:18 GMT", "rendered"),
  dated("invalid-time-periods", "Thu, 18 Aug 2050 02.01.18 GMT", "rendered"),
  dated("invalid-1-digit-hour", "Thu, 18 Aug 2050 2:01:18 GMT", "rendered"),
  dated("invalid-multiple-lines", ["Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 18 Aug 2050 2:01:19 GMT"], "rendered"),
];

const day = 24 * 60 * 60;
const modified = { "last-modified": -day, date: 0 };
const never = "RFC 9110 15: statuses that are not known are never stored here";

/** Ours uses no heuristic: what is reused here is reused for as long as the option says. */
export const heuristic: readonly Case[] = [
  ...[200, 203, 204, 404, 405, 410, 414, 501].map((status) =>
    twice(`heuristic-${status}-cached`, { status, fields: modified }, "reused"),
  ),
  ...[201, 202, 403, 502, 503, 504, 599].map((status) =>
    twice(`heuristic-${status}-not_cached`, { status, fields: modified }, "rendered"),
  ),
  twice("heuristic-599-cached", { status: 599, fields: { ...modified, "cache-control": "public" } }, "reused", never),
  ...[5, 10, 30, 60, 300, 600, 1200, 1800, 3600, 12 * 3600, day].map((delta) =>
    twice(`heuristic-delta-${delta}`, { fields: { "last-modified": -delta, date: 0 } }, "reused"),
  ),
];

export const age: readonly Case[] = [
  {
    id: "other-age-gen",
    exchanges: [{ told: { fields: maxAge("100000") } }, { after: pause, is: "reused", gets: { age: "3" } }],
  },
  {
    id: "other-age-update-expires",
    exchanges: [
      { told: { fields: { expires: month, date: 0, age: "30" } } },
      { after: pause, is: "reused", gets: { age: "33", date: -pause, expires: month - pause } },
    ],
  },
  {
    id: "other-age-update-max-age",
    exchanges: [
      { told: { fields: { ...maxAge("100000"), age: "30" } } },
      { after: pause, is: "reused", gets: { age: "33" } },
    ],
  },
  {
    id: "other-age-delay",
    other: "a handler is no other server: what it says is new when it says it",
    exchanges: [{ told: { fields: { ...maxAge("3600"), date: 0 } }, gets: { age: undefined } }],
  },
  {
    id: "other-date-update",
    exchanges: [
      { told: { fields: { ...maxAge("100000"), date: 0 } } },
      { after: pause, is: "reused", gets: { date: -pause } },
    ],
  },
  {
    id: "other-date-update-expires",
    exchanges: [
      { told: { fields: { expires: month, date: 0 } } },
      { after: pause, is: "reused", gets: { date: -pause } },
    ],
  },
  {
    id: "other-date-update-expires-update",
    exchanges: [
      { told: { fields: { expires: month, date: 0 } } },
      { after: pause, is: "reused", gets: { expires: month - pause } },
    ],
  },
];
