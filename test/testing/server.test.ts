/** The server for tests: a journal of what was asked, and faults on command. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type TestServer, startTestServer } from "everfresh/testing";
import { binaryRequest } from "../support/binary.ts";
import { type Conversation, talk } from "../support/talk.ts";

async function started(context: TestContext): Promise<readonly [TestServer, Conversation]> {
  const server = await startTestServer();
  context.after(async () => server.close());
  return [server, await talk(server.port)];
}

test("every command is written down with its key, its line and its connection", async (context) => {
  const [server, visitor] = await started(context);
  visitor.send("set a 0 0 1\r\nx\r\nget a b\r\nmg c v t\r\nincr n 1\r\ngat 0 z\r\n");
  await visitor.hearUntil("NOT_FOUND\r\nEND\r\n");
  const other = await talk(server.port);
  other.send(binaryRequest({ opcode: 0, key: "a" }));
  await other.hear(24);
  assert.deepEqual(
    server.commands.map(({ connection, command, key, line }) => `${connection} ${command} ${key}: ${line}`),
    [
      "1 set a: set a 0 0 1",
      "1 get a: get a b",
      "1 mg c: mg c v t",
      "1 incr n: incr n 1",
      "1 gat z: gat 0 z",
      "2 get a: ",
    ],
  );
  server.clearJournal();
  assert.equal(server.commands.length, 0);
});

test("cut resets the connection and the command is not done; cutAfter does it first", async (context) => {
  const [server, visitor] = await started(context);
  server.fault({ kind: "cut", command: "set" });
  visitor.send("set a 0 0 1\r\nx\r\n");
  assert.equal(await visitor.hearAll(), "");
  server.fault({ kind: "cutAfter", key: "b" });
  const second = await talk(server.port);
  second.send("set b 0 0 1\r\nx\r\n");
  assert.equal(await second.hearAll(), "");
  const third = await talk(server.port);
  third.send("get a b\r\n");
  assert.equal(await third.hearUntil("END\r\n"), "VALUE b 0 1\r\nx\r\nEND\r\n");
});

test("slow holds an answer for as long as the clock says, stall for ever", async (context) => {
  const [server, visitor] = await started(context);
  server.fault({ kind: "slow", command: "mg", delayMs: 500 });
  visitor.send("mg k\r\nmn\r\n");
  const watcher = await talk(server.port);
  watcher.send("mn\r\n");
  await watcher.hearUntil("\r\n");
  server.clock.advance(499);
  watcher.send("mn\r\n");
  await watcher.hearUntil("\r\n");
  assert.equal(visitor.heard(), "");
  server.clock.advance(1);
  assert.equal(await visitor.hearUntil("MN\r\n"), "EN\r\nMN\r\n");
  server.fault({ kind: "stall", command: "mg" });
  visitor.send("mg k\r\nmn\r\n");
  watcher.send("mn\r\n");
  await watcher.hearUntil("\r\n");
  server.clock.advance(3_600_000);
  watcher.send("mn\r\n");
  await watcher.hearUntil("\r\n");
  assert.equal(visitor.heard(), "");
});

test("outOfMemory refuses to store, evict drops an item before it is read", async (context) => {
  const [server, visitor] = await started(context);
  server.fault({ kind: "outOfMemory", command: "ms" });
  visitor.send("ms k 1\r\nx\r\nms k 1\r\ny\r\nmg k v\r\n");
  assert.equal(await visitor.hearUntil("y\r\n"), "SERVER_ERROR out of memory storing object\r\nHD\r\nVA 1\r\ny\r\n");
  server.fault({ kind: "evict", key: "k" });
  visitor.send("mg k v\r\nget k\r\n");
  assert.equal(await visitor.hearUntil("END\r\n"), "EN\r\nEND\r\n");
});

test("a fault strikes as often as it was ordered, and can be taken back", async (context) => {
  const [server, visitor] = await started(context);
  server.fault({ kind: "evict", key: "k", times: 2 });
  const takeBack = server.fault({ kind: "cut", command: "delete" });
  takeBack();
  visitor.send("set k 0 0 1\r\nx\r\nget k\r\nset k 0 0 1\r\nx\r\nget k\r\ndelete k\r\n");
  assert.equal(
    await visitor.hearUntil("DELETED\r\n"),
    "STORED\r\nEND\r\nSTORED\r\nVALUE k 0 1\r\nx\r\nEND\r\nDELETED\r\n",
  );
});

test("a fault that there is not, and time that is no number, are refused: their test would prove nothing", async (context) => {
  const [server] = await started(context);
  for (const [wrong, message] of [
    [undefined, /a fault has a kind: cut, cutAfter, /],
    [{ kind: "explode" }, /a fault has a kind/],
    [{ kind: "cut", comand: "get" }, /a fault has no option comand; there are kind, command, /],
  ] as const)
    assert.throws(() => server.fault(wrong as never), { code: "EF_OPTION", message });
  for (const wrong of ["1m", undefined, Number.NaN, -1, Infinity])
    assert.throws(() => server.clock.advance(wrong as never), { code: "EF_OPTION", message: /milliseconds/ });
});

test("forget drops everything, as a restart would", async (context) => {
  const [server, visitor] = await started(context);
  visitor.send("set k 0 0 1\r\nx\r\n");
  await visitor.hearUntil("\r\n");
  server.forget();
  visitor.send("get k\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "END\r\n");
});
