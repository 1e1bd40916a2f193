/**
 * What does a cached page of the queue app cost, beside a bare Fastify handler that sends the same bytes?
 * And how often does a cold fleet run its slow query?
 *
 * The app asks memcached about every page (nothing is taken from its own memory unasked), checks and signs the CSRF cookie,
 * renders the page around the cached list and sets all security headers. The bare handler does none of this.
 *
 * Both run as processes of their own, one after the other in every round, under the same load; what counts is the ratio, and the
 * CPU time that the server process used per request, which other work on the machine disturbs least.
 *
 * It does not show: latency under little load, a database (cached pages ask none), a network (all of it is the loopback), or what
 * a visitor without a cookie costs (one more signature).
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import autocannon from "autocannon";

const rounds = Number(process.env.ROUNDS ?? 7);
const seconds = Number(process.env.SECONDS ?? 2);
const connections = 64;
const folder = mkdtempSync(join(tmpdir(), "everfresh-bench-"));
const running = [];

try {
  await cachedPage();
  await coldFleet();
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

async function cachedPage() {
  const memcached = await startMemcached();
  const app = await startApp({ MEMCACHE_SERVERS: memcached });
  const visitor = await firstVisit(app);
  for (let item = 1; item <= 100; item += 1) await add(app, visitor, `item ${item} of a hundred, as people write them`);
  const page = await (await fetch(app.url, { headers: { cookie: visitor.cookie } })).text();
  const file = join(folder, "page.html");
  writeFileSync(file, page);
  const bare = await startNode(["bench/app/bare.mjs", String(await freePort()), file], {}, 2);

  const results = { app: [], bare: [] };
  for (let round = 0; round <= rounds; round += 1)
    for (const name of ["app", "bare"]) {
      const server = name === "app" ? app : bare;
      const before = await cpu(server);
      const result = await autocannon({
        url: server.url,
        connections,
        duration: seconds,
        headers: { cookie: visitor.cookie, accept: "text/html" },
      });
      if (result.non2xx > 0 || result.errors > 0)
        throw new Error(`${name}: ${result.non2xx} bad answers, ${result.errors} errors`);
      const used = (await cpu(server)) - before;
      // The first round warms up.
      if (round > 0)
        results[name].push({ perSecond: result.requests.total / result.duration, cpuUs: used / result.requests.total });
    }
  const look = await (await fetch(app.url, { headers: { accept: "application/json", cookie: visitor.cookie } })).json();
  if (look.panel.source !== "cache") throw new Error("the page did not come from the cache");

  const of = (name, field) => median(results[name].map((result) => result[field]));
  const ratios = results.app.map((result, round) => result.perSecond / results.bare[round].perSecond);
  print(
    `A cached page with 100 items (${page.length} bytes), ${connections} connections, median of ${rounds} rounds of ${seconds} s`,
  );
  print(`  ${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`);
  print(
    `  queue app      ${format(of("app", "perSecond"))} requests/s   ${of("app", "cpuUs").toFixed(1)} us CPU per request`,
  );
  print(
    `  bare Fastify   ${format(of("bare", "perSecond"))} requests/s   ${of("bare", "cpuUs").toFixed(1)} us CPU per request`,
  );
  print(
    `  ratio          ${median(ratios).toFixed(2)} of its requests/s (bar: 0.50), rounds ${ratios.map((ratio) => ratio.toFixed(2)).join(" ")}`,
  );
  app.child.kill();
  bare.child.kill();
}

async function coldFleet() {
  const memcached = await startMemcached();
  const env = { MEMCACHE_SERVERS: memcached, SLOW_QUERY_MS: "2000", LOG_LEVEL: "info" };
  const apps = [await startApp(env), await startApp(env)];
  const started = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, at) => (await fetch(apps[at % 2].url)).status),
  );
  const took = performance.now() - started;
  const queries = apps.map((app) => app.output().split("the database was asked for the queue").length - 1);
  print("");
  print("200 visitors at once, two fresh processes, a query of 2,000 ms");
  print(`  all answered after ${took.toFixed(0)} ms, ${answers.filter((status) => status === 200).length} with a page`);
  print(`  the query ran ${queries[0] + queries[1]} time(s) (bar: 1), ${queries.join(" and ")} per process`);
}

async function startApp(env) {
  const port = await freePort();
  return await startNode(["apps/queue/dist/src/main.js"], {
    PORT: String(port),
    HOST: "127.0.0.1",
    DATABASE_URL: `sqlite:///${join(folder, `queue-${running.length}.sqlite`)}`,
    EVERFRESH_MIGRATE: "1",
    SESSION_SECRET: "only for this benchmark, not a secret",
    WRITES_PER_MINUTE: "0",
    LOG_LEVEL: "warn",
    ...env,
  });
}

async function startNode(args, env, portAt) {
  const port = Number(env.PORT ?? args[portAt - 1]);
  const child = spawn(process.execPath, ["--import", new URL("app/cpu.mjs", import.meta.url).href, ...args], {
    env: { PATH: process.env.PATH, NODE_ENV: "development", ...env },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  running.push(child);
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  await answering(port);
  return { child, url: `http://127.0.0.1:${port}/`, output: () => output };
}

async function startMemcached() {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  running.push(spawn("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user], { stdio: "inherit" }));
  await answering(port);
  return `127.0.0.1:${port}`;
}

async function firstVisit(app) {
  const response = await fetch(app.url, { headers: { accept: "application/json" } });
  const cookie = response.headers
    .getSetCookie()
    .map((each) => each.split(";")[0])
    .join("; ");
  return { cookie, csrf: (await response.json()).csrf };
}

async function add(app, visitor, text) {
  const response = await fetch(`${app.url}add`, {
    method: "POST",
    headers: {
      cookie: visitor.cookie,
      "x-csrf-token": visitor.csrf,
      "content-type": "application/json",
      accept: "application/json",
    },
    body: JSON.stringify({ text }),
  });
  if (response.status !== 201) throw new Error(`an add was answered with ${response.status}`);
  await response.arrayBuffer();
}

async function cpu(server) {
  server.child.send("cpu");
  const [message] = await once(server.child, "message");
  return message.cpuUs;
}

async function answering(port) {
  for (const until = performance.now() + 20_000; performance.now() < until;) {
    const socket = connect(port, "127.0.0.1");
    const open = await new Promise((resolve) =>
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false)),
    );
    socket.destroy();
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`nothing answers on port ${port}`);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function format(number) {
  return Math.round(number).toLocaleString("en").padStart(8);
}

function print(line) {
  process.stdout.write(`${line}\n`);
}
