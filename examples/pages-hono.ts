/** A cached page with Hono, without a socket: the same middleware runs wherever Hono does. */
import assert from "node:assert/strict";
import { createCache, memory } from "everfresh";
import { cachePage } from "everfresh/hono";
import { Hono } from "hono";

const cache = createCache({ backend: memory({ limitBytes: 16_000_000 }) });
let songs = ["Help!"];
let renders = 0;

const app = new Hono();
app.get("/songs", cachePage(cache, { ttl: "10m", tags: ["songs"], query: ["page"] }), (c) => {
  renders += 1;
  return c.html(`<p>page ${c.req.query("page") ?? "1"}: ${songs.join(", ")}</p>`);
});

const page = async (query = ""): Promise<string> => (await app.request(`http://shop.test/songs${query}`)).text();
assert.equal(await page("?page=2&utm_source=mail"), "<p>page 2: Help!</p>"); // what is not in `query` makes no difference
assert.equal(await page("?page=2"), "<p>page 2: Help!</p>");
assert.equal(renders, 1);

songs = ["Help!", "Yesterday"];
await cache.invalidateTags(["songs"]);
assert.equal(await page(), "<p>page 1: Help!, Yesterday</p>");
assert.equal(renders, 2);

await cache.close();
