/**
 * What pages may be shown past their time, over real sockets, for each framework: with `staleWhileRevalidate` nobody waits, and
 * nothing of a visitor gets into the page; with `staleIfError` it stands for an error.
 */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setTimeout as pause } from "node:timers/promises";
import { after, describe, test } from "node:test";
import { brotliDecompressSync } from "node:zlib";
import { createCache, memory, type Cache } from "everfresh";
import express from "express";
import { cachePage as expressPage } from "everfresh/express";
import { cachePage as honoPage } from "everfresh/hono";
import { cachePages } from "everfresh/node";
import { Hono } from "hono";
import { deferred } from "../support/deferred.ts";
import { ask, siteOn, sites, type Asked, type Got, type Route, type Told } from "./sites.ts";

const opened: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of opened) await close();
});

async function open(
  framework: keyof typeof sites,
  handler: (asked: Asked, renders: number) => Told | Promise<Told>,
  options: Partial<NonNullable<Route["options"]>> = {},
): Promise<{ cache: Cache; page: string; renders: () => number }> {
  const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
  let renders = 0;
  const route: Route = {
    path: "/page",
    options: { ttl: "150ms", staleWhileRevalidate: "1m", tags: ["t"], ...options },
    handler: (asked) => handler(asked, ++renders),
  };
  const site = await sites[framework](cache, [route]);
  opened.push(async () => {
    await site.close();
    await cache.close();
  });
  return { cache, page: `${site.origin}/page`, renders: () => renders };
}

const status = (got: Got): string => String(got.headers["cache-status"]);
const isStale = (got: Got): boolean => /; hit; ttl=-/.test(status(got));

/** Options without the one that is the subject above. */
const relaxed = { staleWhileRevalidate: "0s" } as const;

/** A page, and then errors. */
const told = (n: number): Told => (n === 1 ? { body: "page" } : { status: 503, body: "broken" });

/** Its first letters, as they were before they were compressed. */
const text = (got: Got): string =>
  (got.headers["content-encoding"] === "br" ? brotliDecompressSync(got.body).toString() : got.text).slice(0, 6);

/** When a rendering was given up because its deadline has passed. */
function givenUp(): Promise<void> {
  return new Promise((resolve) => {
    const listener = (message: unknown): void => {
      if ((message as { outcome: string }).outcome !== "failed") return;
      unsubscribe("everfresh:cache:load", listener);
      setImmediate(resolve);
    };
    subscribe("everfresh:cache:load", listener);
  });
}

/** A handler whose renderings are given up, and one whose second one is. */
async function slow(_: Asked, n: number): Promise<Told> {
  await givenUp();
  return told(n);
}
async function later(_: Asked, n: number): Promise<Told> {
  if (n === 2) await givenUp();
  return told(n);
}

async function* two(n: number): AsyncIterable<string> {
  yield "page ";
  await pause(1);
  yield `${n} ${"x".repeat(100_000)}`;
}

/** Asks until an answer is as it should be. */
async function askUntil(isRight: (got: Got) => boolean, url: string, headers?: Record<string, string>): Promise<Got> {
  for (const until = performance.now() + 10_000; ;) {
    const got = await ask(url, headers);
    if (isRight(got)) return got;
    assert.ok(performance.now() < until, `it never came; the last answer was ${got.status} ${got.text}`);
    await pause(5);
  }
}

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}, staleWhileRevalidate:`, () => {
    for (const coding of ["identity", "br"])
      test(`a page whose time is over is sent at once, and rendered anew once (${coding})`, async () => {
        const gate = deferred();
        const { page, renders } = await open(framework, async (_, n) => {
          if (n > 1) await gate.promise;
          const headers = { "content-type": "text/html" };
          return { headers, body: `page ${Math.min(n, 2)} ${"x".repeat(2_000)}` };
        });
        const headers = { "accept-encoding": coding };
        await ask(page, headers);
        // The handler is held up: whoever waited for it would wait for ever.
        for (let visit = 0; visit < 10; visit++) assert.equal(text(await askUntil(isStale, page, headers)), "page 1");
        assert.equal(renders(), 2);
        gate.resolve();
        await askUntil((got) => text(got) === "page 2", page, headers);
      });

    test("the rendering sees nothing of the visitor but what is part of the key", async () => {
      const seen: unknown[] = [];
      const { page } = await open(
        framework,
        (asked, n) => {
          seen.push([asked.url, ...["x-tone", "user-agent", "x-secret", "cookie"].map((name) => asked.header(name))]);
          return { body: `page ${n}` };
        },
        { cookies: ["theme"], query: ["page"], vary: ["X-Tone"] },
      );
      const headers = { "x-tone": "high", "user-agent": "spy", "x-secret": "s", cookie: "sid=ann; theme=dark" };
      const url = `${page}?page=2&utm=me`;
      await ask(url, headers);
      await askUntil(isStale, url, headers);
      await askUntil((got) => got.text !== "page 1", url, headers);
      assert.deepEqual(seen[1], ["/page?page=2", "high", undefined, undefined, "theme=dark"]);
    });

    test("what was invalidated is shown to nobody, also where its time is over as well", async () => {
      let row = 1;
      const gate = deferred();
      const { cache, page } = await open(framework, async (_, n) => {
        const seen = row;
        if (n === 2) await gate.promise;
        return { body: `row ${seen}` };
      });
      await ask(page);
      await askUntil(isStale, page);
      row = 2;
      await cache.invalidateTags(["t"]);
      const asking = ask(page);
      // Another visitor, past the cache: when this one is answered, the one before has been looked up.
      await ask(page, { authorization: "x" });
      gate.resolve();
      assert.equal((await asking).text, "row 2");
    });

    test("a rendering that fails leaves the page until its end, and nothing after it", async () => {
      const began = performance.now();
      const { page, renders } = await open(
        framework,
        (_, n) => (n === 1 ? { body: "page" } : { status: 500, body: "broken" }),
        { staleWhileRevalidate: "1s" },
      );
      await ask(page);
      const stored = performance.now();
      assert.equal((await askUntil(isStale, page)).text, "page");
      let askedAt = 0;
      const last = await askUntil((got) => {
        if (got.status !== 200) return true;
        assert.equal(got.text, "page");
        askedAt = performance.now();
        return false;
      }, page);
      assert.equal(last.text, "broken");
      assert.ok(askedAt < stored + 1150 + 250, `still shown after ${askedAt - stored} ms`);
      assert.ok(performance.now() >= began + 1150, "given up before its end");
      assert.ok(renders() > 2, "not tried again");
    });

    test("a handler that answers in another way ends the page", async () => {
      const { page } = await open(framework, (_, n) => (n === 1 ? { body: "page" } : { status: 404, body: "gone" }));
      await ask(page);
      assert.equal((await askUntil(isStale, page)).text, "page");
      assert.equal((await askUntil((got) => got.status !== 200, page)).text, "gone");
    });

    test("must-revalidate is waited for (RFC 9111 section 5.2.2.2)", async () => {
      const { page } = await open(framework, (_, n) => ({
        headers: { "cache-control": "must-revalidate" },
        body: `page ${n}`,
      }));
      await ask(page);
      const next = await askUntil((got) => {
        assert.ok(!isStale(got), status(got));
        return got.text !== "page 1";
      }, page);
      assert.equal(next.text, "page 2");
    });

    test("a page that is streamed is stored when its stream has ended", async () => {
      const { page } = await open(framework, (_, n) => ({ body: two(n) }));
      await ask(page);
      await askUntil(isStale, page);
      assert.equal((await askUntil((got) => !got.text.startsWith("page 1 "), page)).body.length > 100_000, true);
    });
  });

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}, staleIfError:`, () => {
    test("a page past its time is shown where the handler fails, while its visitor waits", async () => {
      const { page, renders } = await open(framework, (_, n) => told(n), { ...relaxed, staleIfError: "1m" });
      await ask(page);
      const got = await askUntil(isStale, page);
      assert.equal(got.status, 200);
      assert.equal(got.text, "page");
      assert.equal(renders(), 2);
    });

    test(
      "a handler that answers after its deadline is heard, also when it has failed",
      { timeout: 20_000 },
      async () => {
        const { page } = await open(framework, slow, { ...relaxed, staleIfError: "1m", timeout: "50ms" });
        assert.equal((await ask(page)).text, "page");
        assert.equal((await ask(page)).text, "broken");
        const kept = await open(framework, later, { ...relaxed, staleIfError: "1m", timeout: "50ms" });
        assert.equal((await ask(kept.page)).text, "page");
        await kept.cache.invalidateTags(["t"]);
        assert.equal((await ask(kept.page)).text, "broken");
      },
    );

    test(
      "nothing of the failure is shown, neither its headers nor what it still writes",
      { timeout: 20_000 },
      async () => {
        const shown = deferred();
        const { cache, page } = await open(
          framework,
          (_, n) => {
            if (n === 1) return { body: "page" };
            const headers = { "x-error": "no", "set-cookie": "error=1", "content-encoding": "gzip", etag: '"no"' };
            return { status: 500, headers, body: failing() };
          },
          { ...relaxed, ttl: "1m", staleIfError: "1m" },
        );
        async function* failing(): AsyncIterable<string> {
          yield "no ";
          await shown.promise;
          yield "and no";
        }
        await ask(page);
        await cache.invalidateTags(["t"]);
        const got = await ask(page);
        assert.equal(got.status, 200);
        assert.equal(got.text, "page");
        for (const name of ["x-error", "set-cookie", "content-encoding"])
          assert.equal(got.headers[name], undefined, name);
        assert.notEqual(got.headers.etag, '"no"');
        shown.resolve();
        assert.equal((await ask(page)).text, "page");
      },
    );

    test("not where it said must-revalidate, and the error is shown", async () => {
      const headers = { "cache-control": "must-revalidate" };
      const { page } = await open(framework, (_, n) => ({ headers, ...told(n) }), { ...relaxed, staleIfError: "1m" });
      await ask(page);
      const got = await askUntil((each) => each.text !== "page" || isStale(each), page);
      assert.equal(got.status, 503);
    });
  });

describe("staleWhileRevalidate is refused at the start", () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  test("for private pages, whose visitor is gone", () =>
    assert.throws(
      () => cachePages(cache, { ttl: "1m", staleWhileRevalidate: "1m", private: () => "ann" }, () => undefined),
      { code: "EF_OPTION", message: /private/ },
    ));
  test("with Hono where the app is not given", () =>
    assert.throws(() => honoPage(cache, { ttl: "1m", staleWhileRevalidate: "1m" }), {
      code: "EF_OPTION",
      message: /option app/,
    }));
});

describe("where pages are declared within others, past its time is rendered anew", () => {
  const swr = { ttl: "150ms", staleWhileRevalidate: "1m" } as const;
  const rows = {
    "the outer one, with the tags of both": [swr, { ttl: "1m", tags: ["inner"] }],
    "the inner one, which tells more apart": [{ ttl: "1m" }, { ...swr, tags: ["inner"], vary: ["x-tone"] }],
  } as const;
  for (const [title, [outer, inner]] of Object.entries(rows))
    test(title, async () => {
      const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
      let renders = 0;
      const app = express().use(expressPage(cache, outer));
      app.get("/page", expressPage(cache, inner), (_req, res) => void res.send(`page ${++renders}`));
      const site = await siteOn(app.listen(0, "127.0.0.1"));
      opened.push(async () => {
        await site.close();
        await cache.close();
      });
      const page = `${site.origin}/page`;
      const before = await askUntil(isStale, page);
      const anew = await askUntil((each) => / hit; ttl=\d/.test(status(each)), page);
      assert.notEqual(anew.text, before.text);
      await cache.invalidateTags(["inner"]);
      assert.notEqual((await ask(page)).text, anew.text);
    });
});

test("Hono: a failure whose body cannot be cancelled is not shown either", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }) });
  let renders = 0;
  const app = new Hono();
  app.get("/", honoPage(cache, { ttl: "1m", tags: ["t"], staleIfError: "1m" }), (c) =>
    ++renders === 1
      ? c.text("page")
      : c.body(new ReadableStream({ cancel: () => Promise.reject(new Error("no")) }), 500),
  );
  await app.request("/");
  await cache.invalidateTags(["t"]);
  assert.equal(await (await app.request("/")).text(), "page");
  await cache.close();
});
