/** Web cache deception: making a page of somebody's look like a file, or like a page for everybody, by the spelling of its path. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { after, before, describe, test } from "node:test";
import { createCache, memory } from "everfresh";
import type { PageOptions } from "everfresh/http";
import { cachePages } from "everfresh/node";
import { sendBytes, siteOn, type Site } from "../../adapters/sites.ts";

const spellings = [
  "/account",
  "/account/",
  "/account/x.css",
  "/account.css",
  "/account;x.css",
  "/account%3bx.css",
  "/account%2fx.css",
  "/account%00.css",
  "/account%0a.css",
  "/account%23.css",
  "/account%3f.css",
  "/account#x.css",
  "/account?x.css",
  "/account?",
  "/account/../static/x.css",
  "/account/..%2fstatic/x.css",
  "/static/..%2faccount",
  "/static/../account",
  "/./account",
  "//account",
  "/\\account",
  "/ACCOUNT",
  "/%61ccount",
  "/account%C3%A9",
];

/** Whatever is below: the page of whoever asks, and where they asked for it. */
const account: RequestListener = (req, res) => {
  const user = /\bsid=(\w+)/.exec(req.headers.cookie ?? "")?.[1];
  res.end(`${user === undefined ? "nobody" : `secret-of-${user}`} at ${req.url}`);
};

const policies: Readonly<Record<string, PageOptions<IncomingMessage>>> = {
  "by default": { ttl: "1m" },
  "where cookies mean nothing": { ttl: "1m", cookies: "ignore" },
  "where some cookies count": { ttl: "1m", cookies: ["lang"] },
  "keyed by the user": { ttl: "1m", private: (req) => /\bsid=(\w+)/.exec(req.headers.cookie ?? "")?.[1] },
};

/** Asks with a path as it is, and answers the body. */
async function ask({ origin }: Site, path: string, cookie?: string): Promise<string> {
  const lines = [`GET ${path} HTTP/1.1`, "Host: shop.test", ...(cookie === undefined ? [] : [`Cookie: ${cookie}`])];
  const answer = await sendBytes(origin, `${lines.join("\r\n")}\r\n`);
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

for (const [title, policy] of Object.entries(policies))
  describe(`${title}:`, () => {
    let site: Site;
    before(async () => {
      const cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
      site = await siteOn(createServer(cachePages(cache, policy, account)).listen(0, "127.0.0.1"));
    });
    after(() => site.close());

    for (const path of spellings)
      test(`${path} of one user is nobody else's`, async () => {
        for (let time = 0; time < 2; time++) await ask(site, path, "sid=ann");
        assert.doesNotMatch(await ask(site, path), /ann/);
        assert.doesNotMatch(await ask(site, path, "sid=bob"), /ann/);
      });

    test("no two spellings are one page", async () => {
      for (const cookie of [undefined, "sid=ann"])
        for (let time = 0; time < 2; time++)
          for (const path of spellings) {
            const text = await ask(site, path, cookie);
            assert.equal(text.slice(text.indexOf(" at ") + 4), path);
          }
    });
  });
