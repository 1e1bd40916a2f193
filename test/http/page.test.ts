import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeRecord, encodeRecord, type PageRecord } from "#src/http/page.ts";

const page: PageRecord = {
  kind: "page",
  status: 200,
  fields: { "content-type": "text/html", link: ["</a>", "</b>"], "x-latin": "é" },
  body: Buffer.from("<p>page</p>"),
  storedAtMs: 1_000,
  arrivalAgeSeconds: 0,
  freshUntilMs: 2_000,
};

describe("records", () => {
  for (const record of [page, { kind: "vary", names: ["x-tone"] }, { kind: "pass", reason: "set-cookie" }] as const)
    test(`a ${record.kind} is read back`, () => assert.deepEqual(decodeRecord(encodeRecord(record)), record));

  test("what was cut anywhere in its head is no record", () => {
    const bytes = encodeRecord(page);
    for (let length = 0; length < bytes.length - page.body.length; length++)
      assert.equal(decodeRecord(bytes.subarray(0, length)), undefined);
  });
});

describe("whoever writes to the server cannot make a page that splits, or ends the process", () => {
  const rows: readonly (readonly [string, object])[] = [
    ["a line break in a value", { ...page, fields: { "x-evil": "a\r\nset-cookie: sid=evil" } }],
    ["a line break in one of several values", { ...page, fields: { "x-evil": ["a", "b\nc"] } }],
    ["a line break in a name", { ...page, fields: { "x-evil: a\r\nx": "b" } }],
    ["an empty name", { ...page, fields: { "": "b" } }],
    ["a value that is no text", { ...page, fields: { "x-evil": 7 } }],
    ["a value within a value", { ...page, fields: { "x-evil": [["a"]] } }],
    ["a character beyond latin1", { ...page, fields: { "x-evil": "\u{1f4a5}" } }],
    ["a status that is none", { ...page, status: 99 }],
    ["an interim status", { ...page, status: 101 }],
    ["a status that is a text", { ...page, status: "200" }],
    ["no status", { ...page, status: undefined }],
    ["a time that is none", { ...page, freshUntilMs: null }],
    ["names that are none", { kind: "vary", names: [{}] }],
    ["a name that is no name", { kind: "vary", names: ["a b"] }],
    ["no names", { kind: "vary" }],
    ["another kind", { kind: "other" }],
  ];
  for (const [title, record] of rows)
    test(`${title} is no record`, () => assert.equal(decodeRecord(encodeRecord(record as PageRecord)), undefined));
});
