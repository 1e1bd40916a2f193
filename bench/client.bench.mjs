/**
 * How fast is the client, beside the other JavaScript clients for memcached, beside ioredis on Redis, and beside a
 * hand-written loop over a raw socket that does nothing but what it must?
 *
 * One process for each client and workload, interleaved; every value that is read is checked. memcached (and Redis) run on
 * core 0, the clients on core 1 where `taskset` is there. Rates move with the machine: what counts is the ratio inside one
 * run, and the CPU time per operation. The raw loop has no validation, no deadlines, no reconnecting and no check of the
 * answer against the question; Everfresh has all of them switched on.
 *
 * It does not show: networks slower than the loopback, several processes on one server, latencies under little load.
 *
 * `npm run bench:client`                every workload, every client
 * `npm run bench:client -- 64 KB`       workloads whose name contains the words
 * ROUNDS=3 MILLISECONDS=500 CLIENTS=everfresh,raw npm run bench:client
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { cpus } from "node:os";
import { contenders } from "./client/contenders.mjs";
import { workloads } from "./client/workloads.mjs";

const rounds = Number(process.env.ROUNDS ?? 5);
const milliseconds = Number(process.env.MILLISECONDS ?? 1000);
const words = process.argv.slice(2).join(" ");
const chosen = process.env.CLIENTS?.split(",") ?? Object.keys(contenders);
const pinned = cpus().length > 1 && spawnSync("taskset", ["--version"]).status === 0;
const running = [];

/** Per workload: at least so many times the best other memcached client, and this share of the raw loop. */
const bars = {
  "get 100 B, 64 concurrent": { peer: 5, raw: 0.6, cpuUs: 2.2 },
  "get 100 B, 1,024 concurrent": { peer: 8, raw: 0.6 },
  "set 1 KB, 64 concurrent": { peer: 4, raw: 0.6 },
  "get 64 KB as text, 16 concurrent": { peer: 1.5, raw: 0.8 },
  "get 64 KB as bytes, 16 concurrent": { peer: 1.2, raw: 0.8 },
  "get 64 KB as bytes, 16 concurrent, 100,000 live objects": { peer: 1.2, raw: 0.8 },
  "getMany of 100 keys, 8 concurrent (keys/s)": { peer: 3, raw: 0.6, redis: 1 },
  "90/10 get/set, zipf over 100 k keys, 500 B JSON, 64 concurrent": { peer: 2, raw: 0.7 },
  "get 100 B, 64 concurrent, ketama over 3 servers": { peer: 2.5, raw: 0.6 },
  "get 100 B, one at a time": { raw: 0.95 },
  "bytes allocated per get (100 B, 64 concurrent)": { bytes: 1536 },
};

/** What a client cannot do is not asked of it. */
function takesPart(name, workload) {
  const redis = name.startsWith("ioredis");
  if (workload.servers > 1) return !redis && name !== "memcache-client";
  if (workloads[workload.name].bytes) return ["everfresh", "raw", "memjs", "ioredis", "ioredis-auto"].includes(name);
  return true;
}

try {
  const ports = [await startMemcached(), await startMemcached(), await startMemcached()];
  const redisPort = chosen.some((name) => name.startsWith("ioredis")) ? await startRedis() : undefined;
  for (const [name, workload] of Object.entries(workloads)) {
    if (!name.includes(words)) continue;
    const results = new Map();
    for (let round = 0; round < rounds; round++) {
      for (const client of chosen) {
        if (!takesPart(client, { ...workload, name })) continue;
        if (client.startsWith("ioredis") && redisPort === undefined) continue;
        const target = client.startsWith("ioredis") ? [redisPort] : ports.slice(0, workload.servers);
        const result = measure(client, name, target);
        if (result === undefined) continue;
        const all = results.get(client) ?? [];
        all.push(result);
        results.set(client, all);
      }
    }
    report(name, results);
  }
} finally {
  for (const child of running) child.kill("SIGKILL");
}

function measure(client, workload, ports) {
  // Where allocations are counted no collection may run in between, so young space is made large.
  const heap = workloads[workload].allocates ? ["--min-semi-space-size=128", "--max-semi-space-size=128"] : [];
  const node = [process.execPath, "--expose-gc", ...heap];
  const args = ["bench/client/run.mjs", client, workload, String(milliseconds), ...ports.map(String)];
  const [program, ...rest] = [...(pinned ? ["taskset", "-c", "1"] : []), ...node, ...args];
  const run = spawnSync(program, rest, { encoding: "utf8", timeout: 60_000 });
  const line = run.stdout.trim().split("\n").at(-1) ?? "";
  if (run.status === 0 && line.startsWith("{")) return JSON.parse(line);
  process.stdout.write(`  ${client} failed: ${(run.stderr || line).trim().split("\n").slice(0, 3).join(" | ")}\n`);
  return undefined;
}

function report(name, results) {
  const rows = [...results].map(([client, all]) => ({
    client,
    perSecond: median(all.map((one) => one.perSecond)),
    cpuUs: median(all.map((one) => one.cpuUs)),
    bytes: median(all.map((one) => one.bytes ?? 0)),
  }));
  process.stdout.write(`\n${name}\n`);
  for (const { client, perSecond, cpuUs, bytes } of rows.toSorted((a, b) => b.perSecond - a.perSecond)) {
    const allocated = bytes > 0 ? `${Math.round(bytes).toString().padStart(8)} B/op` : "";
    const rate = Math.round(perSecond).toLocaleString("en").padStart(11);
    process.stdout.write(`  ${client.padEnd(16)}${rate} /s${cpuUs.toFixed(2).padStart(9)} us CPU/op${allocated}\n`);
  }
  const of = (client) => rows.find((row) => row.client === client);
  const ours = of("everfresh");
  if (ours === undefined) return;
  const others = rows.filter(({ client }) => !["everfresh", "raw"].includes(client) && !client.startsWith("ioredis"));
  const best = Math.max(0, ...others.map((row) => row.perSecond));
  const bar = bars[name];
  const checks = [];
  if (bar.peer && best > 0) checks.push([ours.perSecond / best, bar.peer, "x the best other client"]);
  if (bar.raw && of("raw")) checks.push([ours.perSecond / of("raw").perSecond, bar.raw, "of the raw loop"]);
  if (bar.redis && of("ioredis")) checks.push([ours.perSecond / of("ioredis").perSecond, bar.redis, "x ioredis"]);
  // What a busy machine disturbs least: what the clock would say if nothing else ran.
  const leastCpu = Math.min(...others.map((row) => row.cpuUs));
  const beside = [
    [leastCpu, "the best other client"],
    [of("raw")?.cpuUs, "the raw loop"],
  ]
    .filter(([cpuUs]) => Number.isFinite(cpuUs))
    .map(([cpuUs, what]) => `${(cpuUs / ours.cpuUs).toFixed(2)} of ${what}`);
  if (beside.length > 0) process.stdout.write(`  by CPU time: ${beside.join(", ")}\n`);
  if (bar.cpuUs) checks.push([bar.cpuUs / ours.cpuUs, 1, `= ${bar.cpuUs} us / ${ours.cpuUs.toFixed(2)} us CPU`]);
  if (bar.bytes) checks.push([bar.bytes / ours.bytes, 1, `= ${bar.bytes} B / ${Math.round(ours.bytes)} B`]);
  for (const [value, least, what] of checks)
    process.stdout.write(`  ${value >= least ? "met   " : "MISSED"} ${value.toFixed(2)} ${what} (bar ${least})\n`);
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

async function startMemcached() {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  await start("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", "-t", "1", "-m", "256", ...user], port);
  return port;
}

/** Redis is the reference of another ecosystem; where it is not installed its rows are left out. */
async function startRedis() {
  if (spawnSync("redis-server", ["--version"]).status !== 0) {
    process.stdout.write("redis-server is not installed: no rows for ioredis.\n");
    return undefined;
  }
  const port = await freePort();
  await start(
    "redis-server",
    ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    port,
  );
  return port;
}

async function start(program, args, port) {
  const [file, ...rest] = pinned ? ["taskset", "-c", "0", program, ...args] : [program, ...args];
  running.push(spawn(file, rest, { stdio: "ignore" }));
  for (let attempt = 0; attempt < 500; attempt++) {
    const socket = connect(port, "127.0.0.1");
    const there = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (there) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
  throw new Error(`${program} did not start`);
}

async function freePort() {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  return port;
}
