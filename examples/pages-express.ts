/** A cached page with Express: rendered once, right after every write, and nobody's session in it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createCache, memory } from "everfresh";
import { cachePage, sessionStore } from "everfresh/express";
import express from "express";
import session from "express-session";

const cache = createCache({ backend: memory({ limitBytes: 16_000_000 }) });
const rows: string[] = ["bread"];
let renders = 0;
const queue = cache.entry("queue", { load: async () => [...rows], tags: ["queue_item"] });

const app = express();
const store = sessionStore(session.Store, cache);
app.use(session({ store, secret: "change me", resave: false, saveUninitialized: false }));

// Whoever asks, with or without a session, gets the same page; what it shows invalidates it.
app.get("/", cachePage(cache, { ttl: "10m", cookies: "ignore" }), async (_req, res) => {
  renders += 1;
  res.send(`<ul>${(await queue.get()).map((text) => `<li>${text}</li>`).join("")}</ul>`);
});
app.post("/add/:text", async (req, res) => {
  rows.push(req.params.text);
  await queue.refresh(); // after the write is committed: every page that shows the queue is rendered anew
  res.redirect(303, "/");
});

const server = app.listen(0);
await once(server, "listening");
const home = `http://localhost:${(server.address() as AddressInfo).port}/`;

await fetch(home);
const page = await fetch(home);
assert.match(page.headers.get("cache-status") ?? "", /^everfresh; (hit|fwd=miss; collapsed)/);
assert.equal(renders, 1);
const afterWrite = await fetch(`${home}add/milk`, { method: "POST" });
assert.equal(await afterWrite.text(), "<ul><li>bread</li><li>milk</li></ul>");
assert.equal(renders, 2);

server.closeAllConnections();
server.close();
await cache.close();
