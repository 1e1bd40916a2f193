/** Lists of servers: how they are written, found and changed; and what the client tells about them. */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import dns from "node:dns";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { createClient, type ClientOptions, type EverfreshError } from "everfresh/client";
import { createServer } from "everfresh/server";
import { parseServers } from "#src/client/address.ts";
import { parseCluster } from "#src/client/discovery.ts";
import { deferred } from "../support/deferred.ts";
import { freePort, startMemcached } from "../support/memcached.ts";
import { onLines, politely, startPeer, startSpeaker } from "../support/peers.ts";
import { needs } from "../support/programs.ts";

describe("a server list", () => {
  const good: readonly (readonly [string, readonly string[]])[] = [
    ["a", ["a:11211 1"]],
    ["a:1,b:2", ["a:1 1", "b:2 1"]],
    ["a:1:3\nb:2:10", ["a:1 3", "b:2 10"]],
    ["[::1]:11212:2 ::1", ["[::1]:11212 2", "[::1]:11211 1"]],
    [
      "/run/m.sock unix:/run/n.sock unix:///run/o.sock",
      ["unix:/run/m.sock 1", "unix:/run/n.sock 1", "unix:/run/o.sock 1"],
    ],
    ["memcached://a memcacheds://b:5", ["a:11211 1", "b:5 1"]],
    ["[fe80::1%eth0]:1 memcached://[fe80::2%25eth0]:1", ["[fe80::1%eth0]:1 1", "[fe80::2%eth0]:1 1"]],
  ];
  for (const [text, expected] of good) {
    test(`${JSON.stringify(text)} is understood`, () => {
      assert.deepEqual(
        parseServers(text).map(({ name, weight }) => `${name} ${weight}`),
        expected,
      );
    });
  }
  test("memcacheds:// asks for TLS, and a URL may name the user", () => {
    const [server] = parseServers("memcacheds://al%40ice:p%3Aw@b:5");
    assert.deepEqual([server?.secure, server?.username, server?.password], [true, "al@ice", "p:w"]);
  });
  for (const text of [
    "",
    " , ",
    "a:0",
    "a:70000",
    "a:1:0",
    "a,a:11211",
    "http://a",
    "a b:x",
    "[::g]:1",
    "a;b",
    "me:secret@host:1",
    "secret@host:1",
    "memcached://me:secret%w@host",
    "memcached://me:p@secret@host",
    "memcached://me:secret,and@host",
    [{ host: "me:secret@host" }],
    [{ host: "a:1" }],
    [{ host: "" }],
  ]) {
    test(`${JSON.stringify(text)} is refused, and no secret is told`, () => {
      assert.throws(
        () => parseServers(text),
        (error: Error & { code: string }) => {
          assert.equal(error.code, "EF_OPTION");
          return !error.message.includes("secret");
        },
      );
    });
  }
});

test("an option that is not one is answered with those that are", () => {
  const answers: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ protocl: "meta" }, /protocl is not an option; there are servers, protocol, /],
    [{ protocol: "ascii" }, /protocol is "ascii"; it is auto, meta, binary or text/],
    [{ flags: "x" }, /flags is "x"; it is one of everfresh, /],
  ];
  for (const [options, message] of answers)
    assert.throws(() => createClient({ servers: "a", ...options }), { code: "EF_OPTION", message });
});

test("servers that are no servers are answered with how they are written", () => {
  for (const [servers, message] of [
    [11211, /a text or a list, such as "10\.0\.0\.1:11211/],
    [null, /a text or a list, such as/],
    [{ host: "a" }, /a text or a list, such as/],
    [[null], /a server is a text, or \{ host, port, weight \} or \{ path \}/],
    [[5], /a server is a text, or/],
    [[{ host: "a", prt: 5 }], /a server has no prt; there are host, port, path, weight/],
  ] as const)
    assert.throws(() => createClient({ servers: servers as never }), { code: "EF_OPTION", message });
});

test("arguments of the wrong form are answered with what is right, and nothing is sent", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, protocol: "meta" });
  t.after(() => client.close());
  for (const wrong of ["song", undefined, null, 5, { song: 1 }]) {
    const keys = { code: "EF_OPTION", message: /keys are a list, such as .*, not / };
    await assert.rejects(client.getMany(wrong as never), keys);
    await assert.rejects(client.deleteMany(wrong as never), keys);
    await assert.rejects(client.touchMany(wrong as never, "1m"), keys);
    await assert.rejects(client.setMany(wrong as never), { code: "EF_OPTION", message: /list of pairs, or a Map/ });
  }
  for (const wrong of ["ab", null, 5, { song: 1 }])
    await assert.rejects(client.setMany([["song", 1], wrong as never]), {
      code: "EF_OPTION",
      message: /list of pairs/,
    });
  await assert.rejects(client.touchMany(["k"], undefined as never), { code: "EF_OPTION", message: /ttl is missing/ });
  for (const signal of [{}, null, 5, {}])
    await assert.rejects(client.get("k", { signal: signal as never }), { code: "EF_OPTION", message: /AbortSignal/ });
  for (const delta of ["2", {}])
    await assert.rejects(client.incr("k", { delta: delta as never }), { code: "EF_OPTION", message: /delta is / });
  await assert.rejects(client.meta.noop("elsewhere:1"), {
    code: "EF_OPTION",
    message: `elsewhere:1 is not a server of this client; there are ${peer.address}.`,
  });
  assert.equal(peer.connections(), 0);
});

test("an option of a call that is not one is answered with those that are, and nothing is sent", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, protocol: "meta" });
  t.after(() => client.close());
  const wrong = { ttll: 5 } as object;
  const ofCall = "timeoutMs, signal, on.";
  const ofStore = `ttl, clientFlags, returnCas, ${ofCall}`;
  const ofCount = `delta, initial, ttl, ${ofCall}`;
  const calls: readonly (readonly [string, (options: object | undefined) => Promise<unknown>])[] = [
    [`as, cas, ${ofCall}`, (options) => client.get("k", options)],
    [`as, cas, ${ofCall}`, (options) => client.gat("k", "1m", options)],
    [`as, ${ofCall}`, (options) => client.getMany(["k"], options)],
    [ofStore, (options) => client.set("k", "v", options)],
    [ofStore, (options) => client.add("k", "v", options)],
    [ofStore, (options) => client.replace("k", "v", options)],
    [ofStore, (options) => client.cas("k", "v", "1" as never, options)],
    [ofStore, (options) => client.setMany([["k", "v"]], options)],
    [ofCall, (options) => client.append("k", "v", options)],
    [ofCall, (options) => client.prepend("k", "v", options)],
    [`compareCas, ${ofCall}`, (options) => client.delete("k", options)],
    [ofCall, (options) => client.deleteMany(["k"], options)],
    [ofCall, (options) => client.touch("k", "1m", options)],
    [ofCall, (options) => client.touchMany(["k"], "1m", options)],
    [ofCount, (options) => client.incr("k", options)],
    [ofCount, (options) => client.decr("k", options)],
    [ofCall, (options) => client.flush(options)],
    [ofCall, (options) => client.version(options)],
    [ofCall, (options) => client.stats("items", options)],
    ["value, clientFlags, cas, ttl, size, ", (flags) => client.meta.get("k", flags)],
    ["ttl, clientFlags, mode, compareCas, ", (flags) => client.meta.set("k", "v", flags)],
    ["compareCas, newCas, invalidate, ttl, ", (flags) => client.meta.delete("k", flags)],
    ["mode, delta, vivify, initial, ttl, ", (flags) => client.meta.arithmetic("k", flags)],
    [ofCall, (options) => client.meta.get("k", {}, options)],
    [ofCall, (options) => client.meta.set("k", "v", {}, options)],
    [ofCall, (options) => client.meta.delete("k", {}, options)],
    [ofCall, (options) => client.meta.arithmetic("k", {}, options)],
    [ofCall, (options) => client.meta.debug("k", options)],
    [ofCall, (options) => client.meta.noop(peer.address, options)],
  ];
  for (const [names, call] of calls) {
    await assert.rejects(call(wrong), (error: EverfreshError) => {
      assert.equal(error.code, "EF_OPTION");
      assert.ok(error.message.startsWith(`ttll is not an option of this call; there are ${names}`), error.message);
      return true;
    });
    await assert.rejects(call(60 as never), {
      code: "EF_OPTION",
      message: /options are an object with .*, not a number/,
    });
    await assert.rejects(call(null as never), { code: "EF_OPTION", message: /not null/ });
  }
  await assert.rejects(client.getMany(["k"], { as: "byte" as never }), { code: "EF_OPTION" });
  assert.equal(peer.connections(), 0);
  const plain: unknown = Object.assign(Object.create(null), { timeoutMs: 900 });
  const inherited: unknown = Object.assign(Object.create(wrong), { timeoutMs: 900 });
  for (const options of [undefined, {}, plain, inherited])
    assert.equal((await client.get("k", options as object | undefined)).kind, "hit");
});

test("options that are undefined, as what the environment lacks, count as left out", async () => {
  const { EVERFRESH_NO_SUCH_NAME: nothing } = process.env;
  const client = createClient({ servers: "a", username: nothing, password: nothing, flags: undefined, tls: undefined });
  assert.deepEqual(
    client.servers().map(({ name }) => name),
    ["a:11211"],
  );
  await client.close();
});

test("options that are half there, unknown or out of range stop the start", () => {
  const wrong: readonly Record<string, unknown>[] = [
    {},
    { servers: [] },
    { servers: "a", username: "u" },
    { servers: "a", password: "p" },
    { servers: "a", timeout: 5 },
    { servers: "a", discovery: { endpont: "b" } },
    { servers: "a", discovery: { endpoint: "b", interval: 5 } },
    { servers: "a", discovery: {} },
    { servers: "a", discovery: "b" },
    { servers: "a", timeoutMs: 0 },
    { servers: "a", timeoutMs: "1" },
    { servers: "a", protocol: "udp" },
    { servers: "a", placement: "random" },
    { servers: "a", login: "sasl", username: "u", password: "p", protocol: "meta" },
    { servers: "a", flags: "java" },
    { servers: "a", compression: { method: "deflate" }, flags: "memjs" },
    { servers: "a", compression: { abovebytes: 1 } },
    { servers: "a", compression: { aboveBytes: "1" } },
    { servers: "a", compression: { method: "lz4" } },
    { servers: "a", compression: "yes" },
    { servers: "a", compression: null },
    { servers: "a", backoff: { first: 1 } },
    { servers: "a", backoff: 5 },
    { servers: "a", placement: { kind: "modula", hasher: "md5" } },
    { servers: "a", placement: null },
    { servers: "a", splitLargeValues: "yes" },
    { servers: "a", tls: "yes" },
    { servers: "a", tls: null },
  ];
  for (const options of wrong)
    assert.throws(
      () => createClient(options as unknown as ClientOptions),
      { code: "EF_OPTION" },
      JSON.stringify(options),
    );
});

test(
  "servers can be changed while the client works; what was asked is still answered",
  needs("memcached"),
  async (t) => {
    const [first, second] = [await startMemcached(), await startMemcached()];
    t.after(() => Promise.all([first.stop(), second.stop()]));
    const client = createClient({ servers: first.address });
    t.after(() => client.close());
    await client.set("k", "first");
    const asked = client.get("k");
    client.changeServers([second.address]);
    assert.equal((await asked).kind, "hit");
    assert.equal((await client.get("k")).kind, "miss");
    assert.deepEqual(
      client.servers().map((server) => server.name),
      [second.address],
    );
    assert.throws(() => client.changeServers(""), { code: "EF_OPTION" });
  },
);

test("a list with other credentials logs in anew with them, and one with the same or none changes nothing", async (t) => {
  const users = { ann: "open sesame", bob: "s3cret" };
  const both = Object.entries(users).map(([name, password]) => ({ name, password, namespace: "shared" }));
  const server = await createServer({ users: both }).listen();
  t.after(() => server.close());
  const other = await createServer({ users: both }).listen();
  t.after(() => other.close());
  const url = (user: string, password: string, { address } = server): string =>
    `memcached://${user}:${encodeURIComponent(password)}@${address}`;
  const client = createClient({ servers: url("ann", users.ann) });
  t.after(() => client.close());
  const { epoch } = await client.set("k", "v");
  for (const list of [url("ann", users.ann), server.address]) {
    client.changeServers([list, url("ann", users.ann, other)]);
    client.changeServers(list);
    assert.equal((await client.get("k")).epoch, epoch);
  }
  server.setUsers(both.slice(1));
  client.changeServers(url("bob", users.bob));
  const read = await client.get("k");
  assert.ok(read.kind === "hit" && read.epoch !== epoch);
  client.changeServers(url("bob", "wrong secret"));
  await assert.rejects(client.get("k"), (error: EverfreshError) => {
    assert.equal(error.code, "EF_AUTH");
    return !/secret|s3cret|sesame/.test(error.message);
  });
  client.changeServers(url("bob", users.bob));
  assert.equal((await client.get("k")).kind, "hit");
});

test("credentials that a new list cannot change or does not name whole are refused, and the old list stays", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const own = { username: "me", password: "secret", auth: "optional", protocol: "meta" } as const;
  const named = createClient({ servers: peer.address, ...own });
  t.after(() => named.close());
  const plain = createClient({ servers: peer.address, auth: "optional", protocol: "meta" });
  t.after(() => plain.close());
  const refused: readonly (readonly [typeof named, string, RegExp])[] = [
    [named, "memcached://me:hidden@a", /make a new client, or one whose credentials are in the servers' URLs only/],
    [named, "memcached://you:hidden@a", /make a new client/],
    [plain, "memcached://you@a", /a username and no password/],
    [plain, "memcached://:hidden@a", /a password and no username/],
    [plain, "memcached://me:hidden@a memcached://you:hidden@b", /different users/],
    [plain, "memcached://me:hidden@a memcached://me:other@b", /different passwords/],
  ];
  for (const [client, list, message] of refused) {
    const names = client.servers().map(({ name }) => name);
    assert.throws(
      () => client.changeServers(list),
      (error: EverfreshError) => {
        assert.deepEqual([error.code, message.test(error.message)], ["EF_OPTION", true], error.message);
        return !/hidden|secret|other/.test(error.message.replace("others", ""));
      },
    );
    assert.deepEqual(
      client.servers().map(({ name }) => name),
      names,
    );
  }
  const sasl = createClient({ servers: peer.address, login: "sasl", protocol: "meta" });
  assert.throws(() => sasl.changeServers("memcached://me:hidden@a"), {
    code: "EF_OPTION",
    message: /exclude each other/,
  });
  await sasl.close();
  // At the start the client's own password goes before that of a URL.
  await createClient({ servers: "memcached://me:hidden@a", ...own }).close();
  named.changeServers(`memcached://me@${peer.address}`);
  assert.equal((await named.get("k")).kind, "hit");
});

test("a server that refuses at each of the addresses of its name is told as refusing, over TLS as well", async (t) => {
  const both = [1, 2].map((n) => ({ address: `127.0.0.${n}`, family: 4 }));
  t.mock.method(dns, "lookup", (_name: unknown, _options: unknown, done: (error: null, found: object) => void) =>
    done(null, both),
  );
  for (const tls of [false, true]) {
    const client = createClient({ servers: "localhost:1", tls });
    t.after(() => client.close());
    const refused = { code: "EF_SERVER_DOWN", message: /ECONNREFUSED 127\.0\.0\.1:1; .*ECONNREFUSED 127\.0\.0\.2:1$/ };
    await assert.rejects(client.get("k"), refused);
  }
});

test("close waits for what was asked of a server that has left the list", async (t) => {
  const asked = deferred<Socket>();
  const peer = await startSpeaker((line, socket) => {
    if (!line.startsWith("mg slow")) return politely(line);
    asked.resolve(socket);
    return undefined;
  });
  t.after(() => peer.stop());
  const other = await startSpeaker(politely);
  t.after(() => other.stop());
  const client = createClient({ servers: peer.address, protocol: "meta" });
  const told: string[] = [];
  const typed = client.get("slow").then(({ kind }) => told.push(kind));
  const meta = client.meta.get("slow").then(({ kind }) => told.push(kind));
  const socket = await asked.promise;
  client.changeServers(other.address);
  const closed = client.close().then(() => told.push("closed"));
  socket.write(politely("mg slow").repeat(2));
  await Promise.all([typed, meta, closed]);
  assert.deepEqual(told, ["hit", "hit", "closed"]);
});

test("a server whose address now asks for TLS is not spoken to over the connection from before", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, connectTimeoutMs: 100 });
  t.after(() => client.close());
  assert.equal((await client.get("k")).kind, "hit");
  client.changeServers(`memcached://${peer.address}`);
  assert.deepEqual([(await client.get("k")).kind, peer.connections()], ["hit", 1]);
  client.changeServers(`memcacheds://${peer.address}`);
  await assert.rejects(client.get("k"), { code: "EF_SERVER_DOWN" });
});
for (const placement of ["modula", "ketama", "rendezvous"] as const)
  test(`every connection to every server has keys with ${placement}`, async (t) => {
    const peers = await Promise.all([startSpeaker(politely), startSpeaker(politely)]);
    const servers = peers.map((peer) => peer.address);
    const client = createClient({ servers, placement, connections: 2, protocol: "meta" });
    t.after(async () => {
      await client.close();
      await Promise.all(peers.map((peer) => peer.stop()));
    });
    await client.getMany(Array.from({ length: 200 }, (_, at) => `k${at}`));
    assert.deepEqual(
      peers.map((peer) => peer.connections()),
      [2, 2],
    );
  });

test("a configuration endpoint is asked again and again, and its newer lists are taken", async (t) => {
  const nodes = await Promise.all([startSpeaker(politely), startSpeaker(politely)]);
  t.after(() => Promise.all(nodes.map((node) => node.stop())));
  let version = 1;
  const listed = (): string =>
    nodes
      .slice(0, version)
      .map((node) => `|127.0.0.1|${node.port}`)
      .join(" ");
  const endpoint = await startPeer((socket) => {
    socket.on("data", (chunk) => {
      for (const line of chunk.toString().split("\r\n").slice(0, -1)) {
        const body = `${version}\n${listed()}\n`;
        socket.write(
          line.startsWith("config") ? `CONFIG cluster 0 ${body.length}\r\n${body}\r\nEND\r\n` : politely(line),
        );
      }
    });
  });
  t.after(() => endpoint.stop());
  const client = createClient({ servers: endpoint.address, discovery: { endpoint: endpoint.address, intervalMs: 5 } });
  t.after(() => client.close());
  const names = (): string =>
    client
      .servers()
      .map((server) => server.name)
      .join(" ");
  const until = async (expected: string): Promise<void> => {
    for (let turn = 0; names() !== expected; turn++) {
      assert.ok(turn < 500, names());
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await until(nodes[0]?.address ?? "");
  version = 2;
  await until(nodes.map((node) => node.address).join(" "));
  assert.equal((await client.get("k")).kind, "hit");
});

test("an endpoint's answer that is no list is refused", () => {
  for (const text of ["", "x\na|1.1.1.1|1", "1\n", "1\na|b", `1\n${"a|b|1 ".repeat(1001)}`, "1\na|b|1 a|c|1"])
    assert.throws(() => parseCluster(text), { code: "EF_PROTOCOL" }, text);
  assert.deepEqual(
    parseCluster("12\na.b|10.0.0.1|1 |::1|2\n").servers.map(({ name }) => name),
    ["a.b:1", "[::1]:2"],
  );
});

test("commands and changes of state are told on diagnostics channels, and counted", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const told: Record<string, unknown>[] = [];
  const listen = (message: unknown): void => void told.push(message as Record<string, unknown>);
  for (const name of ["everfresh:client:command", "everfresh:client:server"]) {
    subscribe(name, listen);
    t.after(() => unsubscribe(name, listen));
  }
  const client = createClient({ servers: peer.address, protocol: "meta" });
  await client.get("k");
  await assert.rejects(client.get("k", { signal: AbortSignal.abort() }), {
    code: "EF_ABORTED",
    server: peer.address,
    command: "get",
    key: "k",
  });
  await client.close();
  assert.deepEqual(
    told.filter((event) => "to" in event).map((event) => event["to"]),
    ["connecting", "up", "closed"],
  );
  const command = told.find((event) => event["command"] === "get");
  assert.deepEqual([command?.["key"], command?.["error"], command?.["server"]], ["k", undefined, peer.address]);
  const numbers = client.numbers();
  assert.deepEqual([numbers.hits >= 1, numbers.connects, numbers.bytesRead > 20], [true, 1, true]);
});

test("the end of a call that is refused at once is told, too", async (t) => {
  const told: unknown[] = [];
  const listen = (message: unknown): void => void told.push((message as { error: unknown }).error);
  subscribe("everfresh:client:command", listen);
  t.after(() => unsubscribe("everfresh:client:command", listen));
  const client = createClient({ servers: `127.0.0.1:${await freePort()}`, maxPending: 1 });
  for (const code of ["EF_SERVER_DOWN", "EF_SERVER_DOWN"]) await assert.rejects(client.get("k"), { code });
  client.changeServers(`127.0.0.1:${await freePort()}`);
  await Promise.allSettled([client.get("k"), client.get("k")]);
  await client.close();
  await assert.rejects(client.get("k"), { code: "EF_CLOSED" });
  assert.deepEqual(told, ["EF_SERVER_DOWN", "EF_SERVER_DOWN", "EF_OVERLOADED", "EF_SERVER_DOWN", "EF_CLOSED"]);
});

test("numbers stay when a server leaves the list", async (t) => {
  const peer = await startSpeaker(politely);
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, protocol: "meta" });
  await client.get("k");
  await assert.rejects(client.append("k", "x", { on: { server: "another" } }), { code: "EF_CONNECTION_LOST" });
  const before = client.numbers();
  const leaving = client.get("k");
  client.changeServers("127.0.0.1:1");
  await leaving;
  await client.close();
  const { hits, answers, bytesRead, failures } = client.numbers();
  assert.deepEqual([hits, answers, failures], [before.hits + 1, before.answers + 1, { EF_CONNECTION_LOST: 1 }]);
  assert.ok(bytesRead > before.bytesRead);
});

test("a change of servers tells which came and which went, and a server that stays is neither", async (t) => {
  const told: unknown[] = [];
  const listen = (message: unknown): void => void told.push(message);
  subscribe("everfresh:client:servers", listen);
  t.after(() => unsubscribe("everfresh:client:servers", listen));
  const client = createClient({ servers: "a:1,b:2" });
  client.changeServers("memcacheds://a:1,c:3");
  await client.close();
  assert.deepEqual(told, [{ added: ["c:3"], removed: ["b:2"] }]);
});

test("a server that has nothing but classic text is spoken to in classic text, and meta is refused, not sent", async (t) => {
  const heard: string[] = [];
  const peer = await startPeer((socket) => {
    onLines(socket, (line) => {
      heard.push(line);
      if (line === "version") socket.write("VERSION 1.4.0\r\n");
      else if (line.startsWith("get ")) socket.write("VALUE k 16 4\r\ntext\r\nEND\r\n");
      else socket.write("ERROR\r\n");
    });
  });
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address });
  t.after(() => client.close());
  const hit = await client.get("k");
  assert.equal(hit.kind === "hit" && hit.value, "text");
  assert.deepEqual([client.servers()[0]?.protocol, client.servers()[0]?.version], ["text", "1.4.0"]);
  await assert.rejects(client.meta.get("k", { vivify: 30 }), { code: "EF_UNSUPPORTED" });
  await assert.rejects(client.meta.delete("k", { invalidate: true }), { code: "EF_UNSUPPORTED" });
  assert.ok(!heard.some((line) => /^m[gd] /.test(line)));
});

test("a proxy that refuses meta as malformed, and hangs up, is spoken to in classic text", async (t) => {
  const peer = await startPeer((socket) => {
    onLines(socket, (line) => {
      if (line === "version") socket.write("VERSION 37.0 mcrouter\r\n");
      else if (line === "get k") socket.write("VALUE k 16 4\r\ntext\r\nEND\r\n");
      else socket.end("CLIENT_ERROR malformed request\r\n");
    });
  });
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address });
  t.after(() => client.close());
  const hit = await client.get("k");
  assert.deepEqual([hit.kind === "hit" && hit.value, client.servers()[0]?.protocol], ["text", "text"]);
});
