/** Two users, a stranger, all kinds of routes, random order: no byte of one reaches another. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, describe, test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import fc from "fast-check";
import { createCache, memory } from "everfresh";
import { cachePages } from "everfresh/node";
import { ask, siteOn, sites, type Got, type Route, type Site } from "./sites.ts";
import { moreRuns } from "../support/thoroughness.ts";

const ttl = "1m" as const;
const html = { "content-type": "text/html" };
const secretOf = (user: string | undefined): string => (user === undefined ? "nobody" : `secret-of-${user}`);
const userIn = (cookies: string | undefined): string | undefined => /sid=(\w+)/.exec(cookies ?? "")?.[1];
/** Long enough to be compressed. */
const long = (text: string): string => `${text} `.repeat(150);

/** Routes as people write them: right, careless and wrong. Each shows the user's secret somewhere, or nothing of anybody. */
const routes: readonly Route[] = [
  { path: "/public", options: { ttl }, handler: () => ({ body: "for all" }) },
  { path: "/careless", options: { ttl }, handler: (asked) => ({ body: secretOf(asked.user()) }) },
  {
    path: "/careless-header",
    options: { ttl },
    handler: (asked) => ({ body: secretOf(userIn(asked.header("cookie"))) }),
  },
  {
    path: "/careless-ignoring",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ body: secretOf(asked.user()) }),
  },
  {
    path: "/careless-cookie",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ body: secretOf(userIn(asked.header("cookie"))) }),
  },
  {
    path: "/careless-key",
    options: { ttl, cookies: ["lang"] },
    handler: (asked) => ({ body: `${asked.header("cookie") ?? ""} ${secretOf(asked.user())}` }),
  },
  {
    path: "/by-cookie",
    options: { ttl, cookies: ["lang"] },
    handler: (asked) => ({ body: asked.header("cookie") ?? "none" }),
  },
  {
    path: "/account-bearer",
    options: { ttl, perUser: true },
    handler: (asked) => ({ body: `${secretOf(asked.user())} ${asked.header("authorization") ?? ""}` }),
  },
  { path: "/account", options: { ttl, perUser: true }, handler: (asked) => ({ body: secretOf(asked.user()) }) },
  {
    path: "/account-coded",
    options: { ttl, perUser: true, compress: ["br", "gzip"] },
    handler: (asked) => ({ headers: html, body: long(secretOf(asked.user())) }),
  },
  {
    path: "/account-failing",
    options: { ttl, perUser: true, tags: ["t"], staleIfError: "1h" },
    handler: (asked) => ({ status: asked.header("x-try") === undefined ? 200 : 500, body: secretOf(asked.user()) }),
  },
  { path: "/public-coded", options: { ttl }, handler: () => ({ headers: html, body: long("for all") }) },
  {
    path: "/careless-coded",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ headers: html, body: long(secretOf(asked.user())) }),
  },
  {
    path: "/careless-raw",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ body: secretOf(userIn(JSON.stringify(asked.raw()))) }),
  },
  {
    path: "/moved",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ status: 301, headers: { location: `/${secretOf(asked.user())}` }, body: "" }),
  },
  {
    path: "/login",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ headers: { "set-cookie": `sid=${asked.header("x-try") ?? ""}` }, body: "welcome" }),
  },
  {
    path: "/token",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ headers: html, body: `<input name="_csrf" value="${asked.header("x-try") ?? ""}">` }),
  },
  {
    path: "/varying",
    options: { ttl },
    handler: (asked) => ({ headers: { vary: "X-Try" }, body: asked.header("x-try") ?? "none" }),
  },
  {
    path: "/api",
    options: { ttl },
    handler: (asked) => ({ body: `${asked.header("authorization") ?? ""}${asked.header("x-api-key") ?? ""}` }),
  },
  {
    path: "/failing",
    options: { ttl },
    handler: (asked) => ({ status: 500, body: `failed for ${asked.header("x-try") ?? ""}` }),
  },
  {
    path: "/streamed",
    options: { ttl },
    handler: (asked) => ({ body: streamed(secretOf(asked.user())) }),
  },
];

async function* streamed(text: string): AsyncIterable<string> {
  for (const letter of text) yield letter;
}

const users = ["ann", "bob", undefined] as const;
type Extra = "authorization" | "x-api-key" | "x-try" | "accept-encoding" | "lang" | "no-cookie";

/** What visitors of a route bring when they bring what it looks at. */
const typical: Readonly<Record<string, readonly Extra[]>> = {
  "/by-cookie": ["lang"],
  "/account-bearer": ["authorization", "no-cookie"],
  "/account-coded": ["accept-encoding"],
  "/careless-coded": ["accept-encoding"],
  "/public-coded": ["accept-encoding"],
  "/login": ["x-try"],
  "/token": ["x-try"],
  "/varying": ["x-try", "no-cookie"],
  "/failing": ["x-try", "no-cookie"],
  "/api": ["authorization", "no-cookie"],
};

const visit = fc.record({
  elsewhere: fc.constantFrom(true, false, false, false),
  user: fc.constantFrom(...users),
  extras: fc.option(
    fc.subarray<Extra>(["authorization", "x-api-key", "x-try", "accept-encoding", "lang", "no-cookie"], {
      maxLength: 2,
    }),
    { nil: "typical" as const, freq: 1 },
  ),
  coding: fc.constantFrom("br", "gzip"),
  /** One part of a page, or nothing if it is what somebody got before. */
  condition: fc.constantFrom("range", "if-none-match", undefined, undefined),
  invalidates: fc.constantFrom(true, false, false),
  method: fc.constantFrom("GET", "GET", "GET", "HEAD"),
});

/** Users meet on one route, and now and then on another. */
const run = fc.record({
  other: fc.constantFrom(...routes.map(({ path }) => path)),
  visits: fc.array(visit, { minLength: 8, maxLength: 16 }),
});
type Visit = typeof visit extends fc.Arbitrary<infer T> ? T : never;

/** What an answer says, also where it is compressed. */
function plainText({ headers, body, status }: Got): string {
  const coding = status === 206 || body.length === 0 ? undefined : headers["content-encoding"];
  if (coding === "br") return brotliDecompressSync(body).toString();
  return (coding === "gzip" ? gunzipSync(body) : body).toString();
}

/** Without shrinking: it takes minutes, and says little more than a run as short as these. */
const settings = { numRuns: 5 * moreRuns, endOnFailure: true };

const opened: Site[] = [];
after(async () => {
  for (const site of opened) await site.close();
});

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}:`, () => {
    test("whatever one user has seen, another one never does", async () => {
      const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
      const site = await sites[framework](cache, routes);
      opened.push(site);
      let hits = 0;
      const onRoute = (route: string): Promise<void> =>
        fc.assert(
          fc.asyncProperty(run, ({ other, visits }) => play(route, other, visits)),
          settings,
        );
      const play = async (route: string, other: string, visits: readonly Visit[]): Promise<void> => {
        await cache.clear();
        /** Entity tags of pages that had somebody's secret. */
        const owners = new Map<string, string>();
        // The first half at once, so that they wait for one another's renderings as well, then all of them.
        const come = async (made: Visit): Promise<void> => {
          const { elsewhere, user, coding, condition, invalidates, method } = made;
          const path = elsewhere ? other : route;
          const extras = made.extras === "typical" ? (typical[path] ?? []) : made.extras;
          if (invalidates) await cache.invalidateTags(["t"]);
          const mine = user ?? "stranger";
          const headers: Record<string, string> = {};
          const cookies = user === undefined || extras.includes("no-cookie") ? [] : [`sid=${user}`];
          if (extras.includes("lang")) cookies.push(`lang=of-${mine}`);
          if (cookies.length > 0) headers["cookie"] = cookies.join("; ");
          if (extras.includes("authorization")) headers["authorization"] = `Bearer of-${mine}`;
          if (extras.includes("x-api-key")) headers["x-api-key"] = `key-of-${mine}`;
          if (extras.includes("x-try")) headers["x-try"] = `try-of-${mine}`;
          if (extras.includes("accept-encoding")) headers["accept-encoding"] = coding;
          if (condition === "range") headers["range"] = "bytes=0-40";
          if (condition === "if-none-match") headers["if-none-match"] = [...owners.keys()].join(", ");
          const got = await ask(site.origin + path, headers, method);
          if (/; hit/.test(String(got.headers["cache-status"]))) hits++;
          const text = plainText(got);
          const all = `${JSON.stringify(got.headers)} ${text}`;
          for (const whose of ["ann", "bob", "stranger"])
            if (whose !== mine) assert.doesNotMatch(all, new RegExp(`(of-|sid=)${whose}`));
          const { etag = "" } = got.headers;
          if (got.status === 304) assert.equal(owners.get(etag) ?? mine, mine, "nothing is new for another one's page");
          else if (text.includes(`of-${mine}`) && etag !== "") owners.set(etag, mine);
          // Nobody's page is no user's page either.
          if (path.startsWith("/account") && cookies[0] === `sid=${user}` && method === "GET" && got.status === 200)
            assert.match(text, new RegExp(secretOf(user)));
        };
        await Promise.all(visits.slice(visits.length >> 1).map(come));
        await Promise.all(visits.map(come));
      };
      for (const { path } of routes) await onRoute(path);
      assert.ok(hits > 15, `only ${hits} hits: nothing would have been seen`);
      await cache.close();
    });
  });

test("what layers around a page append to its lines for one visitor, others do not get", async () => {
  const pages = cachePages(createCache({ backend: memory({ limitBytes: 4_000_000 }) }), { ttl: "1m" }, (_req, res) => {
    res.setHeader("link", ["</a>; rel=next", "</b>; rel=prev"]);
    res.end("page");
  });
  const server = createServer((req, res) => {
    const writeHead = res.writeHead.bind(res);
    res.writeHead = ((...args: Parameters<typeof writeHead>) => {
      if (req.headers["x-who"] !== undefined) res.appendHeader("link", `</${String(req.headers["x-who"])}>; rel=me`);
      return writeHead(...args);
    }) as typeof writeHead;
    res.setHeader("x-layer", "layer");
    pages(req, res);
  });
  const site = await siteOn(server.listen(0, "127.0.0.1"));
  opened.push(site);
  await ask(site.origin);
  for (const who of ["ann", "bob"])
    assert.equal(
      (await ask(site.origin, { "x-who": who })).headers["link"],
      `</a>; rel=next, </b>; rel=prev, </${who}>; rel=me`,
    );
});
