/** The queue app as a process: how it starts, what it says, how it ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { queueMain, runToEnd, startQueue } from "../../support/queue-process.ts";

const memory = { DATABASE_URL: "sqlite::memory:", EVERFRESH_BACKEND: "memory" };

for (const signal of ["SIGTERM", "SIGINT"] as const)
  test(`${signal} finishes the running requests, takes no more, and leaves with 0`, async () => {
    const queue = await startQueue({ ...memory, SLOW_QUERY_MS: "600" });
    const slow = fetch(queue.url);
    // An answer to a later request says that the earlier one has arrived.
    await (await fetch(`${queue.url}/healthz`)).text();
    const ending = queue.stop(signal);
    if (signal === "SIGTERM") queue.child.kill("SIGTERM");
    const page = await slow;
    assert.equal(page.status, 200);
    assert.match(await page.text(), /<\/html>/);
    assert.equal((await ending).code, 0);
    await assert.rejects(fetch(queue.url), "nobody listens any more");
  });

test("idle connections of browsers do not hold up the end", async () => {
  const queue = await startQueue(memory);
  await (await fetch(queue.url)).text();
  const started = performance.now();
  assert.equal((await queue.stop()).code, 0);
  assert.ok(performance.now() - started < 3_000);
});

test("neither a connection without a request nor half a request holds up the end for long", async (t) => {
  const queue = await startQueue(memory);
  const port = Number(new URL(queue.url).port);
  const parts = [
    "",
    "GET / HTT",
    "POST /add HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
  ];
  const closed = parts.map(async (part) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    t.after(() => socket.destroy());
    await once(socket, "connect");
    socket.write(part);
    await once(socket.resume(), "close");
  });
  await (await fetch(queue.url)).text();
  const started = performance.now();
  assert.equal((await queue.stop()).code, 0);
  assert.ok(performance.now() - started < 10_000);
  await Promise.all(closed);
});

test("a request whose end was on its way is answered", async (t) => {
  const queue = await startQueue(memory);
  const socket = connect(Number(new URL(queue.url).port), "127.0.0.1");
  t.after(() => socket.destroy());
  await once(socket, "connect");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n");
  await (await fetch(queue.url)).text();
  const ending = queue.stop();
  while (!queue.output().includes("stopping")) await once(queue.child.stdout ?? socket, "data");
  socket.write("\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal((await ending).code, 0);
});

test("log lines are JSON objects, one per line, from the first to the last", async () => {
  const queue = await startQueue(memory);
  await (await fetch(`${queue.url}/?secret=of-the-query`)).text();
  const { output } = await queue.stop();
  const lines = output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { msg: string; path?: string });
  assert.ok(lines.some((line) => line.msg === "started"));
  assert.ok(lines.some((line) => line.msg === "request" && line.path === "/"));
  assert.ok(lines.some((line) => line.msg === "stopping"));
  assert.doesNotMatch(output, /of-the-query/);
});

test("for people it says in a few lines where it is, what it runs on, and what to do next", async () => {
  const queue = await startQueue({ ...memory, LOG_FORMAT: "human", SLOW_QUERY_MS: "1" });
  await (await fetch(queue.url)).text();
  const { output } = await queue.stop();
  assert.match(output, /The queue is on {2}http:\/\/127\.0\.0\.1:\d+/);
  assert.match(output, /Database +SQLite/);
  assert.match(output, /Cache +\S/);
  assert.match(output, /Slow query +1 ms/);
  assert.match(output, /Open it, add an item/);
  assert.ok(output.trim().split("\n").length <= 8, output);
});

for (const [name, env, sentence] of [
  ["a bad port", { ...memory, PORT: "many" }, /^The queue app cannot start\.\nPORT is "many"/],
  [
    "an address that is not this machine's",
    { ...memory, HOST: "192.0.2.1" },
    /HOST and PORT say, 192\.0\.2\.1 and 0: listen EADDRNOTAVAIL/,
  ],
  ["a bad database", { DATABASE_URL: "postgres://localhost" }, /DATABASE_URL names no database/],
  [
    "a folder that is not there",
    { DATABASE_URL: "sqlite:////no/such/folder/queue.db" },
    /The folder \/no\/such\/folder of the SQLite file does not exist/,
  ],
  [
    "production without its variables",
    { NODE_ENV: "production" },
    /DATABASE_URL is missing[^]*SESSION_SECRET is missing/,
  ],
  [
    "half a configuration of the cache",
    { DATABASE_URL: "sqlite::memory:", MEMCACHIER_SERVERS: "127.0.0.1:1", MEMCACHIER_USERNAME: "u" },
    /MEMCACHIER_PASSWORD is not/,
  ],
  [
    "production without a cache",
    { NODE_ENV: "production", DATABASE_URL: "sqlite::memory:", SESSION_SECRET: "x".repeat(32) },
    /no cache is configured: set MEMCACHIER_SERVERS/,
  ],
] as const)
  test(`${name} stops the start with a sentence and no stack`, async () => {
    const end = await runToEnd(queueMain("main"), { PORT: "0", ...env });
    assert.equal(end.code, 1);
    assert.match(end.output, sentence);
    assert.doesNotMatch(end.output, /\bat .*:\d+:\d+/);
  });

test("production runs with what was chosen on purpose, and prints no secret", async () => {
  const SESSION_SECRET = "a-secret-that-must-never-be-printed";
  const queue = await startQueue({ ...memory, NODE_ENV: "production", SESSION_SECRET });
  assert.equal((await fetch(queue.url)).status, 200);
  const { code, output } = await queue.stop();
  assert.equal(code, 0);
  assert.ok(!output.includes(SESSION_SECRET));
});

test("a port that another program uses is named", async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.after(() => other.close());
  const address = other.address();
  assert.ok(typeof address === "object" && address !== null);
  const end = await runToEnd(queueMain("main"), { ...memory, HOST: "127.0.0.1", PORT: String(address.port) });
  assert.equal(end.code, 1);
  assert.match(end.output, new RegExp(`Port ${address.port} is in use`));
});
