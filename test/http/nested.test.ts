/** Pages that are declared twice for one URL: the whole site's, and those of a route. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { after, describe, test } from "node:test";
import { createCache, memory, type Cache } from "everfresh";
import type { PageOptions } from "everfresh/http";
import { cachePages } from "everfresh/node";
import { ask, siteOn, type Site } from "../adapters/sites.ts";

const inMemory = (): Cache => createCache({ backend: memory({ limitBytes: 4_000_000 }) });
const opened: Site[] = [];
after(async () => {
  for (const site of opened) await site.close();
});

/** Pages that are declared within others. */
async function nested(
  inner: PageOptions<IncomingMessage>,
  outer: Partial<PageOptions<IncomingMessage>> = {},
): Promise<{ cache: Cache; page: string }> {
  const cache = inMemory();
  let renders = 0;
  const within = cachePages(cache, inner, (_req, res) => {
    res.setHeader("cache-control", "max-age=60");
    res.end(`page ${++renders}`);
  });
  const site = await siteOn(createServer(cachePages(cache, { ttl: "1m", ...outer }, within)).listen(0, "127.0.0.1"));
  opened.push(site);
  return { cache, page: site.origin };
}

describe("pages that are declared within others of the same URL", () => {
  test("are kept once where they would share a key, with the tags of both", { timeout: 20_000 }, async () => {
    const { cache, page } = await nested({ ttl: "1m", tags: ["inner"] }, { tags: ["outer"] });
    let latest = "page 0";
    for (const tag of ["inner", "outer", "inner"]) {
      await cache.invalidateTags([tag]);
      assert.notEqual((await ask(page)).text, latest);
      // A tag that is met while rendering is not known before.
      latest = (await ask(page)).text;
      assert.equal((await ask(page)).text, latest);
    }
  });

  test("for the shorter time of both", async () => {
    const { page } = await nested({ ttl: "5s" });
    await ask(page);
    assert.match(String((await ask(page)).headers["cache-status"]), /hit; ttl=[0-5]$/);
  });

  const narrow: Record<string, Partial<PageOptions<IncomingMessage>>> = {
    statuses: { statuses: [404] },
    "too-large": { maxBodyBytes: 5 },
  };
  for (const [title, options] of Object.entries(narrow))
    test(`as narrowly as each of them says: ${title}`, async () => {
      for (const [inner, outer] of [
        [options, {}],
        [{}, options],
      ] as const) {
        const { page } = await nested({ ttl: "1m", ...inner }, outer);
        const { text } = await ask(page);
        assert.notEqual((await ask(page)).text, text);
      }
    });

  const more: Record<string, Partial<PageOptions<IncomingMessage>>> = {
    "by a header": { vary: ["x-who"] },
    "by a function": { key: (req) => String(req.headers["x-who"]) },
    "by their user": { private: (req) => String(req.headers["x-who"]) },
    "by not being kept": { when: (req) => req.headers["x-who"] === undefined },
  };
  for (const [title, options] of Object.entries(more))
    test(`are not kept for all when they tell them apart ${title}`, async () => {
      const { page } = await nested({ ttl: "1m", ...options });
      const texts = new Set<string>();
      for (const who of ["a", "b"]) texts.add((await ask(page, { "x-who": who })).text);
      assert.equal(texts.size, 2);
    });
});

const who = (req: IncomingMessage): string => String(req.headers["x-who"] ?? "1");

describe("pages whose key is that of those around them by chance are not kept for all", () => {
  const ways: Record<string, readonly [Partial<PageOptions<IncomingMessage>>, Partial<PageOptions<IncomingMessage>>]> =
    {
      "told apart by another header": [{ vary: ["x-who"] }, { vary: ["x-where"] }],
      "told apart by another function": [{ key: who }, { key: () => "1" }],
      "another function's user": [{ private: who }, { private: () => "1" }],
      "not kept for the next one": [{ when: (req) => req.headers["x-who"] === undefined }, {}],
    };
  for (const [title, [inner, outer]] of Object.entries(ways))
    test(title, { timeout: 20_000 }, async () => {
      const { page } = await nested({ ttl: "1m", ...inner }, outer);
      const { text } = await ask(page);
      assert.notEqual((await ask(page, { "x-who": "2" })).text, text);
    });

  test("told one visitor's by another name", async () => {
    const within = cachePages(inMemory(), { ttl: "1m", cookies: "ignore", identity: ["tenant"] }, (req, res) =>
      res.end(String((req as { tenant?: string }).tenant)),
    );
    const around = cachePages(inMemory(), { ttl: "1m", cookies: "ignore" }, within);
    const server = createServer((req, res) => {
      Object.assign(req, { tenant: req.headers["x-who"] });
      around(req, res);
    });
    const site = await siteOn(server.listen(0, "127.0.0.1"));
    opened.push(site);
    for (const name of ["ann", "bob"]) assert.equal((await ask(site.origin, { "x-who": name })).text, name);
  });
});
