/** Peers that lie, stall and hang up: every call ends by its deadline, nobody gets another key's bytes, and the way back works. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { createClient, EverfreshError, type ClientOptions, type MemcachedClient } from "everfresh/client";
import { freePort, startMemcached } from "../support/memcached.ts";
import { onLines, politely, startPeer, startSpeaker } from "../support/peers.ts";
import { needs } from "../support/programs.ts";

const quick = { backoff: { firstMs: 1, longestMs: 5 }, timeoutMs: 300, connectTimeoutMs: 500 };

function clientOf(address: string, options: Partial<ClientOptions> = {}): MemcachedClient {
  return createClient({ servers: address, protocol: "meta", ...quick, ...options });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error instanceof EverfreshError ? error.code : String(error)),
  );
}

async function until(true_: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 3000;
  while (!(await true_())) {
    assert.ok(performance.now() < deadline, "it did not come true in time");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const works = (client: MemcachedClient) => async (): Promise<boolean> => {
  const read = await client.get("fine").catch(() => undefined);
  return read?.kind === "hit" && read.value === "value of fine";
};

/** What a liar says to `mg alice` on its first connection, and why it is a lie. */
const lies: readonly (readonly [string, string])[] = [
  ["another key's value", "VA 12 kbob f16\r\nvalue of bob\r\n"],
  ["a key that only begins alike", "VA 14 kalicex f16\r\nvalue of alice\r\n"],
  ["a value without its key", "VA 14 f16\r\nvalue of alice\r\n"],
  ["a status of another command", "NS kalice\r\n"],
  ["a value where none can be", "HD kalice\r\n"],
  ["a size that is too small", "VA 3 kalice f16\r\nvalue of alice\r\n"],
  ["a size that is no number", "VA x kalice f16\r\nvalue\r\n"],
  ["a size without end", `VA ${"9".repeat(30)} kalice f16\r\n`],
  ["a size over the limit", "VA 999999999 kalice f16\r\n"],
  ["flags that are no number", "VA 1 kalice fx\r\na\r\n"],
  ["garbage", "\u0001\u0002\u0003HIPPO\r\n"],
  ["a line without end", "x".repeat(20_000)],
  ["a line that is too long", `HD kalice ${"x".repeat(10_000)}\r\n`],
  ["a bare line feed", "EN\n"],
  ["classic text", "VALUE alice 16 14\r\nvalue of alice\r\nEND\r\n"],
  ["an answer and one too many", "VA 14 kalice f16\r\nvalue of alice\r\nVA 13 kdave f16\r\nvalue of dave\r\n"],
];

for (const [name, lie] of lies) {
  test(`${name} is EF_PROTOCOL or no answer for the caller, and EF_CONNECTION_LOST for those behind`, async (t) => {
    const peer = await startSpeaker((line, _socket, connection) =>
      connection === 0 ? (line.startsWith("mg alice") ? lie : undefined) : politely(line),
    );
    t.after(() => peer.stop());
    const client = clientOf(peer.address);
    t.after(() => client.close());
    const calls = [client.get("alice"), client.get("bob"), client.get("carol")];
    const settled = await Promise.allSettled(calls);
    for (const [at, outcome] of settled.entries()) {
      if (outcome.status === "fulfilled") {
        const own = `value of ${["alice", "bob", "carol"][at] ?? ""}`;
        assert.ok(outcome.value.kind === "miss" || outcome.value.value === own);
      } else assert.match((outcome.reason as EverfreshError).code, /EF_(PROTOCOL|CONNECTION_LOST|TIMEOUT)/);
    }
    assert.ok(settled.some((outcome) => outcome.status === "rejected"));
    await until(works(client));
  });
}

const alice = "VALUE alice 16 14\r\nvalue of alice\r\n";

/** What a liar says once to `get alice bob carol`. */
const liesAboutMany: readonly (readonly [string, string])[] = [
  ["a key that nobody asked for", `${alice}VALUE dave 16 13\r\nvalue of dave\r\nEND\r\n`],
  ["a key that only begins alike", "VALUE alicex 16 14\r\nvalue of alice\r\nEND\r\n"],
  ["flags that are no number", "VALUE alice x 14\r\nvalue of alice\r\nEND\r\n"],
  ["no flags", "VALUE alice 14\r\nvalue of alice\r\nEND\r\n"],
  ["a size that is too small", "VALUE alice 16 3\r\nvalue of alice\r\nEND\r\n"],
  ["a value in meta's words", "VA 14 kalice f16\r\nvalue of alice\r\n"],
  ["a miss in meta's words", "EN\r\n"],
  ["an end in the middle, and more", `${alice}END\r\nVALUE bob 16 12\r\nvalue of bob\r\nEND\r\n`],
  ["no end", alice],
  ["an error in the middle", `${alice}SERVER_ERROR out of memory\r\n`],
];

for (const [name, lie] of liesAboutMany) {
  test(`many keys at once, and ${name}: each key has its own value, none or an error`, async (t) => {
    const said: string[] = [];
    const peer = await startSpeaker((line) => {
      said.push(line);
      return said.length === 1 ? lie : politely(line);
    });
    t.after(() => peer.stop());
    const client = clientOf(peer.address);
    t.after(() => client.close());
    const [many, behind] = await Promise.all([
      client.getMany(["alice", "bob", "carol"]),
      client.getMany(["erin"]).then((read) => read.errors.get("erin")?.code ?? read.values.get("erin")),
    ]);
    for (const [key, value] of many.values) assert.equal(value, `value of ${key}`);
    const codes = [...many.errors.values()].map(({ code }) => code);
    for (const code of codes) assert.match(code, /^EF_(?:PROTOCOL|CONNECTION_LOST|TIMEOUT|SERVER_ERROR)$/);
    assert.match(String(behind), /^(?:value of erin|EF_(?:PROTOCOL|CONNECTION_LOST|TIMEOUT))$/);
    // An end too early cannot be told from keys that are not there, but what comes after it is heard.
    assert.ok(codes.length > 0 || behind !== "value of erin");
    await until(works(client));
    assert.equal((await client.getMany(["alice", "bob", "carol"])).values.size, 3);
  });
}

test("many keys are found in whatever order a proxy has put their answers together", async (t) => {
  const peer = await startSpeaker((line) => politely(line.replace("get a b c", "get c a")));
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  const { values, errors } = await client.getMany(["a", "b", "c"]);
  assert.deepEqual([...values.keys()].toSorted(), ["a", "c"]);
  assert.equal(errors.size, 0);
});

test("answers out of turn reach nobody", async (t) => {
  const held: string[] = [];
  const peer = await startSpeaker((line, _socket, connection) => {
    if (connection > 0) return politely(line);
    held.push(politely(line));
    return held.length === 3 ? held.toReversed().join("") : undefined;
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  const codes = await Promise.all(["a", "b", "c"].map((key) => codeOf(client.get(key))));
  assert.deepEqual(codes, ["EF_PROTOCOL", "EF_CONNECTION_LOST", "EF_CONNECTION_LOST"]);
  await until(works(client));
});

test("answers out of turn reach nobody, of keys that cannot be said as they are neither", async (t) => {
  const held: string[] = [];
  const peer = await startSpeaker((line, _socket, connection) => {
    const mark = / O\S+/.exec(line)?.[0];
    if (connection > 0 || mark === undefined) return politely(line);
    held.push(`VA 1 f16${mark}\r\n${held.length}\r\n`);
    return held.length === 3 ? held.toReversed().join("") : undefined;
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  const codes = await Promise.all(["a b", "c d", "e f"].map((key) => codeOf(client.get(key))));
  assert.deepEqual(codes, ["EF_PROTOCOL", "EF_CONNECTION_LOST", "EF_CONNECTION_LOST"]);
  await until(works(client));
});

test("an answer that comes after its deadline is not given to the next caller", async (t) => {
  const peer = await startSpeaker((line, socket) => {
    if (!line.startsWith("mg late")) return politely(line);
    setTimeout(() => socket.write(politely(line)), 80);
    return undefined;
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  const late = codeOf(client.get("late", { timeoutMs: 20 }));
  assert.equal(await late, "EF_TIMEOUT");
  // The server speaks out of turn here: "fine" is answered first, so the connection cannot be trusted.
  assert.match(await codeOf(client.get("fine")), /no error|EF_PROTOCOL|EF_CONNECTION_LOST/);
  await until(works(client));
});

test("a value over the limit that never ends costs its own deadline, and the connection in the end", async (t) => {
  const peer = await startSpeaker((line, socket, connection) => {
    if (connection > 0 || !line.startsWith("mg endless")) return politely(line);
    const drip = setInterval(() => socket.write("x"), 1);
    socket.on("close", () => clearInterval(drip));
    return "VA 1000000000 kendless f16\r\n";
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { timeoutMs: 50 });
  t.after(() => client.close());
  const before = client.get("fine");
  const codes = await Promise.all([codeOf(client.get("endless")), codeOf(client.get("fine"))]);
  assert.equal((await before).kind, "hit");
  assert.deepEqual(codes, ["EF_TIMEOUT", "EF_TIMEOUT"]);
  await until(works(client));
  assert.equal(peer.connections(), 2);
});

test("a server that falls silent costs a deadline, then its connection", async (t) => {
  const peer = await startSpeaker((line, _socket, connection) => (connection === 0 ? undefined : politely(line)));
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { timeoutMs: 50 });
  t.after(() => client.close());
  const start = performance.now();
  const codes = await Promise.all([codeOf(client.get("a")), codeOf(client.get("b"))]);
  assert.deepEqual(codes, ["EF_TIMEOUT", "EF_TIMEOUT"]);
  assert.ok(performance.now() - start < 1000);
  await until(works(client));
  assert.equal(peer.connections(), 2);
});

test("a server that answers the greeting and nothing else ends up down", async (t) => {
  const peer = await startSpeaker(() => undefined);
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { timeoutMs: 10, backoff: { firstMs: 60_000, longestMs: 60_000 } });
  t.after(() => client.close());
  await until(async () => (await codeOf(client.get("a"))) === "EF_SERVER_DOWN");
  assert.equal(client.servers()[0]?.state, "down");
  assert.ok(peer.connections() <= 4, `${peer.connections()} connections`);
});

test("a server that accepts and says nothing costs the time to connect, then calls fail at once", async (t) => {
  const peer = await startPeer(() => undefined);
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { connectTimeoutMs: 40, backoff: { firstMs: 60_000, longestMs: 60_000 } });
  t.after(() => client.close());
  assert.equal(await codeOf(client.get("a")), "EF_SERVER_DOWN");
  const start = performance.now();
  assert.equal(await codeOf(client.get("a")), "EF_SERVER_DOWN");
  assert.ok(performance.now() - start < 20);
});

test("a server that hangs up at once is down and not asked in a loop", async (t) => {
  const peer = await startPeer((socket) => socket.destroy());
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { backoff: { firstMs: 60_000, longestMs: 60_000 } });
  t.after(() => client.close());
  assert.equal(await codeOf(client.get("a")), "EF_SERVER_DOWN");
  assert.equal(await codeOf(client.get("a")), "EF_SERVER_DOWN");
  assert.equal(peer.connections(), 1);
});

test("a port where nobody listens is EF_SERVER_DOWN at once, and is found when somebody does", async (t) => {
  const port = await freePort();
  const client = clientOf(`127.0.0.1:${port}`);
  t.after(() => client.close());
  assert.equal(await codeOf(client.get("a")), "EF_SERVER_DOWN");
});

test("a call whose deadline passes before it could be sent is never sent", async (t) => {
  const lines: string[] = [];
  const peer = await startPeer((socket) => {
    // The greeting is answered late, after the first call has given up.
    setTimeout(() => {
      socket.on("data", (chunk) => {
        for (const line of chunk.toString("latin1").split("\r\n").slice(0, -1)) {
          lines.push(line);
          socket.write(politely(line));
        }
      });
    }, 60);
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  const set = codeOf(client.meta.set("late", "1", {}, { timeoutMs: 20 }));
  const get = client.get("fine");
  assert.equal(await set, "EF_TIMEOUT");
  assert.equal((await get).kind, "hit");
  assert.ok(lines.some((line) => line.startsWith("mg fine")));
  assert.ok(!lines.some((line) => line.startsWith("ms late")));
});

test("more calls than maxPending are refused, and memory stays bounded while a server is silent", async (t) => {
  const peer = await startSpeaker(() => undefined);
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { maxPending: 10, timeoutMs: 50 });
  t.after(() => client.close());
  const codes = await Promise.all(Array.from({ length: 30 }, () => codeOf(client.get("a"))));
  assert.equal(codes.filter((code) => code === "EF_OVERLOADED").length, 20);
  assert.equal(codes.filter((code) => code === "EF_TIMEOUT").length, 10);
});

test("an aborted call ends at once, before and after it is sent", async (t) => {
  const peer = await startSpeaker((line) => (line.startsWith("mg slow") ? undefined : politely(line)));
  t.after(() => peer.stop());
  const client = clientOf(peer.address);
  t.after(() => client.close());
  assert.equal(await codeOf(client.get("a", { signal: AbortSignal.abort() })), "EF_ABORTED");
  assert.equal((await client.get("fine")).kind, "hit");
  const controller = new AbortController();
  const slow = codeOf(client.get("slow", { signal: controller.signal, timeoutMs: 5000 }));
  setTimeout(() => controller.abort(), 5);
  assert.equal(await slow, "EF_ABORTED");
});

test("a value whose parts do not come ends by its own deadline, or when its caller gives up", async (t) => {
  const manifest = JSON.stringify({ id: "a".repeat(20), size: 1_500_000, parts: 2 });
  const asked: (() => void)[] = [];
  const peer = await startSpeaker((line) => {
    if (line.startsWith("mg parted")) return `VA ${manifest.length} kparted f528\r\n${manifest}\r\n`;
    if (!line.startsWith("mg ef:part:")) return politely(line);
    asked.shift()?.();
    return undefined;
  });
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { timeoutMs: 60 });
  const patient = clientOf(peer.address, { timeoutMs: 60_000 });
  t.after(() => Promise.all([client.close(), patient.close()]));
  assert.equal(await codeOf(client.get("parted")), "EF_TIMEOUT");
  const controller = new AbortController();
  const slow = codeOf(patient.get("parted", { signal: controller.signal }));
  await new Promise<void>((resolve) => void asked.push(resolve));
  controller.abort();
  assert.equal(await slow, "EF_ABORTED");
});

test("close waits for what was asked, refuses what is asked later, and ends in time on a silent server", async (t) => {
  const peer = await startSpeaker((line) => (line.startsWith("mg slow") ? undefined : politely(line)));
  t.after(() => peer.stop());
  const client = clientOf(peer.address, { timeoutMs: 40 });
  const asked = client.get("fine");
  const slow = codeOf(client.get("slow"));
  const closed = client.close();
  assert.equal(await codeOf(client.get("later")), "EF_CLOSED");
  assert.equal((await asked).kind, "hit");
  assert.equal(await slow, "EF_TIMEOUT");
  await closed;
  assert.equal(client.servers()[0]?.state, "closed");
});

test(
  "close waits for operations of several calls, too, and lets them make the calls that are left",
  needs("memcached"),
  async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const options = { servers: server.address, splitLargeValues: true, compression: true, timeoutMs: 20_000 };
    const large = randomBytes(2_500_000);
    const client = createClient(options);
    await client.set("k", large);
    const text = createClient({ ...options, protocol: "text" });
    await text.get("k2");
    const asked = [
      client.get("k"),
      client.set("k2", large),
      client.set("packed", "z".repeat(50_000)),
      client.touch("k", "1h"),
      text.incr("count", { initial: 7 }),
    ];
    const many = client.getMany(["k"]);
    const closed = Promise.all([client.close(), text.close()]);
    assert.equal(await codeOf(client.set("later", large)), "EF_CLOSED");
    const kinds = (await Promise.all(asked)).map(({ kind }) => kind);
    assert.deepEqual(kinds, ["hit", "stored", "stored", "touched", "number"]);
    assert.deepEqual((await many).values.get("k"), large);
    await closed;
    assert.deepEqual([client.servers()[0]?.state, text.servers()[0]?.state], ["closed", "closed"]);
  },
);

test("an operation of several calls has one deadline, not one for each call", async (t) => {
  const peer = await startPeer((socket) =>
    onLines(socket, (line) => {
      const answer = line.startsWith("incr")
        ? "NOT_FOUND\r\n"
        : line.startsWith("add")
          ? "NOT_STORED\r\n"
          : politely(line);
      if (line === "version" || line === "mn") socket.write(answer);
      else setTimeout(() => socket.destroyed || socket.write(answer), 160);
    }),
  );
  t.after(() => peer.stop());
  const options = { timeoutMs: 200, splitLargeValues: true };
  const client = clientOf(peer.address, options);
  const text = clientOf(peer.address, { ...options, protocol: "text" });
  t.after(() => Promise.all([client.close(), text.close()]));
  assert.equal(await codeOf(client.set("k", Buffer.alloc(1_500_000))), "EF_TIMEOUT");
  assert.equal(await codeOf(text.incr("k", { initial: 1 })), "EF_TIMEOUT");
});

test(
  "with three servers one is killed: its keys fail fast, the others work, and it comes back",
  needs("memcached"),
  async (t) => {
    const servers = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
    t.after(() => Promise.all(servers.map((server) => server.stop())));
    const client = createClient({ servers: servers.map((server) => server.address), ...quick, timeoutMs: 1000 });
    t.after(() => client.close());
    const keys = Array.from({ length: 60 }, (_, at) => `key-${at}`);
    await client.setMany(keys.map((key) => [key, key]));
    const [victim] = servers;
    assert.ok(victim);
    const lost = keys.filter((key) => client.serverOf(key) === victim.address);
    assert.ok(lost.length > 5 && lost.length < 55);
    await victim.kill();
    const read = await client.getMany(keys);
    assert.deepEqual([...read.errors.keys()].toSorted(), lost.toSorted());
    assert.equal(read.values.size, keys.length - lost.length);
    assert.ok([...read.values].every(([key, value]) => key === value));
    for (const key of lost) assert.equal(client.serverOf(key), victim.address);
    await victim.restart();
    await until(async () => (await client.getMany(keys)).errors.size === 0);
    // It came back empty: nothing of before may be in it, and nothing was moved to another server.
    assert.equal((await client.getMany(lost)).values.size, 0);
  },
);

test(
  "a server that is stopped for a while costs deadlines, not the process, and comes back",
  needs("memcached"),
  async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const client = createClient({ servers: server.address, ...quick, timeoutMs: 100, connectTimeoutMs: 200 });
    t.after(() => client.close());
    await client.set("k", "v", { timeoutMs: 5000 });
    server.signal("SIGSTOP");
    const codes = new Set<string>();
    await until(async () => {
      codes.add(await codeOf(client.get("k")));
      return codes.has("EF_SERVER_DOWN");
    });
    assert.ok(codes.has("EF_TIMEOUT"));
    server.signal("SIGCONT");
    await until(async () => (await codeOf(client.get("k"))) === "no error");
  },
);

test(
  "a process that was busy beyond the deadline reads what has arrived before it gives anybody up",
  needs("memcached"),
  async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const client = createClient({ servers: server.address, timeoutMs: 100 });
    t.after(() => client.close());
    await client.set("k", "v", { timeoutMs: 5000 });
    const read = client.get("k");
    // Until it is sent; then this process does nothing else for four deadlines.
    await new Promise((resolve) => setImmediate(resolve));
    const end = performance.now() + 400;
    while (performance.now() < end);
    assert.equal((await read).kind, "hit");
    assert.equal(client.numbers().connects, 1);
  },
);
