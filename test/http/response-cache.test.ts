/** What the response cache does beyond one adapter's contract: what pages are made from, failures, contexts. */
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import { connect, type AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";
import { after, describe, test } from "node:test";
import { createCache, memory, metaBackend, none, type Cache } from "everfresh";
import { ResponseCache, tags, type Answer, type PageOptions, type PageRequest, type Served } from "everfresh/http";
import { cachePages } from "everfresh/node";
import { ask } from "../adapters/sites.ts";
import { deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock } from "../support/manual-clock.ts";

type Handler = (req: IncomingMessage, res: ServerResponse) => unknown;

const servers: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of servers) await close();
});

async function open(cache: Cache, options: PageOptions<IncomingMessage>, handler: Handler): Promise<string> {
  const server = createServer(cachePages(cache, options, (req, res) => void handler(req, res)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
const surrogate = { style: "surrogate-key", maxAge: "1h" } as const;
const inMemory = (): Cache => createCache({ backend: memory({ limitBytes: 4_000_000 }) });

describe("a page is invalidated by what it shows", () => {
  for (const coding of [undefined, "br"])
    for (const way of ["tag", "key"] as const)
      test(`an entry that is read while rendering, by its ${way}, ${coding ?? "plain"}`, async () => {
        const cache = inMemory();
        let row = 1;
        const entry = cache.entry("row", { load: () => row, tags: ["rows"] });
        const page = await open(cache, { ttl: "1m" }, async (_req, res) => {
          res.setHeader("content-type", "text/plain");
          res.end(`row ${await entry.get()} ${"x".repeat(2_000)}`);
        });
        const headers: Record<string, string> = coding === undefined ? {} : { "accept-encoding": coding };
        // The second one may still wait for the compression of the first.
        for (let visit = 0; visit < 2; visit++) await ask(page, headers);
        const before = await ask(page, headers);
        assert.match(String(before.headers["cache-status"]), /hit/);
        assert.equal(before.headers["content-encoding"], coding);
        row = 2;
        await (way === "tag" ? cache.invalidateTags(["rows"]) : entry.invalidate());
        assert.match((await ask(page)).text, /^row 2/);
      });
});

function rejecting(): Promise<never> {
  return Promise.reject(new Error("no"));
}

function refuse(): string {
  throw new Error("no");
}

describe("relaxations and failures", () => {
  test("staleIfError: where the handler answers with 5xx, the page from before goes out", async () => {
    const cache = inMemory();
    let broken = false;
    const page = await open(cache, { ttl: "1m", tags: ["t"], staleIfError: "1h" }, (_req, res) => {
      res.statusCode = broken ? 503 : 200;
      res.end(broken ? "broken" : "good");
    });
    await ask(page);
    broken = true;
    assert.equal((await ask(page)).text, "good");
    await pause(5);
    await cache.invalidateTags(["t"]);
    const got = await ask(page);
    // An invalidated page is stale as well, and the option allows it; by a tag it may be gone, then the error shows.
    assert.ok(got.text === "good" || got.text === "broken");
    if (got.text === "good") assert.match(String(got.headers["cache-status"]), /; hit; ttl=-\d+/);
    broken = false;
    assert.equal((await ask(page)).text, "good");
  });

  test("without the option an error goes out as it is, and nobody waits for it twice", async () => {
    const cache = inMemory();
    let renders = 0;
    const page = await open(cache, { ttl: "1m" }, (_req, res) => {
      renders++;
      res.statusCode = 500;
      res.end("broken");
    });
    const all = await Promise.all(Array.from({ length: 5 }, () => ask(page)));
    assert.deepEqual([...new Set(all.map(({ status }) => status))], [500]);
    assert.ok(renders <= 6);
  });

  test("with the cache's servers gone, the handler answers every request", async () => {
    const world = new FakeMemcached();
    const cache = createCache({ backend: metaBackend(world.client()) });
    let renders = 0;
    const page = await open(cache, { ttl: "1m" }, (_req, res) => res.end(`page ${++renders}`));
    await ask(page);
    world.down();
    assert.equal((await ask(page)).text, "page 2");
    assert.equal((await ask(page)).text, "page 3");
  });

  test("without any cache, too", async () => {
    const cache = createCache({ backend: none() });
    let renders = 0;
    const page = await open(cache, { ttl: "1m" }, (_req, res) => res.end(`page ${++renders}`));
    assert.equal((await ask(page)).text, "page 1");
    assert.equal((await ask(page)).text, "page 2");
  });

  test("a function among the options that throws costs the cache, not the page", async () => {
    const cache = inMemory();
    const page = await open(cache, { ttl: "1m", key: refuse }, (_req, res) => res.end("page"));
    const got = await ask(page);
    assert.equal(got.text, "page");
    assert.match(String(got.headers["cache-status"]), /fwd=bypass; detail=option/);
  });

  const given: [string, object][] = [
    ["tags", { tags: () => "a" }],
    ["tags", { tags: () => undefined }],
    ["tag", { tags: () => [5] }],
    ["tag", { tags: () => [""] }],
    ["100 tags", { tags: () => Array.from({ length: 101 }, (_, index) => String(index)) }],
    ["key", { key: () => undefined }],
    ["key", { key: () => 5 }],
    ["private", { private: () => 5 }],
    ["when", { when: () => "no" }],
    ["vary by accept", { vary: [{ header: "accept", as: () => undefined }] }],
    ...["tags", "key", "private", "when"].map((name): [string, object] => [name, { [name]: rejecting }]),
  ];
  for (const [name, wrong] of given)
    test(`${inspect(wrong)}: a result that cannot be used costs the cache, not the page, and says so`, async () => {
      const messages: string[] = [];
      const listener = (message: unknown): void => void messages.push((message as { message: string }).message);
      subscribe("everfresh:notice", listener);
      let renders = 0;
      const page = await open(inMemory(), { ttl: "1m", ...wrong }, (_req, res) => res.end(`page ${++renders}`));
      for (const text of ["page 1", "page 2"]) {
        const got = await ask(page);
        assert.deepEqual([got.status, got.text], [200, text]);
        assert.match(String(got.headers["cache-status"]), /fwd=bypass; detail=option/);
      }
      unsubscribe("everfresh:notice", listener);
      assert.match(messages.join(), new RegExp(name));
    });

  for (const tag of ["", "\ud800"])
    test(`a page with the tag ${JSON.stringify(tag)}, which the cache refuses, is sent and kept by nobody`, async () => {
      let renders = 0;
      const page = await open(inMemory(), { ttl: "1m", surrogate }, (_req, res) => {
        tags.add(tag);
        res.end(`page ${++renders}`);
      });
      const { text, headers } = await ask(page);
      // A shared cache in front could not be told to forget it.
      assert.deepEqual([text, headers["surrogate-control"]], ["page 1", "no-store, max-age=0"]);
      assert.match(String(headers["cache-status"]), /fwd=miss; detail=option/);
      assert.equal((await ask(page)).text, "page 2");
    });

  test("a handler that stops half-way leaves nothing behind", async () => {
    const cache = inMemory();
    let renders = 0;
    const page = await open(cache, { ttl: "1m" }, (_req, res) => {
      if (++renders > 1) res.end("whole");
      else {
        res.write("half");
        setImmediate(() => res.destroy());
      }
    });
    await assert.rejects(ask(page));
    assert.equal((await ask(page)).text, "whole");
  });

  test("a visitor who left before it was their turn to render keeps nobody waiting", { timeout: 20_000 }, async () => {
    const server = new FakeMemcached();
    const [one, two] = [server, server].map((each) => createCache({ backend: metaBackend(each.client()) }));
    const [begun, go, came, left, gaveUp] = [deferred(), deferred(), deferred(), deferred(), deferred()];
    const elsewhere = await open(one as Cache, { ttl: "1m" }, async (_req, res) => {
      begun.resolve();
      await go.promise;
      res.destroy();
    });
    const when = (req: IncomingMessage): boolean => {
      came.resolve();
      req.socket.once("close", () => left.resolve());
      return true;
    };
    const page = await open(two as Cache, { ttl: "1m", when }, (_req, res) => {
      // As `pipeline` does.
      if (res.destroyed) gaveUp.resolve();
      else res.end("page");
    });
    const host = { host: "site" };
    const first = ask(elsewhere, host).catch(() => undefined);
    await begun.promise;
    const visitor = connect(Number(new URL(page).port), "127.0.0.1");
    visitor.write("GET / HTTP/1.1\r\nHost: site\r\n\r\n");
    await came.promise;
    visitor.destroy();
    await left.promise;
    go.resolve();
    await first;
    await gaveUp.promise;
    assert.equal((await ask(page, host)).text, "page");
    for (const cache of [one, two]) await cache?.close();
  });

  test("of those who wait for a visitor who leaves, one renders for all", async () => {
    const cache = inMemory();
    const waiting = 5;
    const [begun, came, go] = [deferred(), deferred(), deferred()];
    let renders = 0;
    let visits = 0;
    const when = (): boolean => {
      if (++visits === waiting + 1) came.resolve();
      return true;
    };
    const page = await open(cache, { ttl: "1m", when }, async (_req, res) => {
      const render = ++renders;
      if (render === 1) {
        begun.resolve();
        await once(res, "close");
      } else await go.promise;
      res.end(`page ${render}`);
    });
    const visitor = connect(Number(new URL(page).port), "127.0.0.1");
    visitor.write("GET / HTTP/1.1\r\nHost: site\r\n\r\n");
    await begun.promise;
    const others = Array.from({ length: waiting }, () => ask(page, { host: "site" }));
    await came.promise;
    visitor.destroy();
    go.resolve();
    const texts = new Set((await Promise.all(others)).map(({ text }) => text));
    assert.deepEqual([[...texts], renders], [["page 2"], 2]);
  });

  test("a body that is shorter than it said is not stored", async () => {
    const cache = inMemory();
    const page = await open(cache, { ttl: "1m" }, (req, res) => {
      res.setHeader("content-length", req.headers["x-short"] === undefined ? "5" : "9");
      res.end("whole");
    });
    await assert.rejects(ask(page, { "x-short": "1" }));
    const got = await ask(page);
    assert.equal(got.text, "whole");
    assert.match(String(got.headers["cache-status"]), /fwd=miss; stored/);
  });
});

test("a hit that nobody needs to be asked about is answered at once, with its own age and conditions", async () => {
  const clock = new ManualClock();
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000, clock }), clock });
  const pages = new ResponseCache(cache, { ttl: "1m", tags: ["t"] }, {}, clock);
  const request = { method: "GET", scheme: "http", host: "shop.example", path: "/", query: "", fields: {} } as const;
  const serve = (more: Partial<PageRequest> = {}): Served | Promise<Served> =>
    pages.serve({ ...request, ...more }, undefined, (rendering) => {
      rendering.head({ status: 200, fields: {} });
      rendering.complete(Buffer.from("page"));
    });
  const atOnce = (more: Partial<PageRequest> = {}): Answer => {
    const served = serve(more);
    assert.ok(!(served instanceof Promise) && served.kind === "answer");
    return served.answer;
  };
  assert.deepEqual(await serve(), { kind: "own" });
  assert.equal(atOnce().fields["age"], "0");
  await clock.advance(3_000);
  const { fields, body } = atOnce();
  assert.equal(fields["age"], "3");
  assert.equal(fields["cache-status"], "everfresh; hit; ttl=57");
  assert.equal(String(body), "page");
  assert.equal(atOnce({ fields: { "if-none-match": String(fields["etag"]) } }).status, 304);
  assert.equal(atOnce({ fields: { range: "bytes=0-1" } }).status, 206);
  assert.equal(atOnce({ method: "HEAD" }).body, undefined);
  assert.equal(String(atOnce().body), "page");
  await cache.invalidateTags(["t"]);
  assert.ok(serve() instanceof Promise);
});

describe("what surrounds a page", () => {
  test("a handler runs in the asynchronous context of its own request", async () => {
    const cache = createCache({ backend: metaBackend(new FakeMemcached().client()) });
    const requests = new AsyncLocalStorage<string>();
    const seen: string[] = [];
    const listener = cachePages(cache, { ttl: "1m" }, (req, res) => {
      seen.push(`${req.url} in the ${requests.getStore()}`);
      res.end("page");
    });
    const server = createServer((req, res) => requests.run(`context of ${req.url}`, () => listener(req, res)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await Promise.all(["/1", "/2", "/3"].map((path) => ask(origin + path)));
    assert.deepEqual(
      seen.toSorted((a, b) => a.localeCompare(b)),
      ["/1", "/2", "/3"].map((path) => `${path} in the context of ${path}`),
    );
    server.closeAllConnections();
    server.close();
  });

  test("fields that stood there before are each visitor's own", async () => {
    const cache = inMemory();
    let visitor = 0;
    const listener = cachePages(cache, { ttl: "1m" }, (_req, res) => {
      res.setHeader("x-page", "1");
      res.end("page");
    });
    const server = createServer((req, res) => {
      res.setHeader("x-request-id", String(++visitor));
      listener(req, res);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    await ask(url);
    const second = await ask(url);
    assert.equal(second.headers["x-request-id"], "2");
    assert.equal(second.headers["x-page"], "1");
    assert.match(String(second.headers["cache-status"]), /hit/);
    server.closeAllConnections();
    server.close();
  });

  test("a shared cache in front gets the keys to purge by, those of what the page was made from too, and how long it may keep it", async () => {
    const cache = inMemory();
    const page = await open(cache, { ttl: "1m", tags: ["song:7", "a b"], surrogate }, async (_req, res) => {
      await cache.getOrSet("album", () => 1, { tags: ["albums"] });
      res.end("page");
    });
    await ask(page);
    const got = await ask(page);
    assert.match(String(got.headers["surrogate-key"]), /^song:7 a%20b page:.* albums$/);
    assert.equal(got.headers["surrogate-control"], "max-age=3600");
    assert.equal(got.headers["cache-control"], "no-cache");
  });

  for (const style of ["surrogate-key", "cache-tag"] as const)
    test(`a shared cache in front is told the same by a 304, by which it would keep its page for longer (${style})`, async () => {
      const options = { ttl: "1m", tags: ["t"], surrogate: { style, maxAge: "1h" } } as const;
      const page = await open(inMemory(), options, (_req, res) => res.end("page"));
      const names = style === "cache-tag" ? ["cdn-cache-control", "cache-tag"] : ["surrogate-control", "surrogate-key"];
      for (const control of ["no-store, max-age=0", "max-age=3600"]) {
        const { status, headers } = await ask(page, { "if-none-match": "*" });
        const [said, keys] = names.map((name) => headers[name]);
        assert.deepEqual([status, said], [304, control]);
        assert.equal(/^t[ ,]page:/.test(String(keys)), control === "max-age=3600");
      }
    });

  test("caches in front are told by what the options tell pages apart", async () => {
    const kinds = [
      [{ vary: ["x-tone"], cookies: ["lang"], surrogate }, "x-tone, Cookie, Authorization, Accept-Encoding"],
      // Past this cache goes who has cookies, or says who asks: nor may one in front answer them.
      [{ surrogate }, "Cookie, Authorization, Accept-Encoding"],
      [{ cookies: "ignore", surrogate }, "Authorization, Accept-Encoding"],
      [{}, "Accept-Encoding"],
    ] as const;
    for (const [options, vary] of kinds) {
      const page = await open(inMemory(), { ttl: "1m", ...options }, (_req, res) => res.end("page"));
      for (let visit = 0; visit < 2; visit++) assert.equal((await ask(page)).headers.vary, vary);
    }
  });

  const notCurrent: Record<string, Handler> = {
    "that was just rendered, and may have been purged meanwhile": (_req, res) => res.end("page"),
    "that is streamed, and may come to be one visitor's": (_req, res) => {
      res.write("pa");
      res.end("ge");
    },
    "with more keys than fit a field": (_req, res) => {
      tags.add(...Array.from({ length: 90 }, (_, index) => `${index}`.padStart(100)));
      res.end("page");
    },
  };
  test("HEAD does not find a page that an older deployment has kept without a tag which it has now, any more than GET", async () => {
    const cache = inMemory();
    const request: PageRequest = { method: "HEAD", scheme: "http", host: "h", path: "/", query: "", fields: {} };
    const deploy = (names: readonly string[]): ResponseCache<undefined> =>
      new ResponseCache(cache, { ttl: "1m", tags: names });
    const old = deploy(["songs"]);
    await old.serve({ ...request, method: "GET" }, undefined, (rendering) => {
      rendering.head({ status: 200, fields: {} });
      rendering.complete(Buffer.from("old"));
    });
    assert.equal((await old.serve(request, undefined, () => undefined)).kind, "answer");
    const next = deploy(["songs", "prices"]);
    await cache.invalidateTags(["prices"]);
    assert.equal((await next.serve(request, undefined, () => undefined)).kind, "pass");
  });

  for (const [title, handler] of Object.entries(notCurrent))
    test(`a shared cache in front is not to keep a page ${title}`, async () => {
      const page = await open(inMemory(), { ttl: "1m", tags: ["t"], surrogate }, handler);
      for (let visit = 0; visit < (title.startsWith("with") ? 3 : 1); visit++) {
        const { headers, text } = await ask(page);
        assert.equal(text, "page");
        assert.deepEqual([headers["surrogate-key"], headers["surrogate-control"]], [undefined, "no-store, max-age=0"]);
      }
    });

  test("a shared cache in front is not to keep a page that `local: { maxAge }` did not ask about, and may keep it once it was", async () => {
    const [world, clock] = [new FakeMemcached(), new ManualClock()];
    const cache = createCache({ backend: metaBackend(world.client()), clock, local: { maxAge: "250ms" } });
    const page = await open(cache, { ttl: "1m", tags: ["t"], surrogate }, (_req, res) => res.end("page"));
    await ask(page);
    const controls: unknown[] = [];
    for (const ms of [0, 300, 0]) {
      await clock.advance(ms);
      controls.push((await ask(page)).headers["surrogate-control"]);
    }
    assert.deepEqual(controls, ["no-store, max-age=0", "max-age=3600", "no-store, max-age=0"]);
  });

  test("a shared cache in front is not to keep a page that stands for an error", async () => {
    const cache = inMemory();
    let failing = false;
    const options = { ttl: "1m", tags: ["t"], staleIfError: "1m", surrogate } as const;
    const page = await open(cache, options, (_req, res) => {
      res.statusCode = failing ? 500 : 200;
      res.end("page");
    });
    await ask(page);
    assert.equal((await ask(page)).headers["surrogate-control"], "max-age=3600");
    failing = true;
    await cache.invalidateTags(["t"]);
    const { status, headers } = await ask(page);
    assert.deepEqual([status, headers["surrogate-control"]], [200, "no-store, max-age=0"]);
  });

  test("options that are unknown or out of range stop the start", () => {
    const cache = inMemory();
    for (const wrong of [
      { ttl: "1m", tag: ["x"] },
      { ttl: 60 },
      { ttl: "1m", statuses: [304] },
      { ttl: "1m", statuses: [500] },
      { ttl: "1m", vary: ["*"] },
      { ttl: "1m", vary: ["Cookie"] },
      { ttl: "1m", maxBodyBytes: 0 },
      { ttl: "1m", compress: ["deflate"] },
      { ttl: "1m", private: "session" },
      { ttl: "1m", private: () => "x", cookies: "ignore" },
    ])
      assert.throws(() => cachePages(cache, wrong as never, () => undefined), { code: "EF_OPTION" });
  });

  test("an option of the wrong form stops the start, and the error says which forms there are", () => {
    for (const [wrong, allowed] of [
      [{ cookies: "ignored" }, /cookies is "ignored"; it is "bypass", "ignore" or a list/],
      [{ cookies: "bypas" }, /cookies is "bypas"; it is "bypass"/],
      [{ cookies: true }, /"bypass"/],
      [{ cookies: [5] }, /cookies is \[5\]/],
      [{ cookies: [5n] }, /cookies is a list of 1; it is/],
      [{ private: true }, /private is true; it is "session" or a function/],
      [{ private: false }, /"session" or a function/],
      [{ private: "user" }, /"session" or a function/],
      [{ when: true }, /when is true; it is a function/],
      [{ key: "x" }, /key is "x"; it is a function/],
      [{ query: "none" }, /query is "none"; it is "all" or a list/],
      [{ query: {} }, /query is an object/],
      [{ vary: "accept" }, /vary is "accept"; it is a list/],
      [{ vary: [5] }, /a part of vary is 5/],
      [{ vary: [{ header: "accept", as: "en" }] }, /with a function/],
      [{ vary: [{ header: "accept", by: () => "" }] }, /no option by/],
      [{ compress: true }, /compress is true; it is false or a list/],
      [{ statuses: 200 }, /statuses is 200; it is a list/],
      [{ tags: "a" }, /tags is "a"; it is a list of texts, or a function/],
      [{ tags: [5] }, /a tag is a text/],
      [{ tags: [""] }, /a tag is a text/],
      [{ tags: Array.from({ length: 100 }, String) }, /number of tags is 100; it is at most 99/],
      [{ identity: "user" }, /identity is "user"; it is a list/],
      [{ serverTiming: "no" }, /true or false/],
      [{ surrogate: { style: "x", maxAge: "1h" } }, /surrogate.style is "x"; it is "surrogate-key" or "cache-tag"/],
      [{ surrogate: { style: "cache-tag" } }, /surrogate.maxAge/],
      [{ surrogate: "cache-tag" }, /surrogate is "cache-tag"; it is an object/],
    ] as const)
      assert.throws(
        () => cachePages(inMemory(), { ttl: "1m", ...wrong } as never, () => undefined),
        { code: "EF_OPTION", message: allowed },
        inspect(wrong),
      );
    assert.throws(() => cachePages(inMemory(), undefined as never, () => undefined), { code: "EF_OPTION" });
    assert.throws(() => cachePages(undefined as never, { ttl: "1m" }, () => undefined), { code: "EF_OPTION" });
    assert.throws(() => cachePages(inMemory(), { ttl: "1m" }, undefined as never), { code: "EF_OPTION" });
  });

  test("a page streams while it is stored: the first byte does not wait, and memory stays within the limit", async () => {
    const cache = inMemory();
    const first = deferred();
    const chunk = Buffer.alloc(64 * 1024, 120);
    const page = await open(cache, { ttl: "1m", maxBodyBytes: 256 * 1024 }, async (_req, res) => {
      res.write(chunk);
      await first.promise;
      for (let sent = 1; sent < 80; sent++) if (!res.write(chunk)) await once(res, "drain");
      res.end();
    });
    const got = await ask(page, {}, "GET", () => first.resolve());
    assert.equal(got.body.length, 80 * chunk.length);
    assert.match(String((await ask(page)).headers["cache-status"]), /unstorable|too-large/);
  });
});

test("a monitor of the cache does not have pages rendered again", async () => {
  const cache = inMemory();
  const monitor = cache.monitor({ sample: 1 });
  let renders = 0;
  const page = await open(cache, { ttl: "1m" }, (_req, res) => res.end(`page ${++renders}`));
  assert.equal((await ask(page)).text, "page 1");
  const again = await ask(page);
  assert.equal(again.text, "page 1");
  assert.match(String(again.headers["cache-status"]), /hit/);
  await cache.getOrSet("k", () => 1);
  await cache.getOrSet("k", () => 1);
  while (monitor.report().checked === 0) await new Promise(setImmediate);
  const { checked, failed } = monitor.report();
  assert.deepEqual([checked, failed, renders], [1, 0, 1]);
});
