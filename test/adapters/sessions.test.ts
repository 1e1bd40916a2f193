import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";
import fastifyCookie from "@fastify/cookie";
import fastifySession from "@fastify/session";
import { createCache, memory, type Cache } from "everfresh";
import { sessionStore as expressStore } from "everfresh/express";
import { sessionStore as fastifyStore } from "everfresh/fastify";
import express from "express";
import session from "express-session";
import fastify from "fastify";
import { deferred, type Deferred } from "../support/deferred.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { ask } from "./sites.ts";

const secret = "a secret that is long enough for both of them";
const closes: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of closes) await close();
});

type Bag = Record<string, unknown>;
type Start = (cache: Cache, pause: Deferred<void>, started: Deferred<void>) => Promise<string>;

/** `/put?name=value` writes, `/drop?name` deletes, `/slow?name=value` waits before it writes, `/end` logs out, `/` shows. */
async function act(
  path: string,
  query: string,
  bag: Bag,
  pause: Deferred<void>,
  started: Deferred<void>,
): Promise<void> {
  const [name = "", value] = query.split("=");
  if (path === "/slow") {
    started.resolve();
    await pause.promise;
  }
  if (path === "/put" || path === "/slow") bag[name] = value;
  if (path === "/drop") Reflect.deleteProperty(bag, name);
}

function shown(bag: Bag): string {
  return JSON.stringify(
    Object.fromEntries(["a", "b", "c"].filter((name) => name in bag).map((name) => [name, bag[name]])),
  );
}

const withExpress: Start = async (cache, pause, started) => {
  const app = express();
  app.use(
    session({
      store: expressStore(session.Store, cache),
      secret,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 60_000 },
    }),
  );
  app.get("/{*path}", async (req, res) => {
    const bag = req.session as unknown as Bag;
    if (req.path === "/end") {
      req.session.destroy(() => res.send("ended"));
      return;
    }
    await act(req.path, req.url.split("?")[1] ?? "", bag, pause, started);
    res.send(shown(bag));
  });
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  closes.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

const withFastify: Start = async (cache, pause, started) => {
  const app = fastify({ forceCloseConnections: true });
  await app.register(fastifyCookie);
  await app.register(fastifySession, {
    store: fastifyStore(cache),
    secret,
    saveUninitialized: false,
    cookie: { secure: false, maxAge: 60_000 },
  });
  app.get("/*", async (request) => {
    const bag = request.session as unknown as Bag;
    const [path = "", query = ""] = request.url.split("?");
    if (path === "/end") {
      await request.session.destroy();
      return "ended";
    }
    await act(path, query, bag, pause, started);
    return shown(bag);
  });
  closes.push(() => app.close());
  return await app.listen({ port: 0, host: "127.0.0.1" });
};

async function open(start: Start): Promise<{
  visit: (path: string) => Promise<string>;
  pause: Deferred<void>;
  started: Deferred<void>;
  cache: Cache;
}> {
  const [pause, started] = [deferred(), deferred()];
  const cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
  const origin = await start(cache, pause, started);
  let cookie = "";
  const visit = async (path: string): Promise<string> => {
    const got = await ask(origin + path, cookie === "" ? {} : { cookie });
    const set = got.headers["set-cookie"]?.[0]?.split(";")[0];
    if (set !== undefined) cookie = set;
    assert.equal(got.status, 200, got.text);
    return got.text;
  };
  return { visit, pause, started, cache };
}

test("what is no cache, and options that are none, are refused when the store is made", () => {
  const refused = { code: "EF_OPTION" };
  for (const wrong of [undefined, 5, {}]) {
    assert.throws(() => fastifyStore(wrong as never), refused);
    assert.throws(() => expressStore(session.Store, wrong as never), refused);
  }
  const cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
  assert.throws(() => fastifyStore(cache, null as never), refused);
  assert.throws(() => expressStore(cache as never, session.Store as never), {
    ...refused,
    message: /session\.Store, and then the cache/,
  });
});

for (const [name, start] of [
  ["express-session", withExpress],
  ["@fastify/session", withFastify],
] as const)
  describe(`${name}:`, () => {
    test("what one request puts in, the next one finds, until it is dropped", async () => {
      const { visit } = await open(start);
      await visit("/put?a=1");
      assert.equal(await visit("/put?b=2"), '{"a":"1","b":"2"}');
      assert.equal(await visit("/"), '{"a":"1","b":"2"}');
      await visit("/drop?a");
      assert.equal(await visit("/"), '{"b":"2"}');
    });

    test("of two requests that run at the same time, neither undoes what the other one did", async () => {
      const { visit, pause, started } = await open(start);
      await visit("/put?a=1");
      const slow = visit("/slow?b=2");
      await started.promise;
      await visit("/put?c=3");
      await visit("/drop?a");
      pause.resolve();
      await slow;
      assert.equal(await visit("/"), '{"b":"2","c":"3"}');
    });

    test("a session that was ended is not brought back by a request that had loaded it before", async () => {
      const { visit, pause, started } = await open(start);
      await visit("/put?a=1");
      const slow = visit("/slow?b=2");
      await started.promise;
      await visit("/end");
      pause.resolve();
      await slow;
      assert.equal(await visit("/"), "{}");
    });

    test("a session that the cache has lost begins anew", async () => {
      const { visit, cache } = await open(start);
      await visit("/put?a=1");
      await cache.clear();
      assert.equal(await visit("/"), "{}");
      await visit("/put?b=2");
      assert.equal(await visit("/"), '{"b":"2"}');
    });
  });

test("a session that was ended stays so for an hour, however short it was and whatever slow requests still do", async () => {
  const clock = new ManualClock();
  const store = fastifyStore(createCache({ backend: memory({ clock }), clock }));
  const mine = { cookie: { maxAge: 1_000 }, name: "ann" };
  const done = deferred();
  await store.save("id", mine);
  await store.end("id");
  await store.save("id", mine);
  store.touch("id", mine, () => done.resolve());
  await done.promise;
  await clock.advance(1_800_000);
  await store.save("id", mine);
  assert.equal(await store.load("id"), null);
  await clock.advance(1_800_000);
  await store.save("id", mine);
  assert.equal((await store.load("id"))?.["name"], "ann");
});

test("options that sessions do not have are refused", () => {
  const cache = createCache({ backend: memory() });
  assert.throws(() => fastifyStore(cache, { prefx: "s:" } as never), { code: "EF_OPTION", message: /prefx.*prefix/ });
  assert.throws(() => expressStore(session.Store, cache, { prefix: 5 } as never), { code: "EF_OPTION" });
});
