/** Where a server listens: TCP of both families, unix sockets, TLS, in this thread and in another; and how it is kept. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { createServer, createServerThread } from "everfresh/server";
import { ManualClock } from "everfresh/testing";
import { makeCertificate } from "../support/certificates.ts";
import { scratchFolder } from "../support/scratch.ts";
import { converse, talk } from "../support/talk.ts";

const canOpenssl = ((): boolean => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

function certificate(folder: string, name: string): { readonly certFile: string; readonly keyFile: string } {
  const certFile = join(folder, `${name}.crt`);
  const keyFile = join(folder, `${name}.key`);
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost"];
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-out", certFile, "-keyout", keyFile];
  execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
  return { certFile, keyFile };
}

test("a unix socket is private, and its file is replaced when it is left over", async (context) => {
  const path = join(scratchFolder(context), "cache.sock");
  const server = await createServer().listen({ path });
  assert.equal(server.address, `unix:${path}`);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  const visitor = await talk(path);
  visitor.send("mn\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "MN\r\n");
  await server.close();
  assert.equal(existsSync(path), false);
  const again = await createServer().listen({ path, mode: 0o770 });
  assert.equal(statSync(path).mode & 0o777, 0o770);
  await again.close();
  writeFileSync(path, "no socket");
  await assert.rejects(createServer().listen({ path }), { code: "EADDRINUSE" });
});

test("the socket file of a server that answers is left to it", async (context) => {
  const path = join(scratchFolder(context), "cache.sock");
  const [server, second] = [createServer(), createServer()];
  context.after(() => Promise.all([server.close(), second.close()]));
  await server.listen({ path });
  await assert.rejects(second.listen({ path }), { code: "EADDRINUSE" });
  const visitor = await talk(path);
  visitor.send("mn\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "MN\r\n");
  await server.close();
  assert.equal(existsSync(path), false);
});

test("a file that a killed server has left over is replaced", async (context) => {
  const path = join(scratchFolder(context), "cache.sock");
  const killed = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", killed]);
  assert.ok(existsSync(path));
  const server = await createServer().listen({ path });
  (await talk(path)).close();
  await server.close();
});

test("a path that the system would cut off is refused", async (context) => {
  const path = join(scratchFolder(context), "s".repeat(110));
  const server = createServer();
  context.after(() => server.close());
  await assert.rejects(server.listen({ path }), { code: "EF_OPTION", message: /up to \d+ bytes/ });
});

test("IPv6 is listened at beside IPv4, one memory behind both", async (context) => {
  const server = createServer();
  await server.listen();
  try {
    await server.listen({ host: "::1" });
  } catch {
    await server.close();
    context.skip("this machine has no IPv6");
    return;
  }
  assert.match(server.addresses[1] ?? "", /^\[::1\]:\d+$/);
  const one = await talk(server.port);
  one.send("set k 0 0 1\r\nv\r\n");
  await one.hearUntil("\r\n");
  const socket = connect(Number(server.addresses[1]?.split(":").at(-1)), "::1");
  await once(socket, "connect");
  const other = converse(socket);
  other.send("mg k v\r\n");
  assert.equal(await other.hearUntil("v\r\n"), "VA 1\r\nv\r\n");
  await server.close();
});

test(
  "TLS is spoken, plain text to it refused, and the certificate exchanged while it runs",
  { skip: !canOpenssl && !process.env["CI"] },
  async (context) => {
    const folder = scratchFolder(context);
    const tls = certificate(folder, "first");
    const server = await createServer().listen({ tls });
    const subjectOf = async (): Promise<string> => {
      const socket = connectTls({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false });
      await once(socket, "secureConnect");
      const { subject } = socket.getPeerCertificate();
      const visitor = converse(socket);
      visitor.send(`set k 0 0 200000\r\n${"x".repeat(200_000)}\r\nget k\r\n`);
      assert.equal(
        (await visitor.hearUntil("END\r\n")).length,
        200_000 + "STORED\r\nVALUE k 0 200000\r\n\r\nEND\r\n".length,
      );
      visitor.close();
      return String(subject.CN);
    };
    assert.equal(await subjectOf(), "first");
    execFileSync("cp", [certificate(folder, "second").certFile, tls.certFile]);
    execFileSync("cp", [join(folder, "second.key"), tls.keyFile]);
    assert.equal(server.refreshCertificates(), true);
    assert.equal(await subjectOf(), "second");
    const plain = await talk(server.port);
    plain.send("version\r\n\r\n\r\n");
    assert.doesNotMatch(await plain.hearAll(), /VERSION/);
    await server.close();
  },
);

test("closing does not wait for who never begins the handshake of TLS", { timeout: 10_000 }, async () => {
  const server = await createServer().listen({ tls: makeCertificate() });
  const silent = await talk(server.port);
  // What comes after it was accepted after it.
  const speaks = connectTls({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false });
  speaks.on("error", () => undefined);
  await once(speaks, "secureConnect");
  await server.close();
  assert.equal(await silent.hearAll(), "");
});

test("of those who never begin the handshake there are at most so many", { timeout: 10_000 }, async () => {
  const server = await createServer({ maxConnections: 1 }).listen({ tls: makeCertificate() });
  const silent = [await talk(server.port), await talk(server.port)];
  const third = await talk(server.port);
  assert.equal(await third.hearAll(), "");
  assert.deepEqual(
    silent.map(({ socket }) => socket.readyState),
    ["open", "open"],
  );
  await server.close();
});

test("in a thread of its own it serves while this one is busy, and wrong options come back as errors", async () => {
  const server = await createServerThread({ limitBytes: 8 * 1024 * 1024 });
  const visitor = await talk(server.port);
  visitor.send("set k 0 0 1\r\nv\r\nget k\r\n");
  assert.equal(await visitor.hearUntil("END\r\n"), "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n");
  await server.close();
  await server.close();
  await assert.rejects(createServerThread({ limitBytes: 1 }), { code: "EF_OPTION" });
  const tls = { SNICallback: (): void => undefined };
  await assert.rejects(createServerThread({}, { tls }), { code: "EF_OPTION", message: /no function/ });
});

test("what is saved is served again after a restart, for each user their own", async (context) => {
  const file = join(scratchFolder(context), "items");
  const users = ["ann", "bob"].map((name) => ({ name, password: "pw" }));
  const before = await createServer({ users }).listen();
  for (const { name } of users) {
    const visitor = await talk(before.port);
    visitor.send(`set ${name} 0 0 2\r\npw\r\nset k 7 100 3\r\n${name}\r\n`);
    await visitor.hearUntil("STORED\r\nSTORED\r\n");
  }
  assert.equal(before.save(file), 2);
  await before.close();
  const after = createServer({ users });
  assert.equal(after.load(file), 2);
  await after.listen();
  for (const { name } of users) {
    const visitor = await talk(after.port);
    visitor.send(`set ${name} 0 0 2\r\npw\r\nget k\r\n`);
    assert.equal(await visitor.hearUntil("END\r\n"), `STORED\r\nVALUE k 7 3\r\n${name}\r\nEND\r\n`);
  }
  assert.equal(after.load(file), 0, "the files are good for one start");
  await after.close();
});

test("time in a server is the clock's", async (context) => {
  const clock = new ManualClock();
  const server = await createServer({ clock }).listen();
  context.after(async () => server.close());
  const visitor = await talk(server.port);
  visitor.send("set k 0 10 1\r\nv\r\nmg k t\r\n");
  assert.equal(await visitor.hearUntil("t10\r\n"), "STORED\r\nHD t10\r\n");
  clock.advance(9_000);
  visitor.send("mg k t\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "HD t1\r\n");
  clock.advance(1_000);
  visitor.send("mg k t\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "EN\r\n");
  visitor.send("stats\r\n");
  assert.match(await visitor.hearUntil("END\r\n"), /STAT uptime 10\r\n[^]*STAT get_expired 1\r\n/);
});
