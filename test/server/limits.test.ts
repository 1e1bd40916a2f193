/** What a visitor can cost: connections, silence, unread answers, unfinished uploads, endless lines. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type CacheServer, type ServerOptions, createServer } from "everfresh/server";
import { ManualClock } from "everfresh/testing";
import { binaryRequest, storeExtras } from "../support/binary.ts";
import { answering, freePort } from "../support/memcached.ts";
import { talk } from "../support/talk.ts";

async function started(context: TestContext, options: ServerOptions = {}): Promise<CacheServer> {
  const server = await createServer(options).listen();
  context.after(async () => server.close());
  return server;
}

test("beyond the most connections visitors are told so and sent away", async (context) => {
  const server = await started(context, { maxConnections: 2 });
  const one = await talk(server.port);
  one.send("mn\r\n");
  await one.hearUntil("\r\n");
  const two = await talk(server.port);
  two.send("mn\r\n");
  await two.hearUntil("\r\n");
  const three = await talk(server.port);
  assert.equal(await three.hearAll(), "ERROR Too many open connections\r\n");
  two.close();
  await once(two.socket, "close");
  one.send("stats\r\n");
  assert.match(await one.hearUntil("END\r\n"), /STAT rejected_connections 1\r\n/);
});

/** How many sockets this process has. */
function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
}

test(
  "who is turned away leaves nothing behind, whether they have said something or stay",
  { timeout: 10_000 },
  async () => {
    const server = await createServer({ maxConnections: 1 }).listen();
    const inside = await talk(server.port);
    inside.send("mn\r\n");
    await inside.hearUntil("\r\n");
    const before = openSockets();
    const leaves = await talk(server.port);
    leaves.send("version\r\n");
    await leaves.hearAll();
    while (openSockets() > before) await turn();
    const stays = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    stays.on("error", () => undefined);
    stays.resume();
    await once(stays, "end");
    await server.close();
    stays.destroy();
  },
);

test("who says nothing for too long is sent away, who speaks stays", async (context) => {
  const clock = new ManualClock();
  const server = await started(context, { idleTimeout: "60s", clock });
  const silent = await talk(server.port);
  const speaks = await talk(server.port);
  silent.send("mn\r\n");
  await silent.hearUntil("\r\n");
  clock.advance(40_000);
  speaks.send("mn\r\n");
  await speaks.hearUntil("\r\n");
  clock.advance(40_000);
  assert.equal(await silent.hearAll(), "");
  speaks.send("mn\r\n");
  await speaks.hearUntil("\r\n");
});

test("a visitor who asks for much and reads nothing costs a bounded amount, and gets it all when it reads", async (context) => {
  const server = await started(context);
  const size = 500_000;
  const visitor = await talk(server.port);
  visitor.send(`set big 0 0 ${size}\r\n${"x".repeat(size)}\r\n`);
  await visitor.hearUntil("STORED\r\n");
  const reader = connect(server.port, "127.0.0.1");
  await once(reader, "connect");
  const before = process.memoryUsage().arrayBuffers;
  const asked = 300;
  reader.pause();
  reader.write("get big\r\n".repeat(asked / 2) + `get${" big".repeat(asked / 2)}\r\n`);
  // Another visitor is served meanwhile, as often as it takes for the first one's commands to have been looked at.
  for (let i = 0; i < 50; i++) {
    visitor.send("mg big s\r\n");
    await visitor.hearUntil("\r\n");
  }
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 32 * 1024 * 1024, `${grown} bytes for one visitor who does not read`);
  const answer = "VALUE big 0 500000\r\n".length + size + 2;
  const expected = asked * answer + (asked / 2 + 1) * "END\r\n".length;
  let heard = 0;
  reader.on("data", (chunk: Buffer) => {
    heard += chunk.length;
    if (heard >= expected) reader.end();
  });
  reader.resume();
  await once(reader, "close");
  assert.equal(heard, expected);
});

test("unfinished uploads together take no more than they may", async (context) => {
  const server = await started(context, { uploadBytes: 1_000_000 });
  const one = await talk(server.port);
  one.send("set a 0 0 600000\r\nxx");
  const other = await talk(server.port);
  // The order in which the two are read is decided by the first one's being seen to wait.
  const sees = await talk(server.port);
  for (let i = 0; i < 20; i++) {
    sees.send("mn\r\n");
    await sees.hearUntil("\r\n");
  }
  other.send(`set b 0 0 600000\r\n${"y".repeat(600_000)}\r\nmn\r\n`);
  assert.equal(await other.hearUntil("MN\r\n"), "SERVER_ERROR out of memory storing object\r\nMN\r\n");
  one.send(`${"x".repeat(599_998)}\r\n`);
  assert.equal(await one.hearUntil("\r\n"), "STORED\r\n");
  other.send(`set b 0 0 600000\r\n${"y".repeat(600_000)}\r\n`);
  assert.equal(await other.hearUntil("\r\n"), "STORED\r\n");
});

test("a set that finds no room to be uploaded leaves no old value, and is silent where that was asked for", async (context) => {
  const server = await started(context, { uploadBytes: 64 * 1024 });
  const large = "y".repeat(100_000);
  const refused = "SERVER_ERROR out of memory storing object\r\n";
  const quiet = binaryRequest({ opcode: 0x11, key: "k", value: large, extras: storeExtras() });
  const visitor = await talk(server.port);
  for (const [said, answer] of [
    [`set k 0 0 100000\r\n${large}\r\n`, refused],
    [`set k 0 0 100000 noreply\r\n${large}\r\n`, ""],
    [`ms k 100000\r\n${large}\r\n`, refused],
  ] as const) {
    visitor.send("set k 0 0 1\r\nx\r\n");
    assert.equal(await visitor.hearUntil("\r\n"), "STORED\r\n");
    visitor.send(`${said}get k\r\nmn\r\n`);
    assert.equal(await visitor.hearUntil("MN\r\n"), `${answer}END\r\nMN\r\n`);
  }
  visitor.send(`add k 0 0 1\r\nx\r\nadd k 0 0 100000\r\n${large}\r\nget k\r\nmn\r\n`);
  assert.equal(await visitor.hearUntil("MN\r\n"), `STORED\r\n${refused}VALUE k 0 1\r\nx\r\nEND\r\nMN\r\n`);
  const binary = await talk(server.port);
  binary.send(quiet);
  assert.match(await binary.hear(24 + "Out of memory".length), /Out of memory$/);
  visitor.send("get k\r\n");
  assert.equal(await visitor.hearUntil("END\r\n"), "END\r\n");
});

test("without evictions a command that finds no room is silent where that was asked for", async (context) => {
  const server = await started(context, { limitBytes: 1024 * 1024, evicts: false });
  const visitor = await talk(server.port);
  const fill = Array.from({ length: 300 }, (_, n) => `set k${n} 0 0 8000\r\n${"x".repeat(8_000)}\r\n`);
  visitor.send(`${fill.join("")}mn\r\n`);
  assert.match(await visitor.hearUntil("MN\r\n"), /SERVER_ERROR out of memory storing object\r\nMN\r\n$/);
  visitor.send(`set more 0 0 8000 noreply\r\n${"x".repeat(8_000)}\r\nmn\r\n`);
  assert.equal(await visitor.hearUntil("MN\r\n"), "MN\r\n");
});

test("an upload that is given up is counted no longer", async (context) => {
  const server = await started(context, { uploadBytes: 1_000_000 });
  for (let i = 0; i < 5; i++) {
    const quitter = await talk(server.port);
    quitter.send("set a 0 0 900000\r\nxx");
    quitter.socket.end();
    await quitter.hearAll();
  }
  const visitor = await talk(server.port);
  visitor.send(`set b 0 0 900000\r\n${"y".repeat(900_000)}\r\n`);
  assert.equal(await visitor.hearUntil("\r\n"), "STORED\r\n");
});

test("a line without an end is no command, unless it gets keys", async (context) => {
  const server = await started(context);
  const endless = await talk(server.port);
  endless.send("set ".padEnd(3000, "x"));
  assert.equal(await endless.hearAll(), "");
  const many = await talk(server.port);
  many.send("set k999 0 0 1\r\nv\r\n");
  await many.hearUntil("\r\n");
  const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}`).join(" ");
  for (let at = 0; at < keys.length; at += 7777) many.send((at === 0 ? "get " : "") + keys.slice(at, at + 7777));
  many.send("\r\n");
  assert.equal(await many.hearUntil("END\r\n"), "VALUE k999 0 1\r\nv\r\nEND\r\n");
});

test("a key that is too long in an endless line of keys is refused; what was answered before cannot be taken back", async (context) => {
  const server = await started(context);
  const misses = await talk(server.port);
  misses.send(`get ${"k ".repeat(2000)}${"x".repeat(5000)} k\r\nmn\r\n`);
  assert.equal(await misses.hearUntil("MN\r\n"), "CLIENT_ERROR bad command line format\r\nMN\r\n");
  const hits = await talk(server.port);
  hits.send("set k 0 0 1\r\nv\r\n");
  await hits.hearUntil("\r\n");
  hits.send(`get ${"k ".repeat(2000)}`);
  await hits.hearUntil("\r\nv\r\n");
  hits.send(`${"x".repeat(5000)} k\r\nmn\r\n`);
  assert.match(await hits.hearAll(), /CLIENT_ERROR bad command line format\r\n$/);
});

test("a visitor who hangs up in the middle of anything leaves the server as it was", async (context) => {
  const server = await started(context);
  for (const said of ["", "g", "get ", "get k", "set k 0 0 10\r\nxx", "mg", "\x80\x01\x00", "ms k 5 T"]) {
    const visitor = await talk(server.port);
    visitor.send(said);
    visitor.socket.end();
    await visitor.hearAll();
  }
  const last = await talk(server.port);
  last.send("mn\r\n");
  assert.equal(await last.hearUntil("\r\n"), "MN\r\n");
  assert.equal(server.connections, 1);
});

test("commands that came before a half-close are answered", async (context) => {
  const server = await started(context);
  const visitor = await talk(server.port);
  visitor.socket.end("set k 0 0 1\r\nv\r\nget k\r\n");
  assert.equal(await visitor.hearAll(), "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n");
});

/** As many visitors as the operating system lets one process have sockets for, at both ends. */
const crowd = 10_000;

test(
  "ten thousand visitors who say nothing cost little memory, and the next one is answered",
  { skip: process.platform !== "linux" && "the memory of another process is read from /proc" },
  async (context) => {
    const port = await freePort();
    const args = ["dist/cli/main.js", "serve", "-p", String(port), "-c", String(crowd + 10)];
    const server = spawn(process.execPath, args, { stdio: "ignore" });
    const sockets: Socket[] = [];
    context.after(async () => {
      for (const socket of sockets) socket.destroy();
      server.kill("SIGKILL");
      await once(server, "exit");
    });
    await answering(port);
    const rssKb = (): number =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${String(server.pid)}/status`, "utf8"))?.[1]);
    const alone = rssKb();
    while (sockets.length < crowd) {
      const batch = Array.from({ length: 250 }, () => connect(port, "127.0.0.1"));
      sockets.push(...batch);
      await Promise.all(batch.map((socket) => once(socket, "connect")));
    }
    const next = await talk(port);
    next.send("mn\r\n");
    assert.equal(await next.hearUntil("\r\n"), "MN\r\n");
    next.close();
    const perVisitorKb = (rssKb() - alone) / crowd;
    assert.ok(perVisitorKb <= 20, `${perVisitorKb.toFixed(1)} KB per visitor`);
  },
);
