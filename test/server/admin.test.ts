/** What tells about a server and steers it: stats, listings, watch, and the limits on them. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type ServerOptions, createServer } from "everfresh/server";
import { ManualClock } from "everfresh/testing";
import { binaryRequest } from "../support/binary.ts";
import { type Conversation, talk } from "../support/talk.ts";

async function visited(context: TestContext, options: ServerOptions = {}): Promise<readonly [number, Conversation]> {
  const server = await createServer(options).listen();
  context.after(async () => server.close());
  return [server.port, await talk(server.port)];
}

async function said(visitor: Conversation, text: string): Promise<string> {
  visitor.send(`${text}\r\nmn\r\n`);
  return (await visitor.hearUntil("MN\r\n")).slice(0, -4);
}

function numbers(answer: string): ReadonlyMap<string, string> {
  return new Map(
    answer
      .split("\r\n")
      .filter((line) => line.startsWith("STAT "))
      .map((line) => line.slice(5).split(" ", 2) as [string, string]),
  );
}

test("stats counts keys, not requests, and sorts hits from misses", async (context) => {
  const [, visitor] = await visited(context);
  await said(
    visitor,
    "set a 0 0 1\r\n1\r\nget a b a\r\nmg a v\r\nmg b\r\nincr a 1\r\nincr b 1\r\ndecr a 1\r\ndecr b 1",
  );
  await said(
    visitor,
    "touch a 0\r\ntouch b 0\r\ngat 0 a\r\ndelete a\r\ndelete a\r\ncas b 0 0 1 5\r\nx\r\nadd c 0 0 1\r\nx",
  );
  await said(visitor, "cas c 0 0 1 999\r\nx\r\nset big 0 0 2000000\r\n" + "x".repeat(2_000_000));
  const stats = numbers(await said(visitor, "stats"));
  const expected = {
    cmd_get: "5",
    get_hits: "3",
    get_misses: "2",
    cmd_set: "4",
    cmd_touch: "3",
    touch_hits: "2",
    touch_misses: "1",
    incr_hits: "1",
    incr_misses: "1",
    decr_hits: "1",
    decr_misses: "1",
    delete_hits: "1",
    delete_misses: "1",
    cas_misses: "1",
    cas_badval: "1",
    cas_hits: "0",
    store_too_large: "1",
    curr_items: "1",
    total_items: "2",
    cmd_meta: "2",
    curr_connections: "1",
    bytes: "61",
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(stats.get(name), value, name);
  assert.equal(await said(visitor, "stats reset"), "RESET\r\n");
  const after = numbers(await said(visitor, "stats"));
  assert.equal(after.get("cmd_get"), "0");
  assert.equal(after.get("curr_items"), "1");
});

test("stats come in the binary protocol, too, and end with an empty one", async (context) => {
  const [, visitor] = await visited(context);
  visitor.send(Buffer.concat([binaryRequest({ opcode: 0x10 }), binaryRequest({ opcode: 0x0a, opaque: 99 })]));
  const end = binaryRequest({ opcode: 0x0a, opaque: 99, magic: 0x81 }).toString("latin1");
  const heard = await visitor.hearUntil(end);
  assert.match(heard, /curr_items0/);
  assert.ok(heard.endsWith(binaryRequest({ opcode: 0x10, magic: 0x81 }).toString("latin1") + end));
});

test("items, slabs and sizes are shown as memcached would have laid them out", async (context) => {
  const [, visitor] = await visited(context);
  await said(visitor, "set a 0 0 1\r\n1\r\nset b 0 0 1000\r\n" + "x".repeat(1000));
  const items = numbers(await said(visitor, "stats items"));
  assert.equal(items.get("items:1:number"), "1");
  assert.equal(items.get("items:12:mem_requested"), "1060");
  const slabs = numbers(await said(visitor, "stats slabs"));
  assert.equal(slabs.get("1:chunk_size"), "96");
  assert.equal(slabs.get("12:chunk_size"), "1184");
  assert.deepEqual(
    [...numbers(await said(visitor, "stats sizes"))],
    [
      ["64", "1"],
      ["1088", "1"],
    ],
  );
  assert.equal(numbers(await said(visitor, "stats settings")).get("item_size_max"), "1048576");
  assert.match(await said(visitor, "stats conns"), /STAT \d+:addr tcp:127\.0\.0\.1:\d+\r\n/);
  assert.equal(await said(visitor, "stats nothing"), "ERROR\r\n");
});

test("stats detail counts by what stands before the delimiter", async (context) => {
  const [, visitor] = await visited(context, { prefixDelimiter: "/" });
  assert.equal(await said(visitor, "stats detail on"), "OK\r\n");
  await said(visitor, "get x/y\r\nset x/z 0 0 1\r\na\r\nget x/z\r\ndelete x/z\r\nget plain\r\nmg w/1\r\nms w/1 1\r\na");
  assert.equal(
    await said(visitor, "stats detail dump"),
    "PREFIX x get 2 hit 1 set 1 del 1\r\nPREFIX w get 1 hit 0 set 1 del 0\r\nEND\r\n",
  );
  assert.equal(await said(visitor, "stats detail off"), "OK\r\n");
  await said(visitor, "get x/y");
  assert.match(await said(visitor, "stats detail dump"), /^PREFIX x get 2 /);
  assert.equal(await said(visitor, "stats reset"), "RESET\r\n");
  assert.equal(await said(visitor, "stats detail dump"), "END\r\n");
  assert.equal(await said(visitor, "stats detail"), "CLIENT_ERROR usage: stats detail on|off|dump\r\n");
});

test("metadump lists every item with its key encoded, mgdump as commands, cachedump one class", async (context) => {
  const clock = new ManualClock(1_900_000_000_000);
  const [, visitor] = await visited(context, { clock });
  await said(visitor, "set a:b 7 50 2\r\nxx\r\nget a:b\r\nms Zm8g 2 b\r\nab");
  assert.equal(
    await said(visitor, "lru_crawler metadump all"),
    "key=a%3Ab exp=1900000050 la=1900000000 cas=1 fetch=yes cls=1 size=68\n" +
      "key=fo%20 exp=-1 la=1900000000 cas=2 fetch=no cls=1 size=64\nEND\r\n",
  );
  assert.equal(await said(visitor, "lru_crawler mgdump hash"), "mg a:b\r\nmg Zm8g b\r\nEN\r\n");
  assert.equal(await said(visitor, "lru_crawler metadump 2,3"), "END\r\n");
  assert.equal(await said(visitor, "lru_crawler metadump 99"), "BADCLASS invalid class id\r\n");
  assert.equal(await said(visitor, "stats cachedump 1 1"), "ITEM a:b [2 b; 1900000050 s]\r\nEND\r\n");
});

test("a listing of many items goes on as its reader takes it", async (context) => {
  const [port, visitor] = await visited(context);
  let sets = "";
  for (let i = 0; i < 30_000; i++) sets += `set key${i} 0 0 1 noreply\r\nx\r\n`;
  visitor.send(sets);
  await said(visitor, "get key0");
  const reader = await talk(port);
  reader.socket.pause();
  reader.send("lru_crawler metadump all\r\nmn\r\n");
  await said(visitor, "get key1");
  reader.socket.resume();
  const listed = await reader.hearUntil("MN\r\n");
  assert.equal(new Set(listed.match(/^key=key\d+/gm)).size, 30_000);
});

test("a watcher is told what is fetched, stored, deleted and evicted, and who comes", async (context) => {
  const [port, watcher] = await visited(context, { limitBytes: 128 * 1024 });
  watcher.send("watch fetchers mutations evictions connevents deletions\r\n");
  assert.equal(await watcher.hearUntil("\r\n"), "OK\r\n");
  const visitor = await talk(port);
  await said(visitor, "set a:b 0 50 2\r\nxx\r\nget a:b nope\r\ndelete a:b");
  const heard = await watcher.hearUntil("type=deleted key=a%3Ab cmd=delete clsid=1 size=2\n");
  assert.match(heard, /^ts=\d+\.\d+ gid=1 type=conn_new rip=127\.0\.0\.1 rport=\d+ transport=tcp cfd=\d+\n/);
  assert.match(heard, /type=item_store key=a%3Ab status=stored cmd=set ttl=50 clsid=1 cfd=\d+ size=2\n/);
  assert.match(heard, /type=item_get key=a%3Ab status=found clsid=1 cfd=\d+ size=2\n/);
  assert.match(heard, /type=item_get key=nope status=not_found clsid=0 cfd=\d+ size=0\n/);
  for (let i = 0; i < 200; i++) visitor.send(`set fill${i} 0 0 1000 noreply\r\n${"x".repeat(1000)}\r\n`);
  assert.match(await watcher.hearUntil("type=eviction key=fill"), /eviction/);
  watcher.close();
  assert.equal(await said(visitor, "get gone"), "END\r\n");
  assert.equal(await said(visitor, "watch nothing"), "ERROR\r\n");
});

test("what may be switched off is off", async (context) => {
  const [, visitor] = await visited(context, { flushes: false, dumps: false, watches: false, protocol: "text" });
  assert.equal(await said(visitor, "flush_all"), "CLIENT_ERROR flush_all not allowed\r\n");
  assert.equal(await said(visitor, "lru_crawler metadump all"), "ERROR metadump not allowed\r\n");
  assert.equal(await said(visitor, "stats cachedump 1 1"), "CLIENT_ERROR stats cachedump not allowed\r\n");
  assert.equal(await said(visitor, "watch"), "CLIENT_ERROR watch commands not allowed\r\n");
  assert.equal(await said(visitor, "shutdown"), "ERROR: shutdown not enabled\r\n");
});
