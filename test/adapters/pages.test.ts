/** What every adapter keeps: one contract, spoken over real sockets, for each framework. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, describe, test } from "node:test";
import zlib, { brotliDecompressSync, gunzipSync } from "node:zlib";
import { createCache, memory, type Cache } from "everfresh";
import { cachePage as honoPage } from "everfresh/hono";
import { tags } from "everfresh/http";
import { Hono } from "hono";
import { deferred } from "../support/deferred.ts";
import { ask, sites, type Asked, type Got, type Route, type Site, type Told } from "./sites.ts";

const html = { "content-type": "text/html; charset=utf-8" };
const long = "<p>a page that is long enough to be worth compressing</p>".repeat(40);

/** A site with one route `/page`, and how often its handler ran. */
async function open(
  framework: keyof typeof sites,
  handler: (asked: Asked, renders: number) => Told | Promise<Told>,
  options: Partial<NonNullable<Route["options"]>> = {},
  more: readonly Route[] = [],
): Promise<{ cache: Cache; site: Site; page: string; renders: () => number }> {
  const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
  let renders = 0;
  const route: Route = {
    path: "/page",
    options: { ttl: "1m", tags: ["t"], ...options },
    handler: (asked) => handler(asked, ++renders),
  };
  const site = await sites[framework](cache, [route, ...more]);
  opened.push(async () => {
    await site.close();
    await cache.close();
  });
  return { cache, site, page: `${site.origin}/page`, renders: () => renders };
}
const opened: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of opened) await close();
});

async function* parts(): AsyncIterable<string> {
  for (let part = 0; part < 20; part++) yield "x".repeat(100);
}

async function* streamed(asked: Asked, n: number): AsyncIterable<string> {
  yield `page ${n}, `;
  // The handler has returned by now.
  await new Promise(setImmediate);
  yield `cookie ${asked.header("cookie")}`;
  if (asked.url.endsWith("?user")) yield `, user ${asked.user()}`;
}

async function* broken(n: number): AsyncIterable<string> {
  if (n === 1) throw new Error("no");
  yield `page ${n}`;
}

const status = (got: Got): string => String(got.headers["cache-status"]);

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}:`, () => {
    test("a page is rendered once, then answered with its age until its tag is invalidated", async () => {
      const { cache, page, renders } = await open(framework, (_, n) => ({ headers: html, body: `page ${n}` }));
      const first = await ask(page);
      assert.equal(first.text, "page 1");
      assert.match(status(first), /^everfresh; fwd=miss; stored/);
      assert.equal(first.headers["cache-control"], "no-cache");
      const second = await ask(page);
      assert.equal(second.text, "page 1");
      assert.match(status(second), /^everfresh; hit; ttl=\d+$/);
      assert.match(String(second.headers.age), /^\d+$/);
      assert.match(String(second.headers["server-timing"]), /^everfresh;desc=hit;dur=/);
      assert.equal(second.headers["content-length"], "6");
      assert.equal(second.headers["content-type"], html["content-type"]);
      assert.equal(renders(), 1);
      await cache.invalidateTags(["t"]);
      assert.equal((await ask(page)).text, "page 2");
    });

    test("a hit carries what the layers around it set for its own visitor", async () => {
      const { page, renders } = await open(framework, (_, n) => ({ headers: html, body: `page ${n}` }));
      await ask(page, { "x-layer": "first" });
      for (const layer of ["second", "third", undefined]) {
        const got = await ask(page, layer === undefined ? {} : { "x-layer": layer });
        assert.equal(got.headers["x-layer"], layer);
        assert.equal(got.headers["content-type"], html["content-type"]);
        assert.match(status(got), /; hit/);
      }
      assert.equal(renders(), 1);
    });

    test("twenty who ask at once are one rendering", async () => {
      const gate = deferred();
      const { page, renders } = await open(framework, async (_, n) => {
        await gate.promise;
        return { body: `page ${n}` };
      });
      const asking = Array.from({ length: 20 }, () => ask(page));
      gate.resolve();
      for (const got of await Promise.all(asking)) assert.equal(got.text, "page 1");
      assert.equal(renders(), 1);
    });

    test("a page that was rendered before a write never lands after it", async () => {
      let row = "old";
      const [read, go] = [deferred(), deferred()];
      const { cache, page } = await open(framework, async (_, n) => {
        const seen = row;
        if (n === 1) {
          read.resolve();
          await go.promise;
        }
        return { body: seen };
      });
      const early = ask(page);
      await read.promise;
      row = "new";
      await cache.invalidateTags(["t"]);
      const late = ask(page);
      go.resolve();
      assert.equal((await early).text, "old");
      assert.equal((await late).text, "new");
      assert.equal((await ask(page)).text, "new");
    });

    for (const [title, told, reason] of [
      ["a cookie", { headers: { "set-cookie": "a=b" }, body: "x" }, "set-cookie"],
      ["no-store", { headers: { "cache-control": "no-store" }, body: "x" }, "no-store"],
      ["private", { headers: { "cache-control": "Private, max-age=60" }, body: "x" }, "private"],
      ["an error", { status: 500, body: "x" }, "status"],
      ["Vary: *", { headers: { vary: "Accept, *" }, body: "x" }, "vary-any"],
      ["a form with a token", { headers: html, body: '<input name="_csrf" value="1">' }, "csrf-token"],
    ] as const)
      test(`${title} is sent and not stored`, async () => {
        const { page, renders } = await open(framework, () => told);
        const got = await ask(page);
        assert.equal(got.text, told.body);
        assert.equal(got.status, "status" in told ? told.status : 200);
        assert.match(status(got), new RegExp(`detail=${reason}$`));
        assert.equal((await ask(page)).headers.age, undefined);
        assert.equal(renders(), 2);
      });

    for (const [title, headers, reason] of [
      ["Authorization", { authorization: "Basic eDp5" }, "authorization"],
      ["a cookie", { cookie: "sid=ann" }, "cookie"],
      ["no-store", { "cache-control": "no-store" }, "request-no-store"],
    ] as const)
      test(`a request with ${title} is not answered from the cache`, async () => {
        const { page, renders } = await open(framework, (asked) => ({ body: asked.user() ?? "nobody" }));
        await ask(page);
        const got = await ask(page, headers);
        assert.equal(got.text, title === "a cookie" ? "ann" : "nobody");
        assert.match(status(got), new RegExp(`fwd=bypass; detail=${reason}$`));
        assert.equal((await ask(page)).text, "nobody");
        assert.equal(renders(), 2);
      });

    test("where cookies are ignored, a handler that looks at the user is not stored, and one that does not sees none", async () => {
      const looks = await open(framework, (asked) => ({ body: String(asked.user()) }), { cookies: "ignore" });
      assert.equal((await ask(looks.page, { cookie: "sid=ann" })).text, "ann");
      const got = await ask(looks.page, { cookie: "sid=bob" });
      assert.equal(got.text, "bob");
      const blind = await open(framework, (asked) => ({ body: String(asked.header("cookie")) }), { cookies: "ignore" });
      assert.equal((await ask(blind.page, { cookie: "sid=ann" })).text, "undefined");
      assert.equal((await ask(blind.page, { cookie: "sid=bob" })).headers.age, "0");
    });

    test("where cookies are ignored, what is streamed sees none either, and is not stored when it looks at the user", async () => {
      const { page, renders } = await open(framework, (asked, n) => ({ body: streamed(asked, n) }), {
        cookies: "ignore",
      });
      assert.equal((await ask(page, { cookie: "sid=alice" })).text, "page 1, cookie undefined");
      assert.equal((await ask(page, { cookie: "sid=bob" })).text, "page 1, cookie undefined");
      assert.match((await ask(`${page}?user`, { cookie: "sid=alice" })).text, /user alice$/);
      assert.match((await ask(`${page}?user`, { cookie: "sid=bob" })).text, /user bob$/);
      assert.equal(renders(), 3);
    });

    test("a stream that breaks off before its first byte keeps nobody waiting", { timeout: 20_000 }, async () => {
      // The handler of node:http would have to end the response itself.
      if (framework === "node:http") return;
      const { page } = await open(framework, (_, n) => ({ body: broken(n) }));
      await ask(page).catch(() => undefined);
      assert.equal((await ask(page)).text, "page 2");
    });

    test("cookies that are part of the key are all that the handler sees", async () => {
      const { page, renders } = await open(framework, (asked) => ({ body: String(asked.header("cookie")) }), {
        cookies: ["lang"],
      });
      assert.equal((await ask(page, { cookie: "sid=ann; lang=de" })).text, "lang=de");
      assert.equal((await ask(page, { cookie: "lang=de; sid=bob" })).text, "lang=de");
      assert.equal((await ask(page, { cookie: "lang=en" })).text, "lang=en");
      assert.equal(renders(), 2);
    });

    test("a private page belongs to its user", async () => {
      const { page, renders } = await open(framework, (asked) => ({ body: String(asked.user()) }), { perUser: true });
      for (let round = 0; round < 2; round++)
        for (const user of ["ann", "bob"]) {
          const got = await ask(page, { cookie: `sid=${user}` });
          assert.equal(got.text, user);
          assert.equal(got.headers["cache-control"], "private, no-cache");
          assert.match(String(got.headers.vary), /Cookie/);
        }
      assert.equal(renders(), 2);
      assert.match(status(await ask(page)), /detail=no-user/);
    });

    test("a conditional request is answered by the cache, and the handler never sees it", async () => {
      const { page, renders } = await open(framework, (asked) => {
        assert.equal(asked.header("if-none-match"), undefined);
        return { headers: html, body: long };
      });
      await ask(page, { "if-none-match": '"other"' });
      const { etag } = (await ask(page)).headers;
      assert.ok(etag);
      const got = await ask(page, { "if-none-match": etag });
      assert.equal(got.status, 304);
      assert.equal(got.body.length, 0);
      assert.equal(got.headers.etag, etag);
      assert.equal(got.headers["content-length"], undefined);
      assert.equal((await ask(page, { "if-match": '"other"' })).status, 412);
      assert.equal(renders(), 1);
    });

    test("HEAD is answered from what GET has stored, and stores nothing", async () => {
      const { page } = await open(framework, () => ({ headers: html, body: "0123456789" }));
      const before = await ask(page, {}, "HEAD");
      assert.equal(before.status, 200);
      assert.equal(before.body.length, 0);
      assert.equal((await ask(page)).text, "0123456789");
      const got = await ask(page, {}, "HEAD");
      assert.equal(got.headers["content-length"], "10");
      assert.equal(got.body.length, 0);
      assert.match(status(got), /; hit/);
    });

    test("a range of a stored page is a part of it, and of a page that is rendered all of it", async () => {
      const { page } = await open(framework, () => ({ headers: html, body: "0123456789" }));
      assert.equal((await ask(page, { range: "bytes=2-4" })).text.includes("234"), true);
      const got = await ask(page, { range: "bytes=2-4" });
      assert.equal(got.status, 206);
      assert.equal(got.text, "234");
      assert.equal(got.headers["content-range"], "bytes 2-4/10");
      assert.equal((await ask(page, { range: "bytes=10-" })).status, 416);
      assert.equal((await ask(page, { range: "bytes=2-4", "if-range": '"other"' })).text, "0123456789");
    });

    test("compressed pages are made from the one that was rendered, and sent as they are stored", async () => {
      const { cache, page, renders } = await open(framework, (asked) => {
        assert.equal(asked.header("accept-encoding"), undefined);
        return { headers: html, body: long };
      });
      assert.equal((await ask(page, { "accept-encoding": "gzip, br" })).text, long);
      const br = await ask(page, { "accept-encoding": "gzip, br" });
      assert.equal(br.headers["content-encoding"], "br");
      assert.equal(brotliDecompressSync(br.body).toString(), long);
      assert.match(String(br.headers.vary), /Accept-Encoding/);
      await ask(page, { "accept-encoding": "gzip" });
      const gzip = await ask(page, { "accept-encoding": "gzip" });
      assert.equal(gunzipSync(gzip.body).toString(), long);
      const plain = await ask(page);
      assert.equal(plain.text, long);
      // Express' own tags are weak, and a weak tag may stand for all codings (RFC 9110 section 8.8.3.3).
      const distinct = plain.headers.etag?.startsWith("W/") === true ? 1 : 3;
      assert.equal(new Set([br.headers.etag, gzip.headers.etag, plain.headers.etag]).size, distinct);
      assert.equal(renders(), 1);
      await cache.invalidateTags(["t"]);
      await ask(page, { "accept-encoding": "br" });
      assert.equal(renders(), 2);
    });

    test("a page says how old it is to its first visitor, and to the first who wants it compressed (RFC 9111 section 4)", async () => {
      const old = { ...html, age: "100", "cache-control": "max-age=600" };
      const { page } = await open(framework, () => ({ headers: old, body: long }));
      for (const coding of ["identity", "gzip"]) {
        const got = await ask(page, { "accept-encoding": coding });
        assert.match(status(got), /; fwd=miss; (?:stored|collapsed)$/);
        assert.match(String(got.headers.age), /^10\d$/);
      }
    });

    test("zstd is sent as stored where Node can make it, and left out where it cannot", async () => {
      const { page, renders } = await open(framework, () => ({ headers: html, body: long }), { compress: ["zstd"] });
      assert.equal((await ask(page, { "accept-encoding": "zstd" })).text, long);
      const got = await ask(page, { "accept-encoding": "zstd" });
      const unpack = (zlib as { zstdDecompressSync?: (body: Buffer) => Buffer }).zstdDecompressSync;
      assert.equal(got.headers["content-encoding"], unpack && "zstd");
      assert.equal((unpack === undefined ? got.body : unpack(got.body)).toString(), long);
      assert.equal(renders(), 1);
    });

    test("a streamed page leaves while it is rendered, and is stored whole", async () => {
      const gate = deferred();
      const { page, renders } = await open(framework, () => ({ headers: html, body: two() }));
      async function* two(): AsyncIterable<string> {
        yield "first ";
        await gate.promise;
        yield "second";
      }
      // The second half is written only after the first one was received: it cannot have been held back.
      const got = await ask(page, {}, "GET", () => gate.resolve());
      assert.equal(got.text, "first second");
      const again = await ask(page);
      assert.equal(again.text, "first second");
      assert.match(status(again), /; hit/);
      assert.equal(renders(), 1);
    });

    test("a body beyond the limit is sent and not stored", async () => {
      const { page, renders } = await open(framework, () => ({ body: parts() }), { maxBodyBytes: 1_000 });
      assert.equal((await ask(page)).body.length, 2_000);
      assert.equal((await ask(page)).body.length, 2_000);
      assert.equal(renders(), 2);
    });

    test("a page whose visitor left half-way is whole or not stored", async () => {
      const [started, left] = [deferred(), deferred()];
      const { site, page } = await open(framework, (_, n) => ({ body: n === 1 ? slow() : "second" }));
      async function* slow(): AsyncIterable<string> {
        yield "first ";
        started.resolve();
        await left.promise;
        yield "half";
      }
      const { hostname, port } = new URL(site.origin);
      const socket = connect(Number(port), hostname);
      socket.write("GET /page HTTP/1.1\r\nHost: " + new URL(page).host + "\r\n\r\n");
      await started.promise;
      socket.destroy();
      await once(socket, "close");
      left.resolve();
      const got = await ask(page);
      assert.ok(got.text === "second" || got.text === "first half", got.text);
    });

    test("headers that a response varies on make pages of their own", async () => {
      const { page, renders } = await open(framework, (asked) => ({
        headers: { vary: "X-Tone" },
        body: String(asked.header("x-tone")),
      }));
      for (let round = 0; round < 3; round++)
        for (const tone of ["high", "low"]) assert.equal((await ask(page, { "x-tone": tone })).text, tone);
      assert.equal((await ask(page)).text, "undefined");
      // One for finding out, one for each of three.
      assert.equal(renders(), 4);
    });

    test("parameters that do not count are not shown to the handler", async () => {
      const { page, renders } = await open(framework, (asked) => ({ body: asked.url }), { query: ["page"] });
      assert.equal((await ask(`${page}?utm=x&page=2`)).text, "/page?page=2");
      assert.equal((await ask(`${page}?page=2&utm=<script>`)).text, "/page?page=2");
      assert.equal((await ask(`${page}?utm=x`)).text, "/page");
      assert.equal(renders(), 2);
    });

    test("a write to the same URL invalidates it (RFC 9111 section 4.4)", async () => {
      let row = 1;
      const write: Route = {
        path: "/page",
        method: "POST",
        options: { ttl: "1m" },
        handler: () => ({ body: `wrote ${++row}` }),
      };
      const { page } = await open(framework, () => ({ body: `row ${row}` }), {}, [write]);
      assert.equal((await ask(page)).text, "row 1");
      if (framework === "node:http") return;
      assert.equal((await ask(page, {}, "POST")).text, "wrote 2");
      assert.equal((await ask(page)).text, "row 2");
    });

    for (const [title, code, cookie] of [
      ["a visitor's with a cookie", 200, "a=1"],
      ["an error", 500, undefined],
    ] as const)
      test(`a shared cache in front is told to keep nothing that is not kept here, ${title}, unless the handler says it may`, async () => {
        const options = { surrogate: { style: "surrogate-key", maxAge: "1h" } } as const;
        const said = { "surrogate-control": "max-age=5" };
        const { page } = await open(
          framework,
          ({ url }) => ({ status: code, body: "page", headers: url.endsWith("?said") ? said : {} }),
          options,
        );
        const headers = cookie === undefined ? {} : { cookie };
        for (let visit = 0; visit < 2; visit++)
          assert.equal((await ask(page, headers)).headers["surrogate-control"], "no-store, max-age=0");
        assert.equal((await ask(`${page}?said`, headers)).headers["surrogate-control"], "max-age=5");
      });

    test("tags can be added while rendering", async () => {
      const { cache, page } = await open(framework, async (_, n) => {
        await Promise.resolve();
        tags.add("user:7");
        return { body: `page ${n}` };
      });
      // A tag that is met for the first time is too new to be trusted: that page is not stored.
      await ask(page);
      const stored = (await ask(page)).text;
      assert.equal((await ask(page)).text, stored);
      await cache.invalidateTags(["user:7"]);
      assert.notEqual((await ask(page)).text, stored);
    });
  });

test("Hono: an answer past the cache that can carry no further field leaves as it is", async () => {
  const app = new Hono();
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  app.use(honoPage(cache, { ttl: "1m" }));
  // What other runtimes answer to an upgrade; Node's `Response` refuses to be made with such a status.
  const upgraded = Object.create(Response.prototype, { status: { value: 101 }, headers: { value: new Headers() } });
  app.get("/", () => upgraded as Response);
  assert.equal(await app.request("/", { headers: { upgrade: "websocket" } }), upgraded);
  await cache.close();
});
