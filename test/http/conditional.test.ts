import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  codedEntityTag,
  entityTagOf,
  entityTags,
  ifRangeHolds,
  isEntityTag,
  precondition,
  type Precondition,
} from "#src/http/conditional.ts";
import type { Fields } from "#src/http/fields.ts";

const now = Date.UTC(2026, 10, 23);
const modified = "Sun, 22 Nov 2026 10:00:00 GMT";
const before = "Sun, 22 Nov 2026 09:00:00 GMT";
const after = "Sun, 22 Nov 2026 11:00:00 GMT";
const strong = { etag: '"a"', lastModified: modified };
const weak = { etag: 'W/"a"', lastModified: modified };
const bare = { etag: undefined, lastModified: undefined };

describe("preconditions in the order of RFC 9110 section 13.2.2", () => {
  const rows: readonly (readonly [string, Fields, typeof strong | typeof weak | typeof bare, Precondition])[] = [
    ["nothing is asked", {}, strong, "none"],
    ["If-None-Match with the tag", { "if-none-match": '"a"' }, strong, "not-modified"],
    ["If-None-Match with another tag", { "if-none-match": '"b"' }, strong, "none"],
    ["If-None-Match compares weakly", { "if-none-match": 'W/"a"' }, strong, "not-modified"],
    ["If-None-Match compares weakly, the other way", { "if-none-match": '"a"' }, weak, "not-modified"],
    ["If-None-Match with a list", { "if-none-match": '"x", W/"y" , "a"' }, strong, "not-modified"],
    ["If-None-Match in several lines", { "if-none-match": ['"x"', '"a"'] }, strong, "not-modified"],
    ["If-None-Match: *", { "if-none-match": "*" }, bare, "not-modified"],
    ["If-None-Match without quotes is ignored", { "if-none-match": "a" }, strong, "none"],
    [
      "If-None-Match rules out If-Modified-Since",
      { "if-none-match": '"b"', "if-modified-since": after },
      strong,
      "none",
    ],
    ["If-Modified-Since, not modified", { "if-modified-since": modified }, strong, "not-modified"],
    ["If-Modified-Since, modified", { "if-modified-since": before }, strong, "none"],
    ["If-Modified-Since that is no date", { "if-modified-since": "yesterday" }, strong, "none"],
    ["If-Modified-Since, page without a date", { "if-modified-since": after }, bare, "none"],
    ["If-Match with the tag", { "if-match": '"a"' }, strong, "none"],
    ["If-Match with another tag", { "if-match": '"b"' }, strong, "failed"],
    ["If-Match compares strongly", { "if-match": 'W/"a"' }, weak, "failed"],
    ["If-Match: *", { "if-match": "*" }, bare, "none"],
    ["If-Match comes first", { "if-match": '"b"', "if-none-match": '"a"' }, strong, "failed"],
    ["If-Match holds, then If-None-Match", { "if-match": '"a"', "if-none-match": '"a"' }, strong, "not-modified"],
    ["If-Unmodified-Since, modified", { "if-unmodified-since": before }, strong, "failed"],
    ["If-Unmodified-Since, not modified", { "if-unmodified-since": modified }, strong, "none"],
    ["If-Match rules out If-Unmodified-Since", { "if-match": '"a"', "if-unmodified-since": before }, strong, "none"],
    ["If-Unmodified-Since that is no date", { "if-unmodified-since": "0" }, strong, "none"],
  ];
  for (const [title, request, page, expected] of rows)
    test(`${title}: ${expected}`, () => assert.equal(precondition(request, page, now), expected));
});

describe("If-Range (RFC 9110 section 13.1.5)", () => {
  const rows: readonly (readonly [string, Fields, typeof strong | typeof weak, boolean])[] = [
    ["absent", {}, strong, true],
    ["the strong tag", { "if-range": '"a"' }, strong, true],
    ["another tag", { "if-range": '"b"' }, strong, false],
    ["a weak tag never matches", { "if-range": 'W/"a"' }, weak, false],
    ["a date is not known to be strong", { "if-range": modified }, strong, false],
  ];
  for (const [title, request, page, expected] of rows)
    test(title, () => assert.equal(ifRangeHolds(request, page), expected));
});

describe("entity tags (RFC 9110 section 8.8.3)", () => {
  test("commas may stand inside of a tag", () => assert.deepEqual(entityTags('"a,b", W/"c"'), ['"a,b"', 'W/"c"']));
  test("only what is quoted is a tag", () => {
    assert.equal(isEntityTag('"x"'), true);
    assert.equal(isEntityTag("x"), false);
    assert.equal(isEntityTag('"x" '), false);
    assert.equal(isEntityTag('"x'), false);
  });
  test("another body has another tag, the same body the same", () => {
    assert.equal(entityTagOf(Buffer.from("a")), entityTagOf(Buffer.from("a")));
    assert.notEqual(entityTagOf(Buffer.from("a")), entityTagOf(Buffer.from("b")));
    assert.equal(isEntityTag(entityTagOf(Buffer.from(""))), true);
  });
  test("a strong tag differs by content coding, a weak one need not", () => {
    assert.equal(codedEntityTag('"a"', "br"), '"a-br"');
    assert.equal(codedEntityTag('W/"a"', "br"), 'W/"a"');
  });
});
