/** Cached pages with Fastify: one for everybody, and one for each user. */
import assert from "node:assert/strict";
import { createCache, memory } from "everfresh";
import { cachePage } from "everfresh/fastify";
import fastify, { type FastifyRequest } from "fastify";

const cache = createCache({ backend: memory({ limitBytes: 16_000_000 }) });
const prices = new Map([["bread", 3]]);
let renders = 0;
const userOf = (request: FastifyRequest): string | undefined => /user=(\w+)/.exec(request.headers.cookie ?? "")?.[1];

const app = fastify({ forceCloseConnections: true });
app.get("/price/:of", { preHandler: cachePage(cache, { ttl: "10m", tags: ["prices"] }) }, (request) => {
  renders += 1;
  const { of } = request.params as { of: string };
  return { of, price: prices.get(of) };
});
const mine = cachePage<FastifyRequest>(cache, { ttl: "1m", private: userOf, tags: ["baskets"] });
app.get("/basket", { preHandler: mine }, (request) => {
  renders += 1;
  return { user: userOf(request) };
});
const origin = await app.listen({ port: 0, host: "127.0.0.1" });

const price = async (): Promise<unknown> => (await fetch(`${origin}/price/bread`)).json();
assert.deepEqual(
  [await price(), await price()],
  [
    { of: "bread", price: 3 },
    { of: "bread", price: 3 },
  ],
);
assert.equal(renders, 1);
prices.set("bread", 4);
await cache.invalidateTags(["prices"]);
assert.deepEqual(await price(), { of: "bread", price: 4 });

for (const user of ["ann", "bob", "ann"]) {
  const basket = await fetch(`${origin}/basket`, { headers: { cookie: `user=${user}` } });
  assert.deepEqual(await basket.json(), { user });
}
assert.equal(renders, 4); // two for the price, one for each of the two users

await app.close();
await cache.close();
