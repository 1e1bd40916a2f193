/** What a visitor of the embedded server sees: the first steps. The protocol itself is in test/conformance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createServer } from "everfresh/server";
import { talk } from "../support/talk.ts";

test("a server listens on a free port of the loopback and tells its address", async () => {
  const server = await createServer().listen();
  assert.match(server.address, /^127\.0\.0\.1:\d+$/);
  assert.equal(server.address, `127.0.0.1:${server.port}`);
  await server.close();
});

test("what is set is got, in one connection and in another", async () => {
  const server = await createServer().listen();
  const one = await talk(server.port);
  one.send("set song 5 0 5\r\nhello\r\n");
  assert.equal(await one.hearUntil("\r\n"), "STORED\r\n");
  const other = await talk(server.port);
  other.send("get song\r\nmg song v f\r\n");
  assert.equal(await other.hearUntil("f5\r\nhello\r\n"), "VALUE song 5 5\r\nhello\r\nEND\r\nVA 5 f5\r\nhello\r\n");
  await server.close();
});

test("of two callers that miss, one wins the lease and the other learns that it is taken", async () => {
  const server = await createServer().listen();
  const visitor = await talk(server.port);
  visitor.send("mg k c v f t N30\r\nmg k c v f t N30\r\n");
  const lines = (await visitor.hearUntil(" Z\r\n\r\n")).split("\r\n");
  assert.match(lines[0] ?? "", /^VA 0 c\d+ f0 t-1 W$/);
  assert.match(lines[2] ?? "", /^VA 0 c\d+ f0 t30 Z$/);
  await server.close();
});

test("closing ends every connection and frees the port", async () => {
  const server = await createServer().listen();
  const visitor = await talk(server.port);
  const { port } = server;
  await server.close();
  assert.equal(await visitor.hearAll(), "");
  await assert.rejects(talk(port), { code: "ECONNREFUSED" });
});

test("an unknown option is refused at once", () => {
  for (const [wrong, allowed] of [
    [{ limit: 5 }, /createServer knows no limit; it knows limitBytes, itemBytes, /],
    [5, /what createServer is told is 5; it is an object/],
    [null, /what createServer is told is null/],
    [{ limitBytes: null }, /limitBytes is null; it is a whole number from 65536 on/],
    [{ evicts: null }, /evicts is null; it is true or false/],
    [{ login: null }, /login is null/],
    [{ loginTimeout: null }, /loginTimeout is/],
    [{ users: [{ name: "a", password: "b" }], login: null }, /login is null; it is one of/],
    [{ clock: Date }, /clock is a function; it is an object with the methods now, monotonic, after/],
    [{ clock: { now: () => 0 } }, /clock is an object;/],
    [{ random: Math }, /random is .*; it is an object with the methods fraction, bytes/],
    [{ random: null }, /random is null/],
    [{ protocol: "meta" }, /protocol is "meta"; it is one of "auto", "text", "binary"/],
    [{ version: "1.6\r\nX" }, /version is .*printable/],
    [{ evicts: "no" }, /evicts is "no"; it is true or false/],
    [{ prefixDelimiter: "" }, /one character/],
    [{ onShutdown: true }, /a function/],
  ] as const)
    assert.throws(() => createServer(wrong as never), { code: "EF_OPTION", message: allowed });
});

test("a place that cannot be meant is refused, rather than another one taken", async () => {
  const server = createServer();
  const files = { certFile: "/cert.pem", keyFile: "/key.pem" };
  for (const [where, why] of [
    [{ prt: 5 }, /listen knows no prt; it knows port, /],
    ["11211", /where to listen is "11211"; it is a port, or an object/],
    [null, /where to listen is null/],
    [{ path: "/tmp/cache.sock", port: 11_211 }, /a path or a port and host, not both/],
    [{ path: "/tmp/cache.sock", host: "::1" }, /not both/],
    [99_999, /port is 99999; it is a whole number from 0 to 65535/],
    [{ port: "11211" }, /port is "11211"/],
    [{ host: 5 }, /host is 5/],
    [{ path: "/tmp/cache.sock", mode: "0700" }, /mode is "0700"/],
    [{ port: 0, mode: 0o700 }, /mode is 448; it is for unix sockets/],
    [{ tls: true }, /tls is true/],
    [{ tls: {} }, /tls has no certificate/],
    [{ tls: { requestCert: true } }, /tls has no certificate/],
    [{ tls: { ...files, requestcert: true } }, /tls knows no requestcert; it knows certFile, keyFile, caFile/],
    [{ tls: { ...files, cafile: "/ca.pem" } }, /tls knows no cafile/],
    [{ tls: { ...files, caFile: ["/ca.pem"] } }, /tls.caFile is the path of a file/],
    [{ tls: { certFile: 5, keyFile: "/key.pem" } }, /tls.certFile is the path of a file/],
    [{ tls: { certFile: "/cert.pem" } }, /both certFile and keyFile/],
    [{ tls: { keyFile: "/key.pem" } }, /both certFile and keyFile/],
    [{ tls: { cert: "PEM", key: "PEM", caFile: "/ca.pem" } }, /beside cert and key it is ca/],
    [{ tls: { ...files, pfx: "PFX" } }, /not in both/],
    [{ backlog: -5 }, /backlog is -5/],
  ] as const)
    await assert.rejects(server.listen(where as never), { code: "EF_OPTION", message: why });
  assert.deepEqual(server.addresses, []);
});

test("a server that is closed while it begins to listen does not listen", async () => {
  const server = createServer();
  const listening = server.listen();
  await server.close();
  await assert.rejects(listening, { code: "EF_CLOSED" });
});
