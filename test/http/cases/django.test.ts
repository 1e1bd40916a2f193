/**
 * What Django's page cache and its conditional requests do, case by case: what they do right, ours does too, and where they were
 * found to go wrong, ours answers as it should. Cases are of Django 3.2, and of the corrections that came later.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { describe, test } from "node:test";
import { createCache, memory, none } from "everfresh";
import type { PageOptions } from "everfresh/http";
import { cachePages } from "everfresh/node";
import { entityTagOf } from "#src/http/conditional.ts";
import { ask, siteOn, type Site } from "../../adapters/sites.ts";
import { openSites, ScriptedSite, type Exchange, type SiteName, type Told } from "./exchanges.ts";

const sites = openSites();

type Row = readonly [title: string, exchanges: readonly Exchange[], site?: SiteName];

const page: Told = { fields: { "cache-control": "max-age=60" } };
const reused: Exchange = { is: "reused" };
const rendered: Exchange = { is: "rendered" };

/** A response that is sent, and rendered again for the next one. */
const unstored = (title: string, fields: Told["fields"]): Row => {
  const told = fields === undefined ? {} : { fields };
  return [
    title,
    [
      { told, is: "rendered" },
      { told, is: "rendered" },
    ],
  ];
};

const looking: readonly Row[] = [
  [
    "a page is there for the next one who asks, with its age",
    [{ told: page }, { after: 2, is: "reused", gets: { age: "2" } }],
  ],
  [
    "GET and HEAD are looked up, others never",
    [{ told: page }, { method: "HEAD", is: "reused" }, { method: "POST", is: "rendered" }],
  ],
  ["what HEAD was answered is no page for GET", [{ method: "HEAD", told: page }, rendered]],
  [
    "another query is another page",
    [
      { at: "?a=1", told: page },
      { at: "?a=2", is: "rendered" },
      { at: "?a=1", is: "reused" },
    ],
  ],
  [
    "the order of parameters makes no other page",
    [
      { at: "?a=1&b=2", told: page },
      { at: "?b=2&a=1", is: "reused" },
    ],
  ],
  [
    "another host is another page",
    [
      { asks: { host: "a.test" }, told: page },
      { asks: { host: "b.test" }, is: "rendered" },
    ],
  ],
  [
    "a path that memcached would not take for a key is a page like others (CVE-2020-13254)",
    [
      { at: "/%20%0d%0aset%20x", told: page },
      { at: "/%20%0d%0aset%20x", is: "reused" },
      { at: `/${"x".repeat(400)}`, told: page },
      { at: `/${"x".repeat(400)}`, is: "reused" },
      { at: `/${"x".repeat(401)}`, is: "rendered" },
    ],
  ],
  [
    "languages are part of the key where the page says so, however they are spelt",
    [
      { asks: { "accept-language": "de" }, told: { body: "deutsch" } },
      { asks: { "accept-language": "en" }, told: { body: "english" }, is: "rendered" },
      { asks: { "accept-language": "de-AT, en;q=0.5" }, is: "reused", text: "deutsch" },
      { asks: { "accept-language": "en-GB" }, is: "reused", text: "english" },
    ],
    "languages",
  ],
  [
    "a request's no-cache is not obeyed: visitors cannot make the site work harder",
    [{ told: page }, { asks: { "cache-control": "no-cache", pragma: "no-cache" }, is: "reused" }],
  ],
];

const storing: readonly Row[] = [
  unstored("no-store", { "cache-control": "no-store" }),
  unstored("no-cache", { "cache-control": "no-cache" }),
  unstored("private, in any case (CVE-2026-8404)", { "cache-control": "Private" }),
  unstored("s-maxage=0", { "cache-control": "s-maxage=0" }),
  unstored("max-age=0", { "cache-control": "max-age=0" }),
  unstored("what never_cache says", {
    "cache-control": "max-age=0, no-cache, no-store, must-revalidate, private",
    expires: 0,
  }),
  unstored("max-age=abc, which is no reason to fail", { "cache-control": "max-age=abc" }),
  unstored("Vary: *", { vary: "*" }),
  unstored("Vary with white space around * (CVE-2026-6907)", { vary: " * " }),
  unstored("Vary with * among others", { vary: "Accept, *" }),
  unstored("a cookie without Vary (CVE-2026-35192)", { "set-cookie": "sid=1" }),
  unstored("a cookie with Vary", { "set-cookie": "sid=1", vary: "Cookie" }),
  ['x="private" is another directive', [{ told: { fields: { "cache-control": 'x="private", max-age=60' } } }, reused]],
  ["an error", [{ told: { status: 500 } }, rendered]],
  ["a redirect that may change", [{ told: { status: 303, fields: { location: "/" } } }, rendered]],
  ["a handler's own 304", [{ told: { status: 304 } }, rendered]],
  [
    "nothing for who says who they are, and nothing of them",
    [{ asks: { authorization: "x" }, told: page }, rendered, { asks: { authorization: "x" }, is: "rendered" }],
  ],
  [
    "nothing for who has a cookie, unless the page says what cookies mean",
    [{ told: page }, { asks: { cookie: "a=b" }, is: "rendered" }],
  ],
  [
    "for who has a cookie that means nothing (CVE-2026-48588)",
    [
      { asks: { cookie: "a=b" }, told: page },
      { asks: { cookie: "c=d" }, is: "reused" },
    ],
    "cookieless",
  ],
  [
    "nothing that depends on cookies which mean nothing",
    [{ asks: { cookie: "a=b" }, told: { fields: { vary: "Cookie" } } }, rendered],
    "cookieless",
  ],
  [
    "a form with a token, which would be refused when another one sends it",
    [
      { told: { fields: { "content-type": "text/html" }, body: '<input name="csrfmiddlewaretoken" value="x">' } },
      rendered,
    ],
  ],
  [
    "for as long as the response says, where that is less than the option",
    [{ told: page }, { after: 59, is: "reused" }, { after: 2, is: "rendered" }],
  ],
  [
    "for as long as the option says, where that is less than the response",
    [
      { told: { fields: { "cache-control": "max-age=86400" } } },
      { after: 7_199, is: "reused" },
      { after: 2, is: "rendered" },
    ],
  ],
];

const varying: readonly Row[] = [
  [
    'A="a" with B="bc" is not A="ab" with B="c"',
    [
      ...[1, 2].map((): Exchange => ({ asks: { a: "a", b: "bc" }, told: { fields: { vary: "A, B" }, body: "first" } })),
      { asks: { a: "ab", b: "c" }, told: { fields: { vary: "A, B" }, body: "second" }, is: "rendered", text: "second" },
      { asks: { a: "a", b: "bc" }, is: "reused", text: "first" },
    ],
  ],
  [
    "an absent header is no value that could be sent (CVE-2026-113593)",
    [
      ...[1, 2].map((): Exchange => ({ told: { fields: { vary: "A" } } })),
      ...["-,", "-", ""].map((a): Exchange => ({ asks: { a }, told: { fields: { vary: "A" } }, is: "rendered" })),
      reused,
    ],
  ],
  [
    "white space in Vary is no other header (CVE-2026-48587)",
    [
      ...[1, 2].map((): Exchange => ({ asks: { a: "1" }, told: { fields: { vary: " A ,\tB" } } })),
      { asks: { a: "1" }, is: "reused" },
      { asks: { a: "2" }, is: "rendered" },
    ],
  ],
  [
    "Vary goes out to every browser, old ones too (CVE-2014-1418), each name once in any case",
    [
      { told: { fields: { vary: "accept-ENCODING" } }, gets: { vary: "accept-ENCODING" } },
      { asks: { "user-agent": "Mozilla/4.0 (compatible; MSIE 6.0)" }, is: "reused", gets: { vary: "accept-ENCODING" } },
    ],
  ],
  [
    "browsers are told to ask each time where the handler says nothing, and no date on which to stop asking",
    [{}, { is: "reused", gets: { "cache-control": "no-cache", expires: undefined } }],
  ],
];

const tag = '"a"';
const modified = "Sun, 22 Nov 2026 00:00:00 GMT";
const known: Told = {
  fields: {
    etag: tag,
    "last-modified": modified,
    "cache-control": "max-age=60",
    "content-location": "/here",
    vary: "Accept-Encoding",
    "x-other": "1",
  },
};

/** A page that is known, asked for with a condition. */
const condition = (title: string, asks: Exchange["asks"], status: number, method = "GET"): Row => [
  title,
  [{ told: known }, { method, asks: asks ?? {}, told: known, is: method === "POST" ? "rendered" : "reused", status }],
];

const conditions: readonly Row[] = [
  condition("If-None-Match with the tag: 304", { "if-none-match": tag }, 304),
  condition("If-None-Match with the tag, for HEAD: 304", { "if-none-match": tag }, 304, "HEAD"),
  condition("If-None-Match: *: 304", { "if-none-match": "*" }, 304),
  condition("If-None-Match compares weakly: 304", { "if-none-match": `W/${tag}` }, 304),
  condition("If-None-Match with another tag: 200", { "if-none-match": '"b"' }, 200),
  condition("If-None-Match for POST is the handler's to judge", { "if-none-match": "*" }, 200, "POST"),
  condition("If-Match with the tag: 200", { "if-match": tag }, 200),
  condition("If-Match: *: 200", { "if-match": "*" }, 200),
  condition("If-Match with another tag: 412", { "if-match": '"b"' }, 412),
  condition("If-Match compares strongly: 412", { "if-match": `W/${tag}` }, 412),
  condition("tags without quotes are ignored", { "if-none-match": "a" }, 200),
  condition("If-Modified-Since: 304", { "if-modified-since": modified }, 304),
  condition(
    "If-Modified-Since beside If-None-Match is ignored",
    { "if-modified-since": modified, "if-none-match": '"b"' },
    200,
  ),
  condition("If-Unmodified-Since: 412", { "if-unmodified-since": "Sat, 21 Nov 2026 00:00:00 GMT" }, 412),
  condition("If-Unmodified-Since that holds: 200", { "if-unmodified-since": modified }, 200),
  [
    "what is no success is sent as it is, whatever is asked",
    [
      { told: { status: 404, fields: { etag: tag } } },
      { asks: { "if-none-match": tag }, is: "reused", status: 404 },
      { asks: { "if-match": '"b"' }, is: "reused", status: 404 },
    ],
  ],
  [
    "304 says what it must and nothing else of the page",
    [
      { told: known },
      {
        asks: { "if-none-match": tag },
        status: 304,
        text: "",
        gets: {
          etag: tag,
          "cache-control": "max-age=60",
          "content-location": "/here",
          vary: "Accept-Encoding",
          date: 0,
          "last-modified": undefined,
          "x-other": undefined,
          "content-length": undefined,
        },
      },
    ],
  ],
  [
    "a page without a tag gets one that is its body's",
    [{}, { asks: { "if-none-match": entityTagOf(Buffer.from("0123456789")) }, is: "reused", status: 304 }],
  ],
];

for (const [title, rows] of Object.entries({ looking, storing, varying, conditions }))
  describe(`${title}:`, () => {
    for (const [at, [what, exchanges, site = "shared"]] of rows.entries())
      test(what, () => sites[site].play(`/${title}-${at}`, exchanges));
  });

test("a page has a lifetime: without one it stops at the start", () => {
  for (const ttl of [undefined, null, -1, 60, Number.POSITIVE_INFINITY])
    assert.throws(() => cachePages(createCache({ backend: none() }), { ttl } as never, () => undefined), {
      code: "EF_OPTION",
    });
});

test("a lifetime of nothing is none: every request is rendered", async () => {
  const site = new ScriptedSite({ ttl: "0s" });
  await site.open();
  await site.play("/", [{}, rendered, rendered]);
  await site.close();
});

test("a page belongs to its URL and its options, not to the route that made it", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  const open = (policy: PageOptions<IncomingMessage>, body: string): Promise<Site> =>
    siteOn(createServer(cachePages(cache, policy, (_req, res) => res.end(body))).listen(0, "127.0.0.1"));
  const routes = [
    await open({ ttl: "1m" }, "first"),
    await open({ ttl: "1m" }, "second"),
    await open({ ttl: "1m", key: () => "third" }, "third"),
  ];
  const texts: string[] = [];
  for (const { origin } of routes) texts.push((await ask(origin, { host: "shop.test" })).text);
  assert.deepEqual(texts, ["first", "first", "third"]);
  for (const route of routes) await route.close();
});
