/** What layers around cached pages do for one visitor, or before the cache does: nobody else gets it, and nothing breaks. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type RequestListener } from "node:http";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { after, describe, test } from "node:test";
import { createCache, memory, type Cache } from "everfresh";
import { cachePage } from "everfresh/fastify";
import type { PageStore } from "everfresh/http";
import { cachePages } from "everfresh/node";
import fastify, { type FastifyInstance } from "fastify";
import { deferred } from "../support/deferred.ts";
import { ask, siteOn } from "./sites.ts";

const opened: (() => unknown)[] = [];
after(async () => {
  for (const close of opened) await close();
});

const inMemory = (): Cache => createCache({ backend: memory({ limitBytes: 4_000_000 }) });

async function open(listener: RequestListener): Promise<string> {
  const site = await siteOn(createServer(listener).listen(0, "127.0.0.1"));
  opened.push(() => site.close());
  return site.origin;
}

const userOf = (request: object): string | undefined => (request as { user?: string }).user;

describe("Fastify's hooks behind a page's handler", () => {
  const pages = cachePage(inMemory(), { ttl: "1m", cookies: "ignore" });
  /** A site that knows its visitors by their cookie. */
  const siteWith = async (hook: (app: FastifyInstance) => void): Promise<string> => {
    const app = fastify({ forceCloseConnections: true });
    app.decorateRequest("user");
    app.addHook("onRequest", (request, _reply, done) => {
      Object.assign(request, { user: request.headers.cookie });
      done();
    });
    hook(app);
    app.get("/", { preHandler: pages }, (_request, reply) => reply.header("x-page", "page").send("page"));
    opened.push(() => app.close());
    return await app.listen({ port: 0, host: "127.0.0.1" });
  };
  test("set headers for each visitor anew: others do not get them", async () => {
    const origin = await siteWith((app) =>
      app.addHook("onSend", (request, reply, payload, done) => {
        if (userOf(request) !== undefined) reply.header("x-user", userOf(request));
        done(null, payload);
      }),
    );
    for (const cookie of ["ann", "bob", undefined]) {
      const { headers } = await ask(origin, cookie === undefined ? {} : { cookie });
      assert.equal(headers["x-user"], cookie);
      assert.equal(headers["x-page"], "page");
    }
  });

  test("leave what a handler's Response says to the page: what it varies on, where it leads, what it is", async () => {
    const app = fastify({ forceCloseConnections: true });
    app.get("/", { preHandler: pages }, (request) => {
      const headers = { vary: "Accept-Language", "x-page": "page" };
      return new Response(request.headers["accept-language"], { headers });
    });
    app.get("/old", { preHandler: pages }, () => new Response(null, { status: 301, headers: { location: "/" } }));
    opened.push(() => app.close());
    const origin = await app.listen({ port: 0, host: "127.0.0.1" });
    for (const language of ["de", "en", "de", "en", "fr"]) {
      const got = await ask(origin, { "accept-language": language });
      assert.equal(got.text, language);
      assert.equal(got.headers["x-page"], "page");
    }
    for (let round = 0; round < 2; round++) assert.equal((await ask(`${origin}/old`)).headers["location"], "/");
  });

  test("do not make a download of a page that does not say what it is", async () => {
    const app = fastify({ forceCloseConnections: true });
    app.get("/", { preHandler: pages }, (_request, reply) => reply.send(Readable.from(["<!doctype html>"])));
    app.get("/nothing", { preHandler: pages }, (_request, reply) => reply.send());
    opened.push(() => app.close());
    const origin = await app.listen({ port: 0, host: "127.0.0.1" });
    for (const [path, page] of [
      ["/", "<!doctype html>"],
      ["/nothing", ""],
    ] as const)
      for (let round = 0; round < 3; round++) {
        const got = await ask(`${origin}${path}`);
        assert.equal(got.text, page);
        assert.equal(got.headers["content-type"], undefined);
        assert.equal(got.headers["content-length"], round === 0 && page !== "" ? undefined : String(page.length));
        if (round > 0) assert.match(String(got.headers["cache-status"]), /; hit;/);
      }
  });

  test("change the text for each visitor: it is sent and not stored", async () => {
    const origin = await siteWith((app) =>
      app.addHook("onSend", (request, _reply, payload, done) => done(null, `${String(payload)} of ${userOf(request)}`)),
    );
    for (const cookie of ["ann", "bob"]) {
      const got = await ask(origin, { cookie });
      assert.equal(got.text, `page of ${cookie}`);
      assert.match(String(got.headers["cache-status"]), /detail=(rewritten|unstorable)$/);
    }
  });
});

test("a layer may answer somebody who waits for a page, before it is there", async () => {
  const [rendering, gate] = [deferred(), deferred()];
  const pages = cachePages(inMemory(), { ttl: "1m" }, (_req, res) => {
    rendering.resolve();
    void gate.promise.then(() => res.end("page"));
  });
  const origin = await open((req, res) => {
    pages(req, res);
    if (req.headers["x-hurry"] !== undefined) setImmediate(() => res.writeHead(503).end("too slow"));
  });
  const first = ask(origin);
  await rendering.promise;
  assert.equal((await ask(origin, { "x-hurry": "1" })).text, "too slow");
  gate.resolve();
  assert.equal((await first).text, "page");
  assert.match(String((await ask(origin)).headers["cache-status"]), /; hit/);
});

describe("the answer to a write", () => {
  const answers: Record<string, RequestListener> = {
    "at once": (_req, res) => res.end("wrote"),
    "in parts": (_req, res) => {
      res.setHeader("content-length", 5);
      res.write("wro");
      res.write("te");
      res.end();
    },
    "after its head": (_req, res) => {
      res.flushHeaders();
      res.end("wrote");
    },
  };
  for (const [title, handler] of Object.entries(answers))
    test(`leaves when its pages are invalidated, also where it is sent ${title}`, async () => {
      const [begun, gate] = [deferred(), deferred()];
      const store = {
        getOrSetEntry: () => Promise.reject(new Error("nobody reads")),
        invalidateTags: async () => {
          begun.resolve();
          await gate.promise;
        },
      } as unknown as PageStore;
      const pages = cachePages(store, { ttl: "1m" }, handler);
      const origin = await open((req, res) => (req.method === "POST" ? pages(req, res) : res.end("other")));
      let isAnswered = false;
      const asked = httpRequest(origin, { method: "POST", agent: false }).end();
      const answer = once(asked, "response").then(async ([res]) => {
        isAnswered = true;
        return await text(res as IncomingMessage);
      });
      await begun.promise;
      // Whoever was answered before has heard of it by now.
      for (let other = 0; other < 3; other++) await ask(origin);
      assert.equal(isAnswered, false);
      gate.resolve();
      assert.equal(await answer, "wrote");
    });

  for (const [title, isEarly] of [
    ["before the handler was done", true],
    ["before the first of it was made", false],
  ] as const)
    test(
      `invalidates its pages also where it is a stream whose visitor left ${title}`,
      { timeout: 20_000 },
      async () => {
        const [begun, gate, closed, invalidated] = [deferred(), deferred(), deferred(), deferred()];
        const store = {
          getOrSetEntry: () => Promise.reject(new Error("nobody reads")),
          invalidateTags: () => Promise.resolve(invalidated.resolve()),
        } as unknown as PageStore;
        async function* answer(): AsyncIterable<string> {
          if (!isEarly) begun.resolve();
          await gate.promise;
          yield "wrote";
        }
        const pages = cachePages(store, { ttl: "1m" }, (_req, res) => {
          res.once("close", () => closed.resolve());
          if (isEarly) begun.resolve();
          const send = async (): Promise<unknown> => {
            // From Node 24 on `pipeline` refuses who has left before it touches the response.
            const begins = !isEarly || Number.parseInt(process.versions.node) < 24;
            return begins ? await pipeline(Readable.from(answer()), res) : Readable.from(answer()).pipe(res);
          };
          void (isEarly ? gate.promise : Promise.resolve()).then(send).catch(() => undefined);
        });
        const asked = httpRequest(await open(pages), { method: "POST", agent: false }).end();
        asked.on("error", () => undefined);
        await begun.promise;
        asked.destroy();
        await closed.promise;
        if (isEarly) gate.resolve();
        await invalidated.promise;
        gate.resolve();
      },
    );

  test("is refused where its handler hears it when it cannot be sent", async () => {
    const origin = await open(
      cachePages(inMemory(), { ttl: "1m" }, (_req, res) => {
        assert.throws(() => res.write(1), { code: "ERR_INVALID_ARG_TYPE" });
        assert.throws(() => res.end({}), { code: "ERR_INVALID_ARG_TYPE" });
        res.end("heard");
      }),
    );
    assert.equal((await ask(origin, {}, "POST")).text, "heard");
  });

  test("breaks off where its head cannot be sent, and the process goes on", async () => {
    const origin = await open(
      cachePages(inMemory(), { ttl: "1m" }, (_req, res) => {
        res.statusCode = 99;
        res.end("wrote");
      }),
    );
    await assert.rejects(ask(origin, {}, "POST"), { code: "ECONNRESET" });
  });
});
