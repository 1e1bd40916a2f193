/** What may be answered from the cache and what may be stored: the rows of RFC 9111, and those where others went wrong. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import {
  carriesCsrfToken,
  lifetimeMs,
  mayBeServedStale,
  requestObstacle,
  responseObstacle,
  storedFields,
  type StoragePolicy,
} from "#src/http/cacheable.ts";
import type { Reason } from "#src/http/cache-status.ts";
import type { Fields } from "#src/http/fields.ts";
import { identityFields } from "#src/http/identity.ts";
import type { PageRequest } from "#src/http/request.ts";

const now = Date.UTC(2026, 10, 23);
const forAll: StoragePolicy = {
  isPrivate: false,
  cookies: "bypass",
  statuses: new Set([200, 301, 404]),
  negotiatesCoding: true,
  ttlMs: 60_000,
};
const forOne: StoragePolicy = { ...forAll, isPrivate: true };

function request(fields: Fields = {}, other: Partial<PageRequest> = {}): PageRequest {
  return { method: "GET", scheme: "https", host: "shop.test", path: "/", query: "", fields, ...other };
}

describe("requests", () => {
  const rows: readonly (readonly [string, PageRequest, Reason | undefined])[] = [
    ["GET", request(), undefined],
    ["HEAD", request({}, { method: "HEAD" }), undefined],
    ["POST", request({}, { method: "POST" }), "method"],
    ["OPTIONS", request({}, { method: "OPTIONS" }), "method"],
    ["Authorization (RFC 9111 section 3.5)", request({ authorization: "Basic eA==" }), "authorization"],
    ["a user named by a proxy", request({ "x-forwarded-user": "ann" }), "authorization"],
    ["a cookie, unless the page says what cookies mean", request({ cookie: "a=b" }), "cookie"],
    ["no-store (section 5.2.1.5)", request({ "cache-control": "No-Store" }), "request-no-store"],
    [
      "no-cache is not obeyed: visitors cannot make the site work harder",
      request({ "cache-control": "no-cache" }),
      undefined,
    ],
    ["a request to switch protocols", request({ upgrade: "websocket" }), "upgrade"],
    ["no host (RFC 9110 section 7.1)", request({}, { host: "" }), "no-host"],
    ["a target that is not a path and a query", request({}, { isOdd: true }), "target"],
    ["a GET with content", request({ "content-length": "1" }), "content"],
    ["a GET with content in chunks", request({ "transfer-encoding": "chunked" }), "content"],
    ["a GET that says that it has none", request({ "content-length": "0" }), undefined],
    ["a very long URL", request({}, { path: `/${"x".repeat(9_000)}` }), "url-too-long"],
  ];
  for (const [title, asked, expected] of rows)
    test(`${title}: ${expected ?? "looked up"}`, () =>
      assert.equal(requestObstacle(asked, forAll, undefined), expected));

  for (const name of identityFields)
    test(`${name} says who asks`, () => {
      assert.equal(requestObstacle(request({ [name]: "x" }), forAll, undefined), "authorization");
    });

  test("cookies that are declared meaningless or part of the key are no obstacle", () => {
    assert.equal(requestObstacle(request({ cookie: "a=b" }), { ...forAll, cookies: "ignore" }, undefined), undefined);
    assert.equal(requestObstacle(request({ cookie: "a=b" }), { ...forAll, cookies: ["lang"] }, undefined), undefined);
  });

  test("a page of one user needs a user, and may then be asked for with a cookie or Authorization", () => {
    assert.equal(requestObstacle(request(), forOne, undefined), "no-user");
    assert.equal(requestObstacle(request(), forOne, ""), "no-user");
    assert.equal(requestObstacle(request({ cookie: "a=b", authorization: "x" }), forOne, "7"), undefined);
  });
});

const obstacle = (fields: Fields): Reason | undefined => responseObstacle({ status: 200, fields }, forOne, now);

describe("responses", () => {
  const rows: readonly (readonly [string, number, Fields, Reason | undefined])[] = [
    ["a plain page", 200, { "content-type": "text/html" }, undefined],
    ["a permanent redirect", 301, { location: "/x" }, undefined],
    ["a status that was asked for", 404, {}, undefined],
    ["a status that was not", 302, { location: "/x" }, "status"],
    ["an error", 500, {}, "status"],
    ["304 is no page (section 3.3)", 304, {}, "status"],
    ["a part (section 3.3)", 206, { "content-range": "bytes 0-1/5" }, "partial"],
    ["a cookie", 200, { "set-cookie": ["sid=1"] }, "set-cookie"],
    ["no-store (section 5.2.2.5)", 200, { "cache-control": "no-store" }, "no-store"],
    ["no-store among others", 200, { "cache-control": "max-age=60, No-Store" }, "no-store"],
    ["no-store beside must-understand", 200, { "cache-control": "must-understand, no-store" }, "no-store"],
    ["no-cache (section 5.2.2.4)", 200, { "cache-control": "no-cache" }, "no-cache"],
    ['no-cache="set-cookie"', 200, { "cache-control": 'no-cache="set-cookie"' }, "no-cache"],
    ["private (section 5.2.2.7)", 200, { "cache-control": "private" }, "private"],
    ["Private in capitals (CVE-2026-8404)", 200, { "cache-control": "Private" }, "private"],
    ['private="x-user"', 200, { "cache-control": 'private="x-user"' }, "private"],
    ['x="private" is not private', 200, { "cache-control": 'x="private"' }, undefined],
    ["s-maxage=0", 200, { "cache-control": "s-maxage=0, max-age=60" }, "not-fresh"],
    ["max-age=0", 200, { "cache-control": "max-age=0" }, "not-fresh"],
    ["max-age=abc does not throw", 200, { "cache-control": "max-age=abc" }, "not-fresh"],
    ["Expires in the past", 200, { expires: "0" }, "not-fresh"],
    ["older than its lifetime on arrival", 200, { "cache-control": "max-age=60", age: "60" }, "not-fresh"],
    ["younger than its lifetime on arrival", 200, { "cache-control": "max-age=60", age: "59" }, undefined],
    ["Vary: * (section 4.1)", 200, { vary: "*" }, "vary-any"],
    ["Vary with white space around * (CVE-2026-6907)", 200, { vary: " * " }, "vary-any"],
    ["* among other names", 200, { vary: "Accept, *" }, "vary-any"],
    ["* in a second line", 200, { vary: ["Accept", "*"] }, "vary-any"],
    ["a coding that the handler chose", 200, { "content-encoding": "gzip" }, "encoded"],
    ["identity is no coding", 200, { "content-encoding": "identity" }, undefined],
    ["trailers", 200, { trailer: "x-sum" }, "trailers"],
    ["a nonce is for one response", 200, { "content-security-policy": "script-src 'nonce-abc'" }, "nonce"],
    ["a stream of events", 200, { "content-type": "text/event-stream; charset=utf-8" }, "event-stream"],
  ];
  for (const [title, status, fields, expected] of rows)
    test(`${title}: ${expected ?? "stored"}`, () => {
      assert.equal(responseObstacle({ status, fields }, forAll, now), expected);
    });

  test("a page of one user may be private, but never carries a cookie or no-store", () => {
    assert.equal(obstacle({ "cache-control": "private, max-age=60" }), undefined);
    assert.equal(obstacle({ "set-cookie": "sid=1" }), "set-cookie");
    assert.equal(obstacle({ "cache-control": "private, no-store" }), "no-store");
  });
});

describe("lifetime", () => {
  for (const [title, fields, expected] of [
    ["nothing declared: the option", {}, 60_000],
    ["the response says less", { "cache-control": "max-age=5" }, 5_000],
    ["the response says more", { "cache-control": "max-age=500" }, 60_000],
    ["the age on arrival is taken off", { "cache-control": "max-age=50", age: "20" }, 30_000],
  ] as const)
    test(title, () => assert.equal(lifetimeMs(fields, forAll, now), expected));
});

describe("stale answers (RFC 9111 section 4.2.4)", () => {
  for (const [value, shared, expected] of [
    ["max-age=5", true, true],
    ["must-revalidate", true, false],
    ["must-revalidate", false, false],
    ["proxy-revalidate", true, false],
    ["proxy-revalidate", false, true],
    ["s-maxage=5", true, false],
    ["s-maxage=5", false, true],
  ] as const)
    test(`${value}, ${shared ? "for everybody" : "for one user"}: ${expected}`, () => {
      assert.equal(mayBeServedStale({ "cache-control": value }, shared), expected);
    });
});

describe("tokens against cross-site requests", () => {
  const html = { "content-type": "text/html; charset=utf-8" };
  for (const field of [
    '<input type="hidden" name="_csrf" value="x">',
    "<input type=hidden name=csrf_token value=x>",
    "<INPUT NAME='csrfmiddlewaretoken'>",
    '<meta name="csrf-token" content="x">',
    '<input name = "authenticity_token">',
    '<input name="__RequestVerificationToken">',
    '<input name="_token"/>',
  ])
    test(`${field} is seen`, () => assert.equal(carriesCsrfToken(html, Buffer.from(`<p>é</p>${field}`)), true));

  test("a token is seen in a content coding, and what cannot be decoded may have one", () => {
    const form = Buffer.from('<input name="_csrf">');
    for (const [coding, body] of Object.entries({
      gzip: gzipSync(form),
      br: brotliCompressSync(form),
      deflate: deflateSync(form),
      identity: form,
      compress: Buffer.from("<p>"),
      "x-gzip": Buffer.from("<p>"),
    }))
      assert.equal(carriesCsrfToken({ ...html, "content-encoding": coding }, body), true, coding);
    assert.equal(carriesCsrfToken({ ...html, "content-encoding": "gzip" }, gzipSync("<p>")), false);
  });

  test("other fields are no tokens, and other types are not searched", () => {
    assert.equal(carriesCsrfToken(html, Buffer.from('<input name="csrf_explained_here"> name="x"')), false);
    assert.equal(carriesCsrfToken({ "content-type": "text/css" }, Buffer.from('[name="_csrf"]')), false);
  });
});

test("fields of the connection are not stored, neither are those that Connection names (RFC 9111 section 3.1)", () => {
  const fields = {
    connection: "close, X-Hop",
    "x-hop": "1",
    "keep-alive": "timeout=5",
    "transfer-encoding": "chunked",
    "content-length": "5",
    age: "3",
    "cache-status": "cdn; hit",
    "content-type": "text/html",
    link: ["</a>", "</b>"],
  };
  assert.deepEqual(storedFields({ status: 200, fields }), { "content-type": "text/html", link: ["</a>", "</b>"] });
});

test("fields that stood there before the handler began are this visitor's, unless they say what the page is", () => {
  const inherited = { "x-request-id": "1", vary: "Origin", "x-both": "a" };
  const fields = { ...inherited, "x-both": "b", "x-own": "c" };
  const expected = { vary: "Origin", "x-both": "b", "x-own": "c" };
  assert.deepEqual(storedFields({ status: 200, fields, inherited }), expected);
});
