/** The typed commands behave alike on every protocol, transport and login, against a real memcached. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { getEventListeners } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { deflateSync } from "node:zlib";
import { createClient, type Cas, type ClientOptions, type GetResult, type MemcachedClient } from "everfresh/client";
import { answering, startMemcached, type RealMemcached } from "../support/memcached.ts";
import { onLines, politely, startPeer, startSpeaker } from "../support/peers.ts";
import { needs, programFile } from "../support/programs.ts";
import { needsSasl, startSaslMemcached } from "../support/sasl.ts";

interface Setting {
  readonly name: string;
  /** What the server asks for. */
  readonly login?: "sasl" | "-Y";
  readonly options: Partial<ClientOptions>;
  readonly protocol: "meta" | "text" | "binary";
}

const who = { username: "alice", password: "s3cret:with:colons" };
const settings: readonly Setting[] = [
  { name: "auto, which finds meta", options: {}, protocol: "meta" },
  { name: "meta over four connections", options: { protocol: "meta", connections: 4 }, protocol: "meta" },
  { name: "classic text", options: { protocol: "text" }, protocol: "text" },
  { name: "binary", options: { protocol: "binary" }, protocol: "binary" },
  {
    name: "SASL",
    login: "sasl",
    options: { username: "alice", password: "s3cret" },
    protocol: "binary",
  },
  { name: "the login of -Y", login: "-Y", options: who, protocol: "meta" },
  {
    name: "the login of -Y and classic text",
    login: "-Y",
    options: { ...who, protocol: "text", login: "text" },
    protocol: "text",
  },
  { name: "a password that nobody asks for", options: { ...who, auth: "optional" }, protocol: "binary" },
];

const valueOf = (result: GetResult): unknown => (result.kind === "hit" ? result.value : result.kind);

/** Starts memcached as a setting has it; `folder` is for its files. */
async function startAs(login: string | undefined, folder: string): Promise<RealMemcached> {
  if (login === "sasl") return startSaslMemcached("alice", "s3cret");
  if (login === undefined) return startMemcached();
  const file = join(folder, "passwords");
  await writeFile(file, "alice:s3cret:with:colons\n");
  return startMemcached(["-Y", file]);
}

for (const setting of settings) {
  describe(`typed commands by ${setting.name}`, setting.login === "sasl" ? needsSasl() : needs("memcached"), () => {
    let server: RealMemcached;
    let client: MemcachedClient;
    let folder: string;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "everfresh-"));
      server = await startAs(setting.login, folder);
      client = createClient({ servers: server.address, ...setting.options });
    });
    after(async () => {
      await client.close();
      await server.stop();
      await rm(folder, { recursive: true });
    });

    test("values of every type come back as they were", async () => {
      const values = [
        "",
        "text",
        "é€😀",
        new Uint8Array([0, 13, 10, 255]),
        0,
        -0,
        -7,
        1.5,
        true,
        false,
        null,
        [1, "a"],
        { a: { b: 1 } },
        2n ** 70n,
      ];
      for (const [at, value] of values.entries()) {
        assert.equal((await client.set(`value-${at}`, value)).kind, "stored");
        const read = valueOf(await client.get(`value-${at}`));
        assert.deepEqual(read instanceof Uint8Array ? new Uint8Array(read) : read, value);
      }
      assert.equal(client.servers()[0]?.protocol, setting.protocol);
    });

    test("add, replace, append and prepend depend on what is there", async () => {
      assert.equal((await client.replace("r", "x")).kind, "notStored");
      assert.equal((await client.append("r", "x")).kind, "notStored");
      assert.equal((await client.add("r", "b")).kind, "stored");
      assert.equal((await client.add("r", "x")).kind, "notStored");
      assert.equal((await client.append("r", "c")).kind, "stored");
      assert.equal((await client.prepend("r", "a")).kind, "stored");
      assert.equal(valueOf(await client.get("r")), "abc");
      assert.equal((await client.replace("r", "z")).kind, "stored");
      assert.equal(valueOf(await client.get("r")), "z");
    });

    test("cas stores only what nobody has changed", async () => {
      await client.set("c", "1");
      const hit = await client.get("c", { cas: true });
      assert.ok(hit.kind === "hit" && hit.cas !== undefined);
      assert.equal((await client.cas("c", "2", hit.cas, { on: hit.epoch })).kind, "stored");
      assert.equal((await client.cas("c", "3", hit.cas, { on: hit.epoch })).kind, "exists");
      await assert.rejects(client.cas("c", "4", undefined as never), { code: "EF_OPTION", message: /cas: true/ });
      for (const none of ["18446744073709551616", "99999999999999999999"] as Cas[])
        await assert.rejects(client.cas("c", "4", none), { code: "EF_OPTION", message: /not a token/ });
      assert.equal(valueOf(await client.get("c")), "2");
      await client.delete("c");
      assert.equal((await client.cas("c", "3", hit.cas, { on: hit.epoch })).kind, "notFound");
      assert.equal(valueOf(await client.get("c")), "miss");
    });

    test("delete and touch say whether there was something", async () => {
      await client.set("d", "1", { ttl: "1h" });
      assert.equal((await client.touch("d", "60d")).kind, "touched");
      assert.equal(valueOf(await client.gat("d", "90d")), "1");
      assert.equal((await client.delete("d")).kind, "deleted");
      assert.equal((await client.delete("d")).kind, "notFound");
      assert.equal((await client.touch("d", "1h")).kind, "notFound");
      assert.equal(valueOf(await client.gat("d", "1h")), "miss");
    });

    test("what is to live for longer than memcached can count lives", async () => {
      for (const ttl of ["5000d", "36000d"] as const) {
        assert.equal((await client.set("old", "1", { ttl })).kind, "stored");
        assert.equal((await client.touch("old", ttl)).kind, "touched");
        assert.equal(valueOf(await client.gat("old", ttl)), "1");
        assert.equal(valueOf(await client.get("old")), "1");
        assert.equal((await client.incr(`counted-${ttl}`, { initial: 5, ttl })).kind, "number");
        assert.equal((await client.incr(`counted-${ttl}`)).kind, "number");
      }
    });

    test("counters count in 64 bits, stop at 0 and start where they are told to", async () => {
      assert.equal((await client.incr("n")).kind, "notFound");
      const start = await client.incr("n", { initial: 10, ttl: "1h" });
      const up = await client.incr("n", { delta: 18_446_744_073_709_551_600n });
      const down = await client.decr("n", { delta: 18_446_744_073_709_551_615n });
      const values = [start, up, down].map((count) => (count.kind === "number" ? count.value : count.kind));
      assert.deepEqual(values, [10n, 18_446_744_073_709_551_610n, 0n]);
      await client.set("m", 41);
      await client.incr("m");
      assert.equal(valueOf(await client.get("m")), 42);
      await client.set("w", "word");
      await assert.rejects(client.incr("w"), { code: "EF_CLIENT_ERROR" });
    });

    test("a counter that was started by counting reads as a number, and is started once however many start it", async () => {
      const counts = await Promise.all(Array.from({ length: 20 }, () => client.incr("started", { initial: 7 })));
      const values = counts.map((count) => (count.kind === "number" ? Number(count.value) : count.kind));
      assert.deepEqual(
        values.toSorted((a, b) => Number(a) - Number(b)),
        Array.from({ length: 20 }, (_, at) => 7 + at),
      );
      assert.equal(valueOf(await client.get("started")), 26n);
      const hit = await client.get("started", { as: "text" });
      assert.ok(hit.kind === "hit" && hit.value === "26");
      await assert.rejects(client.incr("started", { initial: -1 }), { code: "EF_OPTION" });
      await assert.rejects(client.incr("started", { initial: 1, ttl: "0s" }), { code: "EF_OPTION" });
    });

    test("many keys are read, stored, touched and deleted at once", async () => {
      // More than fit into one line, so that several questions are on their way at once.
      const keys = Array.from({ length: 300 }, (_, at) => `many-${at}${"x".repeat(at % 200)}`);
      const stored = await client.setMany(keys.filter((_, at) => at % 3 !== 0).map((key) => [key, `value of ${key}`]));
      assert.deepEqual([stored.values.size, stored.errors.size], [200, 0]);
      const read = await client.getMany(keys);
      assert.equal(read.errors.size, 0);
      assert.deepEqual(
        read.values,
        new Map(keys.filter((_, at) => at % 3 !== 0).map((key) => [key, `value of ${key}`])),
      );
      assert.equal((await client.touchMany(keys, "1h")).values.get("many-1x")?.kind, "touched");
      assert.equal((await client.deleteMany(keys)).values.get("many-0")?.kind, "notFound");
      assert.equal((await client.getMany(keys)).values.size, 0);
    });

    test("keys of any length and alphabet work, and stay apart", async () => {
      const keys = [
        "a b",
        "a\r\nflush_all",
        "ключ",
        "x".repeat(250),
        "x".repeat(251),
        " ",
        "\0",
        "y".repeat(5000),
        "é".repeat(120),
        " ".repeat(186),
        " ".repeat(187),
      ];
      for (const [at, key] of keys.entries()) await client.set(key, at);
      for (const [at, key] of keys.entries()) assert.equal(valueOf(await client.get(key)), at);
      assert.deepEqual((await client.getMany(keys)).values, new Map(keys.map((key, at) => [key, at])));
      const bytes = new Uint8Array([1, 2, 255]);
      await client.set(bytes, "bytes");
      assert.equal(valueOf(await client.get(bytes)), "bytes");
      for (const key of keys) assert.equal((await client.delete(key)).kind, "deleted");
      await assert.rejects(client.get(""), { code: "EF_KEY" });
    });

    test("keys of any alphabet are found after what memcached makes another item of", async () => {
      for (const key of ["a b", "a\r\nflush_all", "ключ"]) {
        await client.set(key, "9");
        await client.incr(key);
        await client.append(key, "x");
        await client.prepend(key, "y");
        assert.equal(valueOf(await client.get(key, { as: "text" })), "y10x");
        assert.equal(valueOf(await client.gat(key, "1h", { as: "text" })), "y10x");
        assert.equal((await client.touch(key, "1h")).kind, "touched");
        assert.equal((await client.getMany([key, "plain"], { as: "text" })).values.get(key), "y10x");
      }
    });

    test("what is no key is EF_KEY, and a key that looks like the name of a long one is another", async () => {
      for (const key of ["", "k\ud800", "\udc00\ud800", undefined, null, 123, {}, ["a"], new Uint16Array([0x6161])]) {
        const wrong = key as string;
        await assert.rejects(client.get(wrong), { code: "EF_KEY" });
        await assert.rejects(client.get(wrong, { cas: true }), { code: "EF_KEY" });
        await assert.rejects(client.set(wrong, "1"), { code: "EF_KEY" });
        await assert.rejects(client.delete(wrong), { code: "EF_KEY" });
        await assert.rejects(client.getMany([wrong]), { code: "EF_KEY" });
        await assert.rejects(client.meta.get(wrong), { code: "EF_KEY" });
        assert.throws(() => client.serverOf(wrong), { code: "EF_KEY" });
      }
      await assert.rejects(client.get("k\ud800"), /surrogate/);
      const long = "u".repeat(300);
      const name = `sha256:${createHash("sha256").update(long).digest("base64url")}`;
      await client.set(long, "long");
      await client.set(name, "name");
      assert.deepEqual([valueOf(await client.get(long)), valueOf(await client.get(name))], ["long", "name"]);
      assert.deepEqual((await client.getMany([name, long])).values.get(name), "name");
      // Tools read what is on the wire.
      const stored = await client.meta.get(name);
      assert.equal(stored.kind === "hit" && stored.value?.toString(), "long");
    });

    test("flags of the caller's own go past the profile", async () => {
      await client.set("f", "raw", { clientFlags: 4_000_000_000 });
      const hit = await client.get("f", { as: "text" });
      assert.ok(hit.kind === "hit");
      assert.deepEqual([hit.value, hit.clientFlags], ["raw", 4_000_000_000]);
    });

    test("a value over the item limit is refused and the connection goes on", async () => {
      await assert.rejects(client.set("huge", Buffer.alloc(3_000_000)), { code: "EF_VALUE_TOO_LARGE" });
      await client.set("after", "1");
      assert.equal(valueOf(await client.get("after")), "1");
    });

    test("a large value comes back byte for byte", async () => {
      const value = Buffer.from(Array.from({ length: 1_000_000 }, (_, at) => (at * 7) % 256));
      await client.set("large", value);
      const read = await Promise.all([client.get("large", { as: "bytes" }), client.get("after"), client.get("large")]);
      assert.ok(read[0].kind === "hit" && read[0].value.equals(value));
      assert.ok(read[2].kind === "hit" && Buffer.isBuffer(read[2].value) && read[2].value.equals(value));
    });

    test("a value over the client's own limit fails for its key alone, and everybody else gets the right answer", async () => {
      const limit = 100_000;
      const small = createClient({ servers: server.address, ...setting.options, valueLimitBytes: limit });
      await client.set("over", Buffer.alloc(900_000, "END\r\n"));
      await client.set("at most", Buffer.alloc(limit, "x"));
      await client.set("fine", "1");
      const refusal = { code: "EF_VALUE_TOO_LARGE", key: "over", server: server.address, message: /900000.*100000/ };
      const keys = ["fine", "over", "at most", "nothing"];
      for (let round = 0; round < 2; round++) {
        const first = small.get("fine");
        const alone = assert.rejects(small.get("over"), refusal);
        const between = small.getMany(keys);
        const touched = assert.rejects(small.gat("over", "1h", { as: "bytes" }), refusal);
        const twice = small.getMany(["over", "fine", "over"], { as: "bytes" });
        const last = small.get("fine");
        assert.deepEqual([valueOf(await first), valueOf(await last)], ["1", "1"]);
        await Promise.all([alone, touched]);
        const { values, errors } = await between;
        assert.deepEqual([...values.keys()].toSorted(), ["at most", "fine"]);
        assert.deepEqual([values.get("fine"), (values.get("at most") as Buffer).length], ["1", limit]);
        assert.deepEqual([...errors.keys()], ["over"]);
        assert.throws(() => assert.fail(errors.get("over")), refusal);
        assert.deepEqual([[...(await twice).values.keys()], [...(await twice).errors.keys()]], [["fine"], ["over"]]);
      }
      assert.deepEqual(Object.keys(small.numbers().failures), ["EF_VALUE_TOO_LARGE"]);
      await small.close();
    });

    test("a value that takes a while to unpack or to put together is no miss, whatever reads it", async () => {
      const packing = createClient({
        servers: server.address,
        ...setting.options,
        compression: true,
        splitLargeValues: true,
      });
      const noise = randomBytes(1_200_000);
      const values = new Map([
        ["packed", noise.subarray(0, 60_000).toString("base64")],
        ["parted", noise.toString("latin1")],
      ]);
      for (const [key, value] of values) {
        assert.equal((await packing.set(key, value)).kind, "stored");
        assert.ok(valueOf(await packing.get(key)) === value);
        assert.ok(valueOf(await packing.gat(key, "1h")) === value);
        const hit = await packing.get(key, { cas: true });
        assert.ok(hit.kind === "hit" && hit.value === value && hit.cas !== undefined);
      }
      const many = (await packing.getMany(values.keys())).values;
      for (const [key, value] of values) assert.ok(many.get(key) === value);
      assert.equal(packing.numbers().misses, 0);
      await packing.close();
    });

    test("numbers, version and flush come from every server", async () => {
      const stats = (await client.stats()).values.get(server.address);
      assert.ok(stats !== undefined && Number(stats["curr_items"]) > 0);
      assert.ok(Object.keys((await client.stats("settings")).values.get(server.address) ?? {}).length > 10);
      assert.equal((await client.stats("none")).errors.get(server.address)?.code, "EF_UNSUPPORTED");
      assert.match((await client.version()).values.get(server.address) ?? "", /^\d+\.\d+/);
      assert.equal((await client.flush()).values.get(server.address), true);
    });
  });
}

describe("logins that fail", needsSasl(), () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "everfresh-"));
  });
  after(() => rm(folder, { recursive: true }));

  const cases: readonly { name: string; login?: "sasl" | "-Y"; options: Partial<ClientOptions> }[] = [
    { name: "a wrong SASL password", login: "sasl", options: { username: "alice", password: "wrong" } },
    { name: "no password where SASL asks for one", login: "sasl", options: {} },
    { name: "a wrong -Y password", login: "-Y", options: { username: "alice", password: "wrong" } },
    { name: "no password where -Y asks for one", login: "-Y", options: {} },
    { name: "a password for a server without SASL", options: { username: "alice", password: "right" } },
  ];
  for (const { name, login: asked, options } of cases) {
    test(`${name} is EF_AUTH, tells no secret and stores none`, async (t) => {
      const server = await startAs(asked, folder);
      t.after(() => server.stop());
      const client = createClient({ servers: server.address, ...options });
      t.after(() => client.close());
      const error = await client.get("k").then(
        () => assert.fail("it was let in"),
        (reason: unknown) => reason as Error & { code: string },
      );
      assert.equal(error.code, "EF_AUTH");
      for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
        assert.ok(!JSON.stringify([cause.message, cause, cause.stack]).includes("wrong"), cause.message);
      if (asked === undefined) {
        const plain = createClient({ servers: server.address });
        assert.equal((await plain.stats()).values.get(server.address)?.["curr_items"], "0");
        await plain.close();
      }
    });
  }
});

test("calls that share a signal share one listener, which goes with them", async (t) => {
  const silent = await startPeer((socket) =>
    onLines(socket, (line) => line === "version" && socket.write(politely(line))),
  );
  const polite = await startSpeaker(politely);
  t.after(() => Promise.all([silent.stop(), polite.stop()]));
  for (const [peer, outcome] of [
    [polite, "fulfilled"],
    [silent, "rejected"],
  ] as const) {
    const client = createClient({ servers: peer.address, protocol: "meta" });
    t.after(() => client.close());
    const controller = new AbortController();
    const { signal } = controller;
    const calls = Array.from({ length: 50 }, (_, at) => client.get(`k${at}`, { signal }));
    assert.equal(getEventListeners(signal, "abort").length, 1);
    if (peer === silent) controller.abort();
    const settled = await Promise.allSettled(calls);
    assert.ok(settled.every((call) => call.status === outcome));
    if (peer === silent) await assert.rejects(Promise.all(calls), { code: "EF_ABORTED" });
    assert.equal(getEventListeners(signal, "abort").length, 0);
  }
});

test("a signal ends the waiting for the rest of a value, also that of one of many", async (t) => {
  const manifest = `{"id":"${"A".repeat(20)}","size":1500000,"parts":2}`;
  const controller = new AbortController();
  const peer = await startSpeaker((line) => {
    if (!line.startsWith("mg ")) return `VALUE parted 528 ${manifest.length}\r\n${manifest}\r\nEND\r\n`;
    controller.abort();
    return undefined;
  });
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, protocol: "meta", timeoutMs: 600_000 });
  const { errors } = await client.getMany(["parted"], { signal: controller.signal });
  const error = errors.get("parted");
  assert.deepEqual([error?.code, error?.key, error?.server], ["EF_ABORTED", "parted", peer.address]);
});

test("a key whose value came before the rest of its batch failed is among the values only", async (t) => {
  const value = randomBytes(50_000).toString("base64");
  const packed = deflateSync(value);
  const peer = await startSpeaker((_line, socket) => {
    socket.write(`VALUE a 24 ${packed.length}\r\n`);
    socket.write(packed);
    return "\r\nSERVER_ERROR out of memory\r\n";
  });
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, protocol: "meta" });
  t.after(() => client.close());
  const { values, errors } = await client.getMany(["a", "b"]);
  assert.deepEqual([[...values.keys()], values.get("a") === value, [...errors.keys()]], [["a"], true, ["b"]]);
});

test("a batch does not fail by its own size", needs("memcached"), async (t) => {
  const server = await startMemcached(["-m", "256"]);
  t.after(() => server.stop());
  const client = createClient({ servers: server.address, maxPending: 100 });
  t.after(() => client.close());
  const keys = Array.from({ length: 1000 }, (_, at) => `key-${at}`);
  const outcomes = [
    await client.setMany(keys.map((key) => [key, key])),
    await client.touchMany(keys, "1h"),
    await client.deleteMany(keys),
  ];
  for (const { values, errors } of outcomes) assert.deepEqual([values.size, errors.size], [1000, 0]);
  const roomy = createClient({ servers: server.address, timeoutMs: 20_000 });
  t.after(() => roomy.close());
  for (const large of [Buffer.alloc(1_000_000), { text: "t".repeat(1_000_000) }]) {
    const stored = await roomy.setMany(keys.slice(0, 160).map((key) => [key, large]));
    assert.deepEqual([stored.values.size, stored.errors.size], [160, 0]);
  }
});

test("closing waits for all of a batch that was begun, and none begins after it", needs("memcached"), async (t) => {
  const server = await startMemcached();
  t.after(() => server.stop());
  const client = createClient({ servers: server.address, maxPending: 100 });
  const keys = Array.from({ length: 1000 }, (_, at) => `key-${at}`);
  const begun = client.setMany(keys.map((key) => [key, key]));
  const closed = client.close();
  const late = await client.deleteMany(keys);
  await closed;
  const { values, errors } = await begun;
  assert.deepEqual([values.size, errors.size], [1000, 0]);
  assert.equal(late.errors.size, 1000);
  assert.ok([...late.errors.values()].every((error) => error.code === "EF_CLOSED"));
});

test(
  "keys of any alphabet that were written by the binary protocol are read by meta",
  needs("memcached"),
  async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const [writer, reader] = (["binary", "meta"] as const).map((protocol) =>
      createClient({ servers: server.address, protocol }),
    ) as [MemcachedClient, MemcachedClient];
    t.after(() => Promise.all([writer.close(), reader.close()]));
    const keys = ["a b", "a\r\nflush_all", "ключ"];
    for (const key of keys) await writer.set(key, `value of ${key}`);
    for (const key of keys) assert.equal(valueOf(await reader.get(key)), `value of ${key}`);
    assert.equal((await reader.getMany(keys)).values.size, 3);
  },
);

test("a unix socket does as well", needs("memcached"), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "everfresh-"));
  const path = join(folder, "socket");
  // The harness waits for a port of its own; here it waits for the socket.
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  const child = spawn(programFile("memcached"), ["-s", path, ...user], { stdio: "ignore" });
  t.after(async () => {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true });
  });
  await answering(path);
  const client = createClient({ servers: `unix:${path}` });
  t.after(() => client.close());
  await client.set("k", "v");
  assert.equal(valueOf(await client.get("k")), "v");
  assert.equal(client.serverOf("k"), `unix:${path}`);
});

test("MemCachier's text login is the first thing that is said, on a server that asked for one, and nothing before it", async (t) => {
  const said: string[][] = [];
  const peer = await startPeer((socket) => {
    const heard: string[] = [];
    said.push(heard);
    let loggedIn = false;
    socket.on("data", (chunk) => {
      const lines = chunk.toString().split("\r\n").slice(0, -1);
      heard.push(...lines);
      if (loggedIn) {
        for (const line of lines) socket.write(politely(line));
        return;
      }
      loggedIn = lines[0] === "set alice 0 0 6" && lines[1] === "s3cret";
      if (!loggedIn && hangsUp) socket.destroy();
      else socket.write(loggedIn ? "STORED\r\n" : "CLIENT_ERROR authentication failure\r\n");
    });
  });
  t.after(() => peer.stop());
  let hangsUp = false;
  const login = { username: "alice", login: "memcachier" } as const;
  const client = createClient({ servers: peer.address, ...login, password: "s3cret" });
  t.after(() => client.close());
  assert.equal(valueOf(await client.get("k")), "value of k");
  assert.deepEqual(said[0], ["get login"]);
  assert.deepEqual(said[1]?.slice(0, 2), ["set alice 0 0 6", "s3cret"]);
  const wrong = createClient({ servers: peer.address, ...login, password: "guess" });
  t.after(() => wrong.close());
  await assert.rejects(wrong.get("k"), { code: "EF_AUTH" });
  hangsUp = true;
  const again = createClient({ servers: peer.address, ...login, password: "s3cret" });
  t.after(() => again.close());
  assert.equal(valueOf(await again.get("k")), "value of k");
});

test(
  "MemCachier's login is not shown to a server that asks for none: it would store the password",
  needs("memcached"),
  async (t) => {
    const server = await startMemcached();
    t.after(() => server.stop());
    const login = { servers: server.address, username: "alice", password: "s3cret", login: "memcachier" } as const;
    const required = createClient(login);
    const optional = createClient({ ...login, auth: "optional" });
    t.after(() => Promise.all([required.close(), optional.close()]));
    await assert.rejects(required.get("k"), { code: "EF_AUTH" });
    await optional.set("k", "v");
    assert.equal(valueOf(await optional.get("k")), "v");
    assert.equal((await optional.get("alice")).kind, "miss");
  },
);
