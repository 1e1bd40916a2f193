import assert from "node:assert/strict";
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { createCache, memory } from "everfresh";
import { cachePages } from "everfresh/node";
import { rangeOf, type RangeOutcome } from "#src/http/range.ts";
import { ask, siteOn } from "../adapters/sites.ts";

const whole: RangeOutcome = { kind: "whole" };
const never: RangeOutcome = { kind: "unsatisfiable" };
const part = (first: number, last: number): RangeOutcome => ({ kind: "part", first, last });

describe("one range of a page of 100 bytes (RFC 9110 section 14)", () => {
  for (const [value, expected] of [
    [undefined, whole],
    ["bytes=0-9", part(0, 9)],
    ["bytes=90-", part(90, 99)],
    ["bytes=90-1000", part(90, 99)],
    ["bytes=-10", part(90, 99)],
    ["bytes=-1000", part(0, 99)],
    ["bytes=99-99", part(99, 99)],
    ["BYTES=0-0", part(0, 0)],
    ["bytes=100-", never],
    ["bytes=-0", never],
    ["bytes=9-0", whole],
    ["bytes=-", whole],
    ["bytes=a-b", whole],
    ["items=0-9", whole],
    ["bytes=0-9,20-29", whole],
    ["", whole],
  ] as const)
    test(`${String(value)}: ${expected.kind}`, () => assert.deepEqual(rangeOf(value, 100), expected));

  test("an empty page has no part", () => {
    assert.deepEqual(rangeOf("bytes=0-", 0), never);
    assert.deepEqual(rangeOf("bytes=-5", 0), never);
  });
});

test("a part carries no digest of the whole page, whose bytes are sent as they are (RFC 9530)", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  const pages = cachePages(cache, { ttl: "1m" }, (_req, res) => {
    res.setHeader("content-type", "text/plain");
    res.setHeader("content-digest", "sha-256=:whole:");
    res.end("x".repeat(2_000));
  });
  const site = await siteOn(createServer(pages).listen(0, "127.0.0.1"));
  for (let visit = 0; visit < 2; visit++) {
    const { headers } = await ask(site.origin, { "accept-encoding": "gzip" });
    assert.equal(headers["content-encoding"], undefined);
    assert.equal(headers["content-digest"], "sha-256=:whole:");
  }
  const got = await ask(site.origin, { range: "bytes=0-9" });
  assert.equal(got.status, 206);
  assert.equal(got.headers["content-digest"], undefined);
  await site.close();
  await cache.close();
});
