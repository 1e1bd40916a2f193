/** Who may log in, how, how often, and what is theirs. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createClient } from "everfresh/client";
import { type CacheServer, type ServerOptions, createServer } from "everfresh/server";
import { ManualClock } from "everfresh/testing";
import { binaryRequest, storeExtras } from "../support/binary.ts";
import { type Conversation, talk } from "../support/talk.ts";

const ann = { name: "ann", password: "open sesame" };
const bob = { name: "bob", password: "b0b" };

async function started(context: TestContext, options: ServerOptions): Promise<CacheServer> {
  const server = await createServer(options).listen();
  context.after(async () => server.close());
  return server;
}

async function loggedIn(server: CacheServer, { name, password }: typeof ann): Promise<Conversation> {
  const visitor = await talk(server.port);
  visitor.send(`set ${name} 0 0 ${password.length}\r\n${password}\r\n`);
  assert.equal(await visitor.hearUntil("\r\n"), "STORED\r\n");
  return visitor;
}

async function said(visitor: Conversation, text: string): Promise<string> {
  visitor.send(`${text}\r\nmn\r\n`);
  return (await visitor.hearUntil("MN\r\n")).slice(0, -4);
}

function sasl(user: string, password: string): Buffer {
  return binaryRequest({ opcode: 0x21, key: "PLAIN", value: `\0${user}\0${password}` });
}

function statusOf(answer: string): number {
  return Buffer.from(answer, "latin1").readUInt16BE(6);
}

test("by text, a user logs in with a first set of name and password, as MemCachier has it", async (context) => {
  const server = await started(context, { users: [ann] });
  const visitor = await loggedIn(server, ann);
  assert.equal(await said(visitor, "set k 0 0 1\r\nv"), "STORED\r\n");
});

test("by text, a user logs in with both in the data, as memcached -Y has it", async (context) => {
  const server = await started(context, { users: [bob] });
  const visitor = await talk(server.port);
  visitor.send("get k\r\nset auth 0 0 7\r\nbob b0b\r\nget k\r\n");
  assert.equal(await visitor.hearUntil("END\r\n"), "CLIENT_ERROR unauthenticated\r\nSTORED\r\nEND\r\n");
});

test("a name of any letters logs in by text, in both ways, and by SASL", async (context) => {
  const zoe = { name: "zoë", password: "pässwörd€" };
  const server = await started(context, { users: [zoe] });
  for (const [login, options] of [
    ["memcachier", {}],
    ["text", {}],
    ["sasl", { protocol: "binary" }],
  ] as const) {
    const client = createClient({
      servers: server.address,
      username: zoe.name,
      password: zoe.password,
      login,
      ...options,
    });
    context.after(() => client.close());
    assert.equal((await client.set("k", login)).kind, "stored");
  }
});

test("a wrong password is refused, and after five tries the visitor is sent away", async (context) => {
  const server = await started(context, { users: [bob] });
  const visitor = await talk(server.port);
  for (let tries = 0; tries < 6; tries++) visitor.send("set x 0 0 9\r\nbob wrong\r\n");
  assert.equal(await visitor.hearAll(), "CLIENT_ERROR authentication failure\r\n".repeat(5));
});

test("a password without a name has no form that counts", async (context) => {
  const server = await started(context, { users: [bob] });
  const visitor = await talk(server.port);
  visitor.send("set x 0 0 3\r\nb0b\r\n");
  assert.equal(await visitor.hearUntil("\r\n"), "CLIENT_ERROR bad authentication token format\r\n");
});

test("by SASL PLAIN: mechanisms, a wrong password, the right one, then commands", async (context) => {
  const server = await started(context, { users: [ann] });
  const visitor = await talk(server.port);
  visitor.send(binaryRequest({ opcode: 0x20 }));
  assert.equal((await visitor.hear(29)).slice(24), "PLAIN");
  visitor.send(sasl("ann", "wrong"));
  const refused = await visitor.hear(24 + "Auth failure.".length);
  assert.equal(statusOf(refused), 0x20);
  visitor.send(sasl(ann.name, ann.password));
  assert.equal((await visitor.hear(24 + 13)).slice(24), "Authenticated");
  visitor.send(binaryRequest({ opcode: 1, key: "k", value: "v", extras: storeExtras() }));
  assert.equal(statusOf(await visitor.hear(24)), 0);
});

test("before SASL nothing but logging in and the version is answered; others are sent away", async (context) => {
  const server = await started(context, { users: [ann] });
  const asks = await talk(server.port);
  asks.send(binaryRequest({ opcode: 0x0b }));
  assert.equal(statusOf(await asks.hear(24)), 0);
  const reads = await talk(server.port);
  reads.send(binaryRequest({ opcode: 0, key: "k" }));
  const answer = await reads.hearAll();
  assert.equal(statusOf(answer), 0x20);
});

test("by SASL, too, five wrong tries are all", async (context) => {
  const server = await started(context, { users: [ann] });
  const visitor = await talk(server.port);
  for (let tries = 0; tries < 7; tries++) visitor.send(sasl("ann", "wrong"));
  assert.equal((await visitor.hearAll()).split("Auth failure.").length - 1, 5);
});

test("who has logged in and fails to log in again is nobody", async (context) => {
  const server = await started(context, { users: [ann] });
  const visitor = await talk(server.port);
  visitor.send(
    Buffer.concat([sasl(ann.name, ann.password), sasl(ann.name, "wrong"), binaryRequest({ opcode: 0, key: "k" })]),
  );
  assert.equal((await visitor.hearAll()).split("Auth failure.").length - 1, 2);
});

test("a visitor who does not log in is sent away after the deadline", async (context) => {
  const clock = new ManualClock();
  const server = await started(context, { users: [ann], loginTimeout: "3s", clock });
  const late = await talk(server.port);
  const inTime = await loggedIn(server, ann);
  late.send("mn\r\n");
  await late.hearUntil("\r\n");
  clock.advance(5_000);
  assert.equal(await late.hearAll(), "");
  assert.equal(await said(inTime, "get k"), "END\r\n");
});

test("with login: sasl the text protocol is closed, with login: text the binary one", async (context) => {
  const saslOnly = await started(context, { users: [ann], login: "sasl" });
  const text = await talk(saslOnly.port);
  text.send("version\r\n");
  assert.equal(await text.hearAll(), "");
  const textOnly = await started(context, { users: [ann], login: "text" });
  const binary = await talk(textOnly.port);
  binary.send(binaryRequest({ opcode: 0x20 }));
  assert.equal(await binary.hearAll(), "");
});

test("users see their own keys only, and flush their own only", async (context) => {
  const server = await started(context, { users: [ann, bob], limitBytes: 8 * 1024 * 1024 });
  const anns = await loggedIn(server, ann);
  const bobs = await loggedIn(server, bob);
  assert.equal(await said(anns, "set k 0 0 1\r\na"), "STORED\r\n");
  assert.equal(await said(bobs, "get k"), "END\r\n");
  assert.equal(await said(bobs, "set k 0 0 1\r\nb"), "STORED\r\n");
  assert.equal(await said(bobs, "flush_all"), "OK\r\n");
  assert.equal(await said(anns, "get k"), "VALUE k 0 1\r\na\r\nEND\r\n");
  assert.match(await said(bobs, "lru_crawler metadump all"), /^END/);
  assert.match(await said(anns, "stats"), /STAT curr_items 1\r\n/);
  assert.match(await said(bobs, "stats"), /STAT curr_items 0\r\n/);
});

test("users are not shown each other: no connections, no prefixes of keys, no watching of others", async (context) => {
  const server = await started(context, { users: [ann, bob], limitBytes: 8 * 1024 * 1024 });
  const watcher = await loggedIn(server, bob);
  const bobs = await loggedIn(server, bob);
  assert.equal(await said(bobs, "stats conns"), "ERROR\r\n");
  assert.equal(await said(bobs, "stats detail on"), "CLIENT_ERROR stats not allowed\r\n");
  watcher.send("watch fetchers mutations connevents deletions\r\n");
  await watcher.hearUntil("OK\r\n");
  const anns = await loggedIn(server, ann);
  await said(anns, "set secret 0 0 1\r\na\r\nget secret\r\ndelete secret");
  await said(bobs, "get mine");
  const heard = await watcher.hearUntil("key=mine status=not_found");
  assert.doesNotMatch(heard, /secret|conn_/);
});

test("a user who fills memory pushes out nobody else's items", async (context) => {
  const server = await started(context, { users: [ann, bob], limitBytes: 4 * 1024 * 1024 });
  const anns = await loggedIn(server, ann);
  assert.equal(await said(anns, "set mine 0 0 4\r\nkept"), "STORED\r\n");
  const bobs = await loggedIn(server, bob);
  const value = "b".repeat(10_000);
  for (let i = 0; i < 20; i++) {
    let batch = "";
    for (let j = 0; j < 50; j++) batch += `set key${i * 50 + j} 0 0 ${value.length} noreply\r\n${value}\r\n`;
    bobs.send(batch);
  }
  assert.match(await said(bobs, "stats"), /STAT evictions [1-9]/);
  assert.equal(await said(anns, "get mine"), "VALUE mine 0 4\r\nkept\r\nEND\r\n");
});

test("users of one namespace share it, so that a password can be replaced", async (context) => {
  const old = { ...ann, namespace: "shop" };
  const server = await started(context, { users: [old, { name: "new", password: "better", namespace: "shop" }] });
  const before = await loggedIn(server, old);
  assert.equal(await said(before, "set k 0 0 1\r\nv"), "STORED\r\n");
  server.setUsers([{ name: "new", password: "better", namespace: "shop" }]);
  const refused = await talk(server.port);
  refused.send("set ann 0 0 11\r\nopen sesame\r\n");
  assert.equal(await refused.hearUntil("\r\n"), "CLIENT_ERROR authentication failure\r\n");
  const renewed = await loggedIn(server, { name: "new", password: "better" });
  assert.equal(await said(renewed, "get k"), "VALUE k 0 1\r\nv\r\nEND\r\n");
});

test("without the capability to write nothing is stored or changed, and the answers are those of MemCachier", async (context) => {
  const reader = { name: "reader", password: "r", namespace: "n", capabilities: [] };
  const server = await started(context, { users: [{ ...bob, namespace: "n" }, reader] });
  const writes = await loggedIn(server, bob);
  assert.equal(await said(writes, "set k 0 0 1\r\n1"), "STORED\r\n");
  const reads = await loggedIn(server, reader);
  assert.equal(await said(reads, "set k 0 0 1\r\n2"), "NOT_STORED\r\n");
  assert.equal(await said(reads, "ms k 1\r\n2"), "NS\r\n");
  assert.equal(await said(reads, "incr k 1"), "NOT_FOUND\r\n");
  assert.equal(await said(reads, "delete k"), "NOT_FOUND\r\n");
  assert.equal(await said(reads, "touch k 1"), "NOT_FOUND\r\n");
  assert.equal(await said(reads, "md k"), "NF\r\n");
  assert.equal(await said(reads, "md k I"), "NF\r\n");
  assert.equal(await said(reads, "mg new N30 v"), "EN\r\n");
  assert.equal(await said(reads, "mg k T1 v"), "VA 1\r\n1\r\n");
  assert.equal(await said(reads, "mg k t"), "HD t-1\r\n");
  assert.equal(await said(reads, "gat 1 k"), "VALUE k 0 1\r\n1\r\nEND\r\n");
  assert.equal(await said(reads, "mg k t"), "HD t-1\r\n");
  assert.equal(await said(reads, "flush_all"), "CLIENT_ERROR flush_all not allowed\r\n");
  assert.equal(await said(reads, "stats"), "CLIENT_ERROR stats not allowed\r\n");
  assert.equal(await said(reads, "watch"), "CLIENT_ERROR watch commands not allowed\r\n");
  assert.equal(await said(reads, "lru_crawler metadump all"), "ERROR metadump not allowed\r\n");
  assert.equal(await said(reads, "get k"), "VALUE k 0 1\r\n1\r\nEND\r\n");
});

test("a word about users that is misspelled gives nobody a right, and the error says which words there are", async (context) => {
  for (const [wrong, why] of [
    [{ users: [{ ...ann, capability: [] }] }, /user "ann" has no option capability; there are .*capabilities/],
    [{ users: [{ ...ann, capabilities: ["Write"] }] }, /no list of write, flush, stats/],
    [{ users: [{ ...ann, capabilities: "write" }] }, /no list of write, flush, stats/],
    [{ users: [{ name: "ann" }] }, /user "ann" needs a name and a password/],
    [{ users: [{}] }, /a user needs a name and a password/],
    [{ users: [null] }, /a user is an object/],
    [{ users: {} }, /users is an object; it is a list/],
    [{ users: "ann:secret" }, /users is a text; it is a list/],
    [{ users: [] }, /users is a list of 0; it is a list of at least one user/],
    [{ users: [], login: "sasl" }, /at least one user/],
    [{ login: "sasl" }, /login is "sasl"; it is for servers with users/],
    [{ users: [ann], login: "none" }, /login is "none"; it is one of "any", "sasl", "text"/],
  ] as const)
    assert.throws(
      () => createServer(wrong as never),
      (error: Error & { code: string }) => {
        assert.equal(error.code, "EF_OPTION");
        assert.match(error.message, why);
        assert.doesNotMatch(error.message, new RegExp(ann.password));
        return true;
      },
    );
  const server = await started(context, { users: [ann] });
  assert.throws(() => server.setUsers([{ ...ann, capability: [] } as never]), { code: "EF_OPTION" });
});

test("users without a name, without a password or twice are refused at once", () => {
  for (const users of [[{ name: "", password: "x" }], [{ name: "x", password: "" }], [ann, ann]])
    assert.throws(() => createServer({ users }), { code: "EF_OPTION" });
});
