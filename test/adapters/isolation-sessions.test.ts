/** Users with real sessions, who log in and out and in again, in random order: pages keyed by the session, and careless ones. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import fastifyCookie from "@fastify/cookie";
import fastifySession from "@fastify/session";
import { createCache, memory, type Cache } from "everfresh";
import { cachePage as expressPage, sessionStore as expressStore } from "everfresh/express";
import { cachePage as fastifyPage, sessionStore as fastifyStore } from "everfresh/fastify";
import type { PageOptions } from "everfresh/http";
import express from "express";
import session from "express-session";
import fc from "fast-check";
import fastify from "fastify";
import { ask, siteOn } from "./sites.ts";
import { moreRuns } from "../support/thoroughness.ts";

const secret = "a secret that is long enough for both of them";
const closes: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of closes) await close();
});

interface Session {
  user?: string | undefined;
}

/** Each page says who its session belongs to. */
const pages: Readonly<
  Record<string, Omit<PageOptions<never>, "key" | "when" | "tags" | "private"> & { private?: "session" }>
> = {
  "/mine": { ttl: "1m", private: "session" },
  "/careless": { ttl: "1m" },
  "/careless-ignoring": { ttl: "1m", cookies: "ignore" },
  "/careless-lang": { ttl: "1m", cookies: ["lang"] },
};
const said = ({ user }: Session): string => (user === undefined ? "nobody" : `secret-of-${user}`);

async function withExpress(cache: Cache): Promise<string> {
  const app = express();
  const store = expressStore(session.Store, cache);
  app.use(session({ store, secret, resave: false, saveUninitialized: false, cookie: { maxAge: 60_000 } }));
  app.get("/login/:user", (req, res, next) => {
    req.session.regenerate((error) => {
      if (error !== undefined && error !== null) next(error);
      (req.session as Session).user = req.params.user;
      res.send("welcome");
    });
  });
  app.get("/logout", (req, res) => {
    req.session.destroy(() => res.send("bye"));
  });
  for (const [path, options] of Object.entries(pages))
    app.get(path, expressPage(cache, options), (req, res) => void res.send(said(req.session as Session)));
  const site = await siteOn(app.listen(0, "127.0.0.1"));
  closes.push(() => site.close());
  return site.origin;
}

async function withFastify(cache: Cache): Promise<string> {
  const app = fastify({ forceCloseConnections: true });
  await app.register(fastifyCookie);
  const store = fastifyStore(cache) as never;
  await app.register(fastifySession, {
    store,
    secret,
    saveUninitialized: false,
    cookie: { secure: false, maxAge: 60_000 },
  });
  app.get("/login/:user", async (request) => {
    await request.session.regenerate();
    (request.session as Session).user = (request.params as { user: string }).user;
    return "welcome";
  });
  app.get("/logout", async (request) => {
    await request.session.destroy();
    return "bye";
  });
  for (const [path, options] of Object.entries(pages))
    app.get(path, { preHandler: fastifyPage(cache, options) }, (request) => said(request.session as Session));
  closes.push(() => app.close());
  return await app.listen({ port: 0, host: "127.0.0.1" });
}

/** Who was given which cookie. */
const owners = new Map<string, Visitor>();

/** A browser: it keeps the cookie that it was given. */
class Visitor {
  readonly name: string;
  readonly #origin: string;
  #cookie = "";
  #isIn = false;
  hits = 0;

  constructor(name: string, origin: string) {
    this.name = name;
    this.#origin = origin;
  }

  async visit(path: string): Promise<void> {
    const target = path === "/login" ? `/login/${this.name}` : path;
    const got = await ask(this.#origin + target, this.#cookie === "" ? {} : { cookie: `${this.#cookie}; lang=de` });
    assert.equal(got.status, 200, got.text);
    if (path === "/login") this.#isIn = true;
    if (path === "/logout") this.#isIn = false;
    const set = got.headers["set-cookie"]?.[0]?.split(";")[0];
    // One without a value takes away the one before.
    if (set?.endsWith("=") === true) this.#cookie = "";
    else if (set !== undefined) {
      assert.equal(owners.get(set) ?? this, this, `another one's cookie: ${set} at ${path}`);
      owners.set(set, this);
      this.#cookie = set;
    }
    if (path in pages)
      assert.equal(got.text, said({ user: this.#isIn ? this.name : undefined }), `${this.name} at ${path}`);
    if (/; hit/.test(String(got.headers["cache-status"]))) this.hits++;
  }
}

const paths = [...Object.keys(pages), "/mine", "/mine", "/login", "/logout"];
const steps = fc.array(fc.tuple(fc.nat({ max: 2 }), fc.constantFrom(...paths)), { minLength: 20, maxLength: 40 });

for (const [name, start] of Object.entries({ "express-session": withExpress, "@fastify/session": withFastify }))
  describe(`${name}:`, () => {
    test("everybody sees their own session on every page, and nobody another's", async () => {
      const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
      const origin = await start(cache);
      let hits = 0;
      const property = fc.asyncProperty(steps, async (run) => {
        const visitors = ["ann", "bob", "eve"].map((each) => new Visitor(each, origin));
        for (const [who, path] of run) await visitors[who]?.visit(path);
        hits += visitors.reduce((sum, visitor) => sum + visitor.hits, 0);
      });
      await fc.assert(property, {
        numRuns: 15 * moreRuns,
        endOnFailure: true,
        includeErrorInReport: true,
      });
      assert.ok(hits > 15, `only ${hits} hits: nothing would have been seen`);
      await cache.close();
    });
  });
