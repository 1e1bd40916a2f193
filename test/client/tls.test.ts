/** TLS: to a peer of the test's own always, to a real memcached where it was built with it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { createServer } from "node:tls";
import { createClient } from "everfresh/client";
import { makeCertificate } from "../support/certificates.ts";
import { answering, startMemcached } from "../support/memcached.ts";
import { onLines, politely, startPeer } from "../support/peers.ts";
import { needs } from "../support/programs.ts";
import { memcachedWithTls, startTlsMemcached, testAuthority } from "../support/tls.ts";

const { cert, key } = makeCertificate();

test("a server is spoken to by TLS, its certificate is checked, and one without TLS or with another name is not trusted", async (t) => {
  const server = createServer({ cert, key }, (socket) => {
    socket.on("error", () => socket.destroy());
    onLines(socket, (line) => void socket.write(politely(line)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const servers = `127.0.0.1:${address.port}`;

  const trusting = createClient({ servers: `memcacheds://${servers}`, tls: { ca: cert } });
  const hit = await trusting.get("k");
  assert.ok(hit.kind === "hit");
  assert.equal(hit.value, "value of k");
  await trusting.close();

  for (const options of [{ servers, tls: true }, { servers: `memcacheds://${servers}` }, { servers }]) {
    const client = createClient({ ...options, connectTimeoutMs: 300 });
    await assert.rejects(client.get("k"), { code: "EF_SERVER_DOWN" });
    await client.close();
  }
});

test("the nodes that an endpoint names over TLS are spoken to by TLS, too", async (t) => {
  // Without options of its own for TLS there is no other way to trust a certificate of the test's own.
  const { NODE_TLS_REJECT_UNAUTHORIZED: before } = process.env;
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  t.after(() => {
    if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
  });
  let tell: (byte: number | undefined) => void;
  const firstByte = new Promise<number | undefined>((resolve) => (tell = resolve));
  const node = await startPeer((socket) => void socket.once("data", (chunk) => tell(chunk[0])));
  t.after(() => node.stop());
  const list = `1\n|127.0.0.1|${node.port}\n`;
  const endpoint = createServer({ cert, key }, (socket) => {
    socket.on("error", () => socket.destroy());
    onLines(socket, (line) => {
      const isAsked = line.startsWith("config");
      socket.write(isAsked ? `CONFIG cluster 0 ${list.length}\r\n${list}\r\nEND\r\n` : politely(line));
    });
  });
  endpoint.listen(0, "127.0.0.1");
  await once(endpoint, "listening");
  t.after(() => endpoint.close());
  const address = endpoint.address();
  assert.ok(typeof address === "object" && address !== null);
  const url = `memcacheds://127.0.0.1:${address.port}`;
  const client = createClient({ servers: url, discovery: { endpoint: url }, connectTimeoutMs: 300 });
  t.after(() => client.close());
  while (client.servers()[0]?.name !== node.address) {
    assert.notEqual(client.servers()[0]?.state, "down");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await assert.rejects(client.get("k"), { code: "EF_SERVER_DOWN" });
  // A TLS handshake begins with 22.
  assert.equal(await firstByte, 22);
});

test("a real memcached is spoken to by TLS", memcachedWithTls(), async (t) => {
  const server = await startTlsMemcached();
  t.after(() => server.stop());
  const client = createClient({ servers: server.address, tls: { ca: testAuthority } });
  t.after(() => client.close());
  const big = Buffer.alloc(700_000, "tls");
  await client.set("big", big);
  const [read, ...small] = await Promise.all([client.get("big"), client.set("a", 1), client.get("a")]);
  assert.ok(read.kind === "hit" && Buffer.isBuffer(read.value) && read.value.equals(big));
  assert.deepEqual(
    small.map((result) => result.kind),
    ["stored", "hit"],
  );
});

for (const protocol of ["meta", "binary", "text"] as const)
  test(
    `by TLS memcached reads all of what one tick sends, large and small (${protocol})`,
    memcachedWithTls(),
    async (t) => {
      const server = await startTlsMemcached();
      t.after(() => server.stop());
      const client = createClient({ servers: server.address, tls: { ca: testAuthority }, protocol });
      t.after(() => client.close());
      for (const size of [7_000, 16_300, 17_000, 100_000, 900_000]) {
        const value = Buffer.alloc(size, "v");
        const tick = [1, 2, 3].flatMap((at) => [client.set(`large ${at}`, value), client.get(`large ${at}`)]);
        for (const result of await Promise.all(tick)) {
          assert.notEqual(result.kind, "miss");
          if (result.kind === "hit") assert.ok(value.equals(result.value as Buffer));
        }
      }
      // Keys that are no plain words: by meta each is asked for by a command of its own.
      const keys = Array.from({ length: 4_000 }, (_, at) => `key ${at}`);
      const stored = await client.setMany(keys.map((name, at) => [name, `${"x".repeat(at % 130)}${at}`] as const));
      assert.equal(stored.errors.size, 0);
      const found = await client.getMany(keys);
      assert.equal(found.errors.size, 0);
      assert.equal(found.values.size, keys.length);
    },
  );

test("a certificate that cannot be read fails the calls, and not the process", async () => {
  const client = createClient({ servers: "memcacheds://127.0.0.1:1", tls: { cert: "no PEM", key: "no PEM" } });
  await assert.rejects(client.get("k"), { code: "EF_SERVER_DOWN", message: /PEM/ });
  await client.close();
});

test("an IPv6 address does as well", needs("memcached"), async (t) => {
  const server = await startMemcached(["-l", "[::1]"]).catch(() => undefined);
  if (server === undefined) return t.skip("this machine has no IPv6 loopback");
  t.after(() => server.stop());
  // It answers on the other address already.
  await answering(server.port, 10_000, "::1");
  const client = createClient({ servers: `[::1]:${server.port}` });
  t.after(() => client.close());
  assert.equal((await client.set("k", "v")).epoch.server, `[::1]:${server.port}`);
});
