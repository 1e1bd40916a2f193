/** What a request may say: directives, preconditions, ranges, and headers that responses vary on. */
import type { Exchange, Values } from "./exchanges.ts";
import { pause, type Case } from "./table.ts";

const visitors = "visitors cannot make the site work harder, nor be shown what is stale (RFC 9111 5.2.1: advisory)";

/** A fresh page, then a request with a directive. */
function directive(name: string, value: string, fields: Values, is: "reused" | "rendered", other?: string): Case {
  return {
    id: `ccreq-${name}`,
    ...(other !== undefined && { other }),
    exchanges: [{ told: { fields } }, { after: pause, asks: { "cache-control": value }, is }],
  };
}

const hour = { "cache-control": "max-age=3600" };

export const requestDirectives: readonly Case[] = [
  directive("ma0", "max-age=0", hour, "reused", visitors),
  directive("ma1", "max-age=1", hour, "reused", visitors),
  directive("magreaterage", "max-age=600", { ...hour, age: "1800" }, "reused", visitors),
  directive("max-stale", "max-stale=1000", { "cache-control": "max-age=1" }, "rendered", visitors),
  directive("max-stale-age", "max-stale=1000", { "cache-control": "max-age=1500", age: "2000" }, "rendered", visitors),
  directive("min-fresh", "min-fresh=2000", { "cache-control": "max-age=1500" }, "reused", visitors),
  directive("min-fresh-age", "min-fresh=1000", { "cache-control": "max-age=1500", age: "1000" }, "reused", visitors),
  directive("no-cache", "no-cache", hour, "reused", visitors),
  directive("no-cache-lm", "no-cache", { ...hour, "last-modified": -10_000, date: 0 }, "reused", visitors),
  directive("no-cache-etag", "no-cache", { ...hour, etag: '"abc"' }, "reused", visitors),
  directive("no-store", "no-store", hour, "rendered"),
  {
    id: "ccreq-oic",
    other: visitors,
    exchanges: [{ asks: { "cache-control": "only-if-cached" }, is: "rendered", status: 200 }],
  },
];

const fresh = { "cache-control": "max-age=100000", date: 0 };
const notATag = "RFC 9110 8.8.3: what is not quoted, or flagged other than by W/, is no entity tag and matches nothing";

function ifNoneMatch(id: string, etag: string, asked: string, other?: string): Case {
  const isMatch = other === undefined;
  return {
    id: `conditional-etag-${id}`,
    ...(other !== undefined && { other }),
    exchanges: [
      { told: { fields: { ...fresh, etag } } },
      {
        asks: { "if-none-match": asked },
        is: "reused",
        status: isMatch ? 304 : 200,
        ...(isMatch && { gets: { etag } }),
      },
    ],
  };
}

function ifModifiedSince(id: string, fields: Values, since: number | string, status: number, other?: string): Case {
  return {
    id: `conditional-lm-${id}`,
    ...(other !== undefined && { other }),
    exchanges: [
      { told: { fields: { ...fresh, ...fields } } },
      { asks: { "if-modified-since": since }, is: "reused", status },
    ],
  };
}

const tag = '"abcdef"';

export const conditional: readonly Case[] = [
  ifNoneMatch("strong-respond", tag, tag),
  { ...ifNoneMatch("304", tag, tag), id: "conditional-304-etag" },
  {
    id: "conditional-etag-precedence",
    exchanges: [
      { told: { fields: { ...fresh, "last-modified": -5000, etag: tag } } },
      { asks: { "if-none-match": tag, "if-modified-since": -6000 }, is: "reused", status: 304 },
    ],
  },
  ifNoneMatch("strong-respond-obs-text", '"abcdefü"', '"abcdefü"'),
  ifNoneMatch("quoted-respond-unquoted", tag, "abcdef", notATag),
  ifNoneMatch("unquoted-respond-unquoted", "abcdef", "abcdef", notATag),
  ifNoneMatch("unquoted-respond-quoted", "abcdef", tag, notATag),
  ifNoneMatch("weak-respond", `W/${tag}`, `W/${tag}`),
  ifNoneMatch("weak-respond-lowercase", `w/${tag}`, `w/${tag}`, notATag),
  ifNoneMatch("weak-respond-backslash", `W\\${tag}`, `W\\${tag}`, notATag),
  ifNoneMatch("weak-respond-omit-slash", `W${tag}`, `W${tag}`, notATag),
  ifNoneMatch("strong-respond-multiple-first", tag, `${tag}, "1234", "5678"`),
  ifNoneMatch("strong-respond-multiple-second", tag, `"1234", ${tag}, "5678"`),
  ifNoneMatch("strong-respond-multiple-last", tag, `"1234", "5678", ${tag}`),
  ifModifiedSince("fresh", { "last-modified": -3000 }, -3000, 304),
  ifModifiedSince("fresh-earlier", { "last-modified": -3000 }, -2000, 304),
  ifModifiedSince("fresh-rfc850", { "last-modified": -3000 }, "Monday, 23-Nov-26 00:00:00 GMT", 304),
  ifModifiedSince(
    "fresh-no-lm",
    {},
    -3000,
    200,
    "a page changes more than once a second, so its Date is no proof (RFC 9110 13.1.3: without a date of modification, ignored)",
  ),
  {
    id: "conditional-lm-stale",
    other: "what was stale is rendered for the cache; the visitor's date is compared all the same, with the new page",
    exchanges: [
      { told: { fields: { "cache-control": "max-age=2", "last-modified": "Sun, 22 Nov 2026 00:00:00 GMT", date: 0 } } },
      {
        after: pause,
        asks: { "if-modified-since": "Sun, 22 Nov 2026 00:00:00 GMT" },
        told: { fields: { "last-modified": "Sun, 22 Nov 2026 00:00:00 GMT" } },
        is: "rendered",
        status: 304,
      },
    ],
  },
];

function range(id: string, asked: string, status: number, text: string): Case {
  return {
    id: `partial-store-complete-reuse-partial${id}`,
    exchanges: [
      { told: { fields: hour, body: "0123456789A" } },
      { asks: { range: asked }, is: "reused", status, text },
    ],
  };
}

const noParts = "a part is not stored: the handler does not see Range, and answers with the whole";

/** A handler that answers with a part on its own account. */
function part(id: string, asked?: string): Case {
  const told = { status: 206, fields: { ...hour, "content-range": "bytes 4-8/10" }, body: "01234" };
  return {
    id: `partial-store-partial-${id}`,
    other: noParts,
    exchanges: [
      { asks: { range: "bytes=-5" }, told, is: "rendered", status: 206, text: "01234" },
      { ...(asked !== undefined && { asks: { range: asked } }), told, is: "rendered" },
    ],
  };
}

export const ranges: readonly Case[] = [
  range("", "bytes=0-1", 206, "01"),
  range("-no-last", "bytes=1-", 206, "123456789A"),
  range("-suffix", "bytes=-1", 206, "A"),
  part("reuse-partial", "bytes=-5"),
  part("reuse-partial-byterange", "bytes=6-8"),
  part("reuse-partial-absent", "bytes=6-"),
  part("reuse-partial-suffix", "bytes=-1"),
  part("complete"),
  {
    id: "partial-use-stored-headers",
    exchanges: [
      { told: { fields: { ...hour, a: "1" } } },
      { asks: { range: "bytes=0-1" }, is: "reused", status: 206, text: "01", gets: { a: "1" } },
    ],
  },
];

/**
 * What a response varies on. Where the option does not name it, one rendering finds out, and only the next one is stored:
 * each of these sequences therefore begins twice.
 */
function vary(
  id: string,
  names: string | string[],
  first: Values,
  second: Values,
  is: "reused" | "rendered",
  other?: string,
): Case {
  const told = { fields: { "cache-control": "max-age=5000", "last-modified": -3000, date: 0, vary: names } };
  const begin: Exchange = { asks: first, told, is: "rendered" };
  return {
    id,
    ...(other !== undefined && { other }),
    exchanges: [begin, begin, { asks: second, told, is }],
  };
}

const [two, three] = ["Foo, Bar", "Foo, Bar, Baz"];
const all = { foo: "1", bar: "abc", baz: "789" };
const languages = "the site's languages are its own: `preferredLanguage` in the option `vary` folds their spellings";
const german = { "accept-language": "en, de" };

export const varying: readonly Case[] = [
  vary("vary-match", "Foo", { foo: "1" }, { foo: "1" }, "reused"),
  vary("vary-no-match", "Foo", { foo: "1" }, { foo: "2" }, "rendered"),
  vary("vary-omit-stored", "Foo", {}, { foo: "1" }, "rendered"),
  vary("vary-omit", "Foo", { foo: "1" }, {}, "rendered"),
  vary("vary-cache-key", "Foo", { foo: "1", other: "2" }, { foo: "1", other: "3" }, "reused"),
  vary("vary-2-match", two, { foo: "1", bar: "abc" }, { foo: "1", bar: "abc" }, "reused"),
  vary("vary-2-no-match", two, { foo: "1", bar: "abc" }, { foo: "2", bar: "abc" }, "rendered"),
  vary("vary-2-match-omit", two, { foo: "1", bar: "abc" }, {}, "rendered"),
  vary("vary-3-match", three, all, all, "reused"),
  vary("vary-3-no-match", three, all, { ...all, foo: "2" }, "rendered"),
  vary("vary-3-order", three, all, { foo: "1", baz: "789", bar: "abcde" }, "rendered"),
  vary("vary-3-omit", three, { foo: "1", baz: "789" }, { foo: "1", baz: "789" }, "reused"),
  vary("vary-normalise-combine", "Foo", { foo: "1, 2" }, { foo: ["1", "2"] }, "reused"),
  vary("vary-normalise-space", "Foo", { foo: "1,2" }, { foo: " 1, 2 " }, "reused"),
  vary("vary-normalise-lang-space", "Accept-Language", german, { "accept-language": " en ,   de" }, "reused"),
  vary("vary-normalise-lang-order", "Accept-Language", german, { "accept-language": "de, en" }, "rendered", languages),
  vary("vary-normalise-lang-case", "Accept-Language", german, { "accept-language": "eN, De" }, "rendered", languages),
  vary(
    "vary-normalise-lang-select",
    "Accept-Language",
    german,
    { "accept-language": "fr;q=0.5, de;q=1.0" },
    "rendered",
    languages,
  ),
  {
    id: "vary-invalidate",
    exchanges: [
      ...["1", "1", "2"].map((foo): Exchange => {
        const told = { fields: { "cache-control": "max-age=5000", vary: "Foo" }, body: `foo ${foo}` };
        return { asks: { foo }, told, is: "rendered", text: `foo ${foo}` };
      }),
      { asks: { foo: "1" }, is: "reused", text: "foo 1" },
    ],
  },
  ...(
    [
      ["vary-star", "*"],
      ["vary-syntax-star", "*"],
      ["vary-syntax-star-star", "*, *"],
      ["vary-syntax-star-star-lines", ["*", "*"]],
      ["vary-syntax-empty-star", ", *"],
      ["vary-syntax-empty-star-lines", ["", "*"]],
      ["vary-syntax-star-foo", "*, Foo"],
      ["vary-syntax-foo-star", "Foo, *"],
    ] as [string, string | string[]][]
  ).map(([id, value]) => vary(id, value, { foo: "1" }, { foo: "1" }, "rendered")),
];
