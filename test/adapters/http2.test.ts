/** Pages over HTTP/2, through the interface of Node's that is like that of HTTP/1.1. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { RequestListener } from "node:http";
import { connect, createServer, type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { createCache, memory } from "everfresh";
import { cachePages } from "everfresh/node";

const cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
const handler: RequestListener = (req, res) => {
  res.end(JSON.stringify([req.url, req.headers.host, req.headers[":authority"], req.headers.cookie, req.rawHeaders]));
};
const server = createServer(cachePages(cache, { ttl: "1m", cookies: "ignore" }, handler) as never);
let session: ClientHttp2Session;

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
after(async () => {
  session.close();
  server.close();
  await once(server, "close");
});

async function ask(
  headers: OutgoingHttpHeaders,
): Promise<{ status: number; cacheStatus: string; etag: string; text: string }> {
  const stream = session.request({ ":authority": "shop.test", ...headers });
  const [head] = (await once(stream, "response")) as [Record<string, string | number>];
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  const status = Number(head[":status"]);
  return {
    status,
    cacheStatus: String(head["cache-status"]),
    etag: String(head["etag"]),
    text: Buffer.concat(chunks).toString(),
  };
}

describe("over HTTP/2", () => {
  test("a page is rendered once, and not sent to who has it", async () => {
    const first = await ask({ ":path": "/once" });
    assert.match(first.cacheStatus, /stored/);
    assert.match((await ask({ ":path": "/once" })).cacheStatus, /; hit/);
    const again = await ask({ ":path": "/once", "if-none-match": first.etag });
    assert.deepEqual([again.status, again.text], [304, ""]);
  });

  test("a cookie that is not to be seen is not, in any form", async () => {
    assert.doesNotMatch((await ask({ ":path": "/blind", cookie: "sid=ann" })).text, /ann/);
  });

  for (const [title, odd] of [
    ["another authority", { ":authority": "evil.test" }],
    ["an authority beside Host", { ":authority": "evil.test", host: "shop.test" }],
    ["a Host beside the authority", { host: "evil.test" }],
    ["a fragment", { ":path": "/a%20fragment#evil" }],
  ] as const)
    test(`nothing of an attacker's reaches others by ${title}`, async () => {
      const page = { ":path": `/${encodeURIComponent(title)}` };
      for (let time = 0; time < 2; time++) await ask({ ...page, ...odd });
      assert.doesNotMatch((await ask(page)).text, /evil/);
      assert.doesNotMatch((await ask({ ...page, host: "shop.test" })).text, /evil/);
    });
});
