/** Attempts to put something of an attacker's into a page that others see, for each framework, with bytes no client would send. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, describe, test } from "node:test";
import { createCache, memory } from "everfresh";
import express from "express";
import { cachePage } from "everfresh/express";
import { ask, sendBytes, siteOn, sites, type Asked, type Route, type Told } from "./sites.ts";

/** Headers that proxies use to say where a request was sent, and that programs believe. */
const believed = [
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-forwarded-scheme",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-server",
  "x-host",
  "x-original-host",
  "x-original-url",
  "x-rewrite-url",
  "forwarded",
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
];

/** A handler that believes everything, and says it. */
const echo = (asked: Asked): { body: string } => ({
  body: JSON.stringify([asked.url, asked.address(), ...believed.map((name) => asked.header(name))]),
});

/** What handlers without a library do, who forget Vary. */
const allowed = (asked: Asked): Record<string, string> => ({
  "access-control-allow-origin": asked.header("origin") ?? "*",
});

const megabyte = 1024 * 1024;

/** More than sockets hold, so whoever sends it must wait for whoever reads it. */
async function* large(): AsyncIterable<string> {
  for (let part = 0; part < 16; part++) yield "x".repeat(megabyte);
}

const options = { ttl: "1m" } as const;
/** What a program would put there that trusts what it was sent. */
const reflected = (asked: Asked): string => decodeURIComponent(asked.url.split("?")[1] ?? "");
/** Sends every spelling of a query on to one of them, as sites do for search engines. */
const sorted = ({ url }: Asked): Told => {
  const [path = "", query = ""] = url.split("?");
  const best = query.split("&").filter(Boolean).toSorted().join("&");
  const location = best === "" ? path : `${path}?${best}`;
  return location === url ? { body: "page" } : { status: 301, headers: { location }, body: "elsewhere" };
};
const routes: readonly Route[] = [
  { path: "/sorted", options, handler: sorted },
  {
    path: "/lang",
    options: { ...options, cookies: ["lang"] },
    handler: (asked) => ({ body: String(asked.header("cookie")) }),
  },
  { path: "/vary", options, handler: (asked) => ({ headers: { vary: reflected(asked) }, body: "page" }) },
  {
    path: "/tone",
    options,
    handler: (asked) => ({ headers: { vary: "X-Tone" }, body: asked.header("x-tone") ?? "none" }),
  },
  { path: "/large", options: { ...options, maxBodyBytes: megabyte * 20 }, handler: () => ({ body: large() }) },
  { path: "/near", options: { ...options, cookies: "ignore" }, handler: (asked) => ({ body: `near ${asked.ip()}` }) },
  { path: "/origin", options, handler: (asked) => ({ headers: allowed(asked), body: "data" }) },
  { path: "/page", options, handler: echo },
  { path: "/few", options: { ...options, query: ["n"] }, handler: echo },
  {
    path: "/blind",
    options: { ...options, cookies: "ignore" },
    handler: (asked) => ({ body: JSON.stringify(asked.raw()) }),
  },
];

const get = (target: string, ...headers: string[]): string =>
  [
    `GET ${target} HTTP/1.1`,
    ...(headers.some((line) => /^host:/i.test(line)) ? [] : ["Host: HOST"]),
    ...headers,
    "",
  ].join("\r\n");

const attacks: readonly (readonly [title: string, victim: string, head: string])[] = [
  ...believed.map((name) => [name, "/page", get("/page", `${name}: evil.test`)] as const),
  ["an absolute target elsewhere", "/page", get("http://evil.test/page")],
  ["an absolute target here, with a Host elsewhere", "/page", get("http://HOST/page", "Host: evil.test")],
  ["an absolute target with another scheme", "/page", get("https://HOST/page")],
  ["an absolute target with a user", "/page", get("http://evil@HOST/page")],
  ["a fragment", "/page", get("/page#evil")],
  ["a fragment with a query", "/page", get("/page#evil?x=y")],
  ["a fragment behind a query", "/page?x=y", get("/page?x=y#evil")],
  ["another Host", "/page", get("/page", "Host: evil.test")],
  ["two Hosts", "/page", get("/page", "Host: HOST", "Host: evil.test")],
  ["two Hosts, the other way", "/page", get("/page", "Host: evil.test", "Host: HOST")],
  ["the port of another scheme", "/page", get("/page", "Host: 127.0.0.1:443")],
  ["no Host", "/page", "GET /page HTTP/1.0\r\n"],
  ["an empty Host", "/page", get("/page", "Host: ")],
  ["a GET with content", "/page", `${get("/page", "Content-Type: application/json", "Content-Length: 2")}\r\n{}`],
  ["a header that is too long for Node", "/page", get("/page", `X-Long: ${"x".repeat(20_000)}`)],
  ["a long value of what the page varies on", "/tone", get("/tone", `X-Tone: ${"x".repeat(12_000)}`)],
  ["another case of a cookie", "/lang", get("/lang", "Cookie: LANG=evil")],
  ["a second value of a cookie", "/lang", get("/lang", "Cookie: lang=de; lang=evil")],
  ["a cookie inside of quotes", "/lang", get("/lang", 'Cookie: a="x; lang=evil"')],
  ["cookies between commas", "/lang", get("/lang", "Cookie: a=b, lang=evil")],
  ["a parameter", "/page", get("/page?evil=1")],
  ["a parameter that does not count", "/few?n=1", get("/few?n=1&evil=1")],
  ["a parameter that does not count, encoded", "/few?n=1", get("/few?%65vil=1&n=1")],
  ["a parameter behind a semicolon", "/few?n=1", get("/few?n=1;evil=1")],
  ["a second value of a parameter", "/few?n=1", get("/few?n=1&n=evil")],
  ["a second value under an encoded name", "/few?n=1", get("/few?n=1&%6e=evil")],
  ["parameters of a hash", "/few?n=1", get("/few?n=1&n[evil]=1")],
  ["a redirect from another order", "/sorted?a=1&b=2", get("/sorted?b=2&a=1")],
  ["a redirect from an empty parameter", "/sorted?a=1", get("/sorted?a=1&")],
  ["a redirect from two empty parameters", "/sorted", get("/sorted?&")],
  ["a redirect from an empty query", "/sorted", get("/sorted?")],
  ["a cookie that is not to be seen", "/blind", get("/blind", "Cookie: sid=evil")],
  ["two cookies that are not to be seen", "/blind", get("/blind", "Cookie: sid=evil", "cookie: a=evil")],
  ["a condition that is not to be seen", "/blind", get("/blind", 'If-None-Match: "evil"', "Range: bytes=0-1")],
];

const opened: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of opened) await close();
});

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}: nothing of an attacker's reaches others by`, async () => {
    const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
    const site = await sites[framework](cache, routes);
    opened.push(() => site.close());
    for (const [title, victim, head] of attacks)
      test(title, async () => {
        await cache.clear();
        const expected = (await ask(site.origin + victim)).text;
        await cache.clear();
        for (let time = 0; time < 2; time++) await sendBytes(site.origin, head);
        assert.equal((await ask(site.origin + victim)).text, expected);
      });

    test("their not reading what others wait for", async () => {
      await cache.clear();
      const { port } = new URL(site.origin);
      const socket = connect(Number(port), "127.0.0.1").pause();
      socket.write(`${get("/large", `Host: ${new URL(site.origin).host}`)}\r\n`);
      // Its head is on the way: the rendering is under way.
      await once(socket, "connect");
      const waiting = AbortSignal.timeout(10_000);
      const got = await Promise.race([ask(`${site.origin}/large`), once(waiting, "abort").then(() => undefined)]);
      assert.equal(got?.body.length, 16 * megabyte);
      socket.destroy();
    });

    // The other two do not say from where a request came, but by the socket.
    if (framework === "Express" || framework === "Fastify")
      test("their address, because a page that looked at it is not stored", async () => {
        const got = await ask(`${site.origin}/near`);
        assert.equal(got.text, "near 127.0.0.1");
        assert.match(String(got.headers["cache-status"]), /detail=identity-read/);
      });

    test("an origin that may read what nobody said to vary on it", async () => {
      await cache.clear();
      for (let time = 0; time < 2; time++) await sendBytes(site.origin, get("/origin", "Origin: http://evil.test"));
      for (const origin of ["http://good.test", "http://better.test"]) {
        const { headers } = await ask(`${site.origin}/origin`, { origin });
        assert.equal(headers["access-control-allow-origin"], origin);
        assert.match(String(headers.vary), /\bOrigin\b/);
      }
    });

    for (const [title, host] of [
      ["the case of the host", "SHOP.test"],
      ["a dot behind the host", "shop.test."],
      ["a port that says nothing", "shop.test:80"],
    ] as const)
      test(title, async () => {
        await cache.clear();
        await sendBytes(site.origin, get("/page", `Host: ${host}`));
        assert.doesNotMatch((await ask(`${site.origin}/page`, { host: "shop.test" })).text, /SHOP|test[.:]/);
      });

    for (const names of ["constructor", "__proto__", "*", "a b", "a,".repeat(200), "x".repeat(5_000)])
      test(`a Vary of ${names.slice(0, 20)}, and the page is there for others`, async () => {
        for (let time = 0; time < 3; time++) {
          const got = await ask(`${site.origin}/vary?${encodeURIComponent(names)}`);
          assert.equal(got.status, 200);
          assert.equal(got.text, "page");
        }
      });
  });

const asking = async (app: express.Express, evil: string, victim: string): Promise<string> => {
  const site = await siteOn(app.listen(0, "127.0.0.1"));
  opened.push(() => site.close());
  await ask(site.origin + evil);
  return (await ask(site.origin + victim)).text;
};

describe("Express: nothing of an attacker's reaches others", () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  const few = cachePage(cache, { ttl: "1m", query: ["n"] });

  for (const [evil, victim, expected] of [
    ["/?n=1&n[evil]=1", "/?n=1", '{"n":"1"}'],
    ["/?[n]=evil", "/", "{}"],
  ] as const)
    test(`by ${evil}, of which a parser that ran before makes n`, async () => {
      const app = express().set("query parser", "extended");
      // As Express 4 has it.
      app.use((req, _res, next) => {
        Object.defineProperty(req, "query", { value: req.query, writable: true, configurable: true });
        next();
      });
      app.get("/", few, (req, res) => void res.send(JSON.stringify(req.query)));
      assert.equal(await asking(app, evil, victim), expected);
    });

  test("by a parameter of the URL as it was before it was rewritten", async () => {
    const app = express();
    app.use((req, _res, next) => {
      req.url = "/page";
      next();
    });
    app.get("/page", few, (req, res) => void res.send(req.originalUrl));
    assert.equal(await asking(app, "/old?evil=1", "/old"), "/old");
  });
});
