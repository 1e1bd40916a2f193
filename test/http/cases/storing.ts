/** What may be stored (RFC 9111 section 3): directives, statuses, methods, users, and which fields are kept. */
import type { Exchange, Told, Values } from "./exchanges.ts";
import { pause, rows, twice, type Case } from "./table.ts";

const fresh = { "cache-control": "max-age=100000", expires: 100_000, "last-modified": 0, date: 0 };
const noUpstream = "what must be asked about first is rendered anew: asking the handler is rendering";

export const directives: readonly Case[] = [
  ...rows([
    ["cc-resp-private-shared", { "cache-control": "private, max-age=3600" }, "rendered"],
    ["cc-resp-no-store", { "cache-control": "no-store" }, "rendered"],
    ["cc-resp-no-store-case-insensitive", { "cache-control": "No-StOrE" }, "rendered"],
    ["cc-resp-no-store-fresh", { "cache-control": "max-age=10000, no-store", expires: 10_000, date: 0 }, "rendered"],
    ["cc-resp-no-cache", { "cache-control": "max-age=10000, no-cache", expires: 10_000, date: 0 }, "rendered"],
    [
      "cc-resp-no-cache-case-insensitive",
      { "cache-control": "max-age=10000, No-CaChE", expires: 10_000, date: 0 },
      "rendered",
    ],
    ["cc-resp-no-cache-revalidate", { "cache-control": "no-cache", etag: '"abcd"' }, "reused", noUpstream],
    [
      "cc-resp-no-cache-revalidate-fresh",
      { "cache-control": "max-age=10000, no-cache", etag: '"abcd"' },
      "reused",
      noUpstream,
    ],
    [
      "headers-omit-headers-listed-in-Cache-Control-no-cache-single",
      { "cache-control": ['no-cache="a"', "max-age=3600"], a: "1", b: "2" },
      "reused",
      "RFC 9111 5.2.2.4: the form with names is taken as the form without",
    ],
    [
      "headers-omit-headers-listed-in-Cache-Control-no-cache",
      { "cache-control": ['no-cache="a, b"', "max-age=3600"], a: "1", b: "2", c: "3" },
      "reused",
      "RFC 9111 5.2.2.4: the form with names is taken as the form without",
    ],
    ["cc-resp-must-revalidate-fresh", { "cache-control": "max-age=10000, must-revalidate", etag: '"abcd"' }, "reused"],
  ]),
  twice(
    "cc-resp-private-private",
    { fields: { "cache-control": "private, max-age=3600" } },
    "reused",
    undefined,
    "oneUser",
  ),
  {
    id: "cc-resp-must-revalidate-stale",
    exchanges: [
      { told: { fields: { "cache-control": "max-age=2, must-revalidate", etag: '"abcd"' } } },
      { is: "reused" },
      { after: pause, is: "rendered" },
    ],
  },
];

const kept = [200, 203, 204, 301, 302, 307, 308, 404, 410];
const notKept = [299, 303, 400, 499, 500, 502, 503, 504, 599];
const errors = "only statuses that mean the same to everybody may be stored, and of those what `statuses` names";
const understood = "max-age=3600, no-store, must-understand";

export const statuses: readonly Case[] = [
  ...kept.map((status) => twice(`status-${status}-fresh`, { status, fields: fresh }, "reused")),
  ...notKept.map((status) => twice(`status-${status}-fresh`, { status, fields: fresh }, "reused", errors)),
  ...[...kept, ...notKept].map((status) => {
    const fields = { expires: -5000, "last-modified": -100_000, date: 0 };
    return twice(`status-${status}-stale`, { status, fields }, "rendered");
  }),
  twice("status-599-must-understand", { status: 599, fields: { "cache-control": understood } }, "rendered"),
  twice(
    "status-200-must-understand",
    { fields: { "cache-control": understood } },
    "reused",
    "RFC 9111 5.2.2.3 lets a cache ignore no-store here; ours obeys it",
  ),
];

export const pragma: readonly Case[] = [
  ...["no-cache", "unrecognised-extension"].flatMap((value): Case[] => {
    const name = value === "no-cache" ? "no-cache" : "extension";
    const told = { fields: { "cache-control": "max-age=3600" } };
    return [
      { id: `pragma-request-${name}`, exchanges: [{ told }, { asks: { pragma: value }, is: "reused" }] },
      twice(`pragma-response-${name}`, { fields: { ...told.fields, pragma: value } }, "reused"),
    ];
  }),
  twice("pragma-response-no-cache-heuristic", { fields: { "last-modified": -10_000, pragma: "no-cache" } }, "reused"),
];

const someone = "whoever says who they are is never answered with, nor from, what is for everybody";

const authorized = (id: string, cacheControl: string, other?: string): Case => ({
  id,
  ...(other !== undefined && { other }),
  exchanges: [
    { asks: { authorization: "FOO" }, told: { fields: { "cache-control": cacheControl } }, is: "rendered" },
    { after: pause, is: "rendered" },
  ],
});

export const users: readonly Case[] = [
  authorized("other-authorization", "max-age=100000"),
  authorized("other-authorization-public", "max-age=3600, public", someone),
  authorized("other-authorization-must-revalidate", "max-age=3600, must-revalidate", someone),
  authorized("other-authorization-smaxage", "s-maxage=3600", someone),
  twice(
    "other-set-cookie",
    { fields: { ...fresh, "set-cookie": "a=b" } },
    "reused",
    "nobody gets a cookie of another's",
  ),
  {
    id: "other-cookie",
    site: "cookieless",
    exchanges: [{ told: { fields: fresh } }, { asks: { cookie: "a=b" }, is: "reused" }],
  },
];

export const methods: readonly Case[] = [
  {
    id: "method-POST",
    other: "RFC 9110 9.3.3 allows it; no answer to POST is stored here",
    exchanges: [
      { method: "POST", told: { fields: { expires: 3600, "content-location": "/method-POST" } } },
      { is: "rendered" },
    ],
  },
];

export const urls: readonly Case[] = [
  {
    id: "query-args-different",
    exchanges: [
      { at: "?test=1", told: { fields: fresh } },
      { at: "?test=2", is: "rendered" },
    ],
  },
  {
    id: "query-args-same",
    exchanges: [
      { at: "?test=1", told: { fields: fresh } },
      { at: "?test=1", is: "reused" },
    ],
  },
  ...rows([
    [
      "other-heuristic-content-disposition-attachment",
      { "last-modified": -100_000, "content-disposition": "attachment; filename=example.txt" },
      "reused",
    ],
    [
      "other-fresh-content-disposition-attachment",
      { ...fresh, "content-disposition": "attachment; filename=example.txt" },
      "reused",
    ],
  ]),
];

/** A field that must come back, or must not, with what is reused. */
function stored(name: string, value: string, isKept = true): Case {
  const lower = name.toLowerCase();
  const fields: Values = { "cache-control": "max-age=3600", date: 0, [lower]: value };
  const gets = { [lower]: isKept ? value : undefined };
  return { id: `headers-store-${name}`, exchanges: [{ told: { fields } }, { after: pause, is: "reused", gets }] };
}

/** A field with which ours stores nothing at all. */
const unstored = (name: string, value: string, other: string): Case =>
  twice(
    `headers-store-${name}`,
    { fields: { "cache-control": "max-age=3600", [name.toLowerCase()]: value } },
    "reused",
    other,
  );

export const fields: readonly Case[] = [
  {
    id: "headers-omit-headers-listed-in-Connection",
    exchanges: [
      { told: { fields: { ...fresh, connection: "a, b", a: "1", b: "2", c: "3" } } },
      { after: pause, is: "reused", gets: { a: undefined, b: undefined, c: "3" } },
    ],
  },
  ...["Test-Header", "X-Test-Header", "Content-Foo", "X-Content-Foo", "Public-Key-Pins", "Set-Cookie2"].map((name) =>
    stored(name, "v"),
  ),
  stored("Cache-Control", "max-age=3600"),
  stored("Content-Length", "10"),
  stored("Content-Location", "/bar"),
  stored("Content-MD5", "N7UdGUp1E+RbVvZSTy1R8g=="),
  stored("Content-Security-Policy", "default-src 'self' cdn.example.com"),
  stored("Content-Type", "text/plain;charset=utf-8"),
  stored("Clear-Site-Data", "cookies"),
  stored("ETag", '"ghijkl"'),
  stored("Expires", "Mon, 11 Jan 2038 11:11:11 GMT"),
  stored("X-Frame-Options", "sameorigin"),
  stored("X-XSS-Protection", "1; mode=block"),
  { id: "headers-store-Keep-Alive", exchanges: keepAlive() },
  ...["Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection", "TE"].map((name) =>
    stored(name, "v", false),
  ),
  stored("Upgrade", "v", false),
  stored("Transfer-Encoding", "chunked", false),
  unstored("Content-Encoding", "v", "the cache makes the codings itself; what the handler has coded passes by"),
  unstored("Content-Range", "v", "a part of something is not stored"),
  unstored("Set-Cookie", "a=c", "nobody gets a cookie of another's"),
];

/** Node says this one of its own connection, so what must not come back is the handler's value. */
function keepAlive(): Case["exchanges"] {
  const told = { fields: { "cache-control": "max-age=3600", "keep-alive": "timeout=77" } };
  return [{ told }, { after: pause, is: "reused", gets: { "keep-alive": /^(?!timeout=77)/ } }];
}

const hints = { link: "</styles.css>; rel=preload; as=style", "x-my-header": "test" };

/** A page before which something is said, then the page without that. */
function interimCase(id: string, told: Told, hears: readonly number[]): Case {
  const exchanges: Exchange[] = [
    { told: { fields: fresh, ...told }, is: "rendered", hears },
    { after: pause, is: "reused", hears: [], gets: { "x-my-header": undefined } },
  ];
  return { id: `interim-${id}`, exchanges };
}

export const interim: readonly Case[] = [
  interimCase("102", { processing: true }, [102]),
  interimCase("103", { hints }, [103]),
  interimCase("not-cached", { hints }, [103]),
  interimCase("no-header-reuse", { hints }, [103]),
];
