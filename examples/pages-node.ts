/** A cached page with nothing but `node:http`. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createCache, memory } from "everfresh";
import { cachePages, tags } from "everfresh/node";

const cache = createCache({ backend: memory({ limitBytes: 16_000_000 }) });
let weather = "rain";

const server = createServer(
  cachePages(cache, { ttl: "10m", tags: ["weather"] }, (_req, res) => {
    tags.add("pages"); // what is known only while rendering can be named then
    res.setHeader("content-type", "text/plain");
    res.end(weather);
  }),
);
server.listen(0);
await once(server, "listening");
const url = `http://localhost:${(server.address() as AddressInfo).port}/`;

const page = await fetch(url);
assert.equal(await page.text(), "rain");
const etag = page.headers.get("etag") ?? "";
const again = await fetch(url, { headers: { "if-none-match": etag } });
assert.equal(again.status, 304); // the browser has it, and knows that it is still right

weather = "sun";
await cache.invalidateTags(["weather"]);
assert.equal(await (await fetch(url, { headers: { "if-none-match": etag } })).text(), "sun");

server.closeAllConnections();
server.close();
await cache.close();
