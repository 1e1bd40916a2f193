/**
 * What does a getOrSet cost, beside the other caches of JavaScript, and beside a Map?
 *
 * One process for each contender and round, interleaved; medians. Tags, deadlines, events and checks are switched on in
 * Everfresh; each caller gets a value of its own. Every contender stores the same values and answers with decoded ones, the
 * bare client too. Rates move with the machine: what counts is the ratio inside one run, and the CPU time per call.
 *
 * A cold key is measured in a process that has made one call before: connected, and its code not warm, for everybody.
 *
 * It does not show: networks slower than the loopback, memory, misses other than the cold key, values of other shapes.
 *
 * `npm run bench cache`             every workload
 * `npm run bench cache memory`      one: memory, server, large, cold, fleet, serializers
 * ROUNDS=5 MILLISECONDS=1000 npm run bench cache
 */
import { fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { installIn } from "../scripts/run.mjs";
import { serializers } from "./cache/serializers.mjs";

installIn("bench/cache");
const rounds = Number(process.env.ROUNDS ?? 3);
const milliseconds = Number(process.env.MILLISECONDS ?? 1_000);
const only = process.argv[2];
const worker = new URL("cache/worker.mjs", import.meta.url).pathname;
const running = [];
const ports = {};

const memoryContenders = [
  "everfresh",
  "floor",
  "async-cache-dedupe",
  "cachified",
  "cache-manager",
  "cacheable",
  "bentocache",
];
const redisContenders = ["keyv on Redis", "cache-manager on Redis", "bentocache on Redis"];

try {
  ports.memcached = await start("memcached", (port) => [
    "-l",
    "127.0.0.1",
    "-p",
    String(port),
    "-U",
    "0",
    ...(process.getuid?.() === 0 ? ["-u", "root"] : []),
  ]);
  const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;
  if (hasRedis)
    ports.redis = await start("redis-server", (port) => [
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
    ]);
  else say("redis-server is not installed: its contenders are left out.");

  if (wants("memory")) {
    const table = await rates("memory", memoryContenders);
    show("getOrSet, hit in memory", table);
    const best = bestOf(table, ["everfresh", "floor"]);
    judge("of the best peer", table.get("everfresh").rate / best.rate, 1);
    judge("times bentocache", table.get("everfresh").rate / table.get("bentocache").rate, 8);
  }
  if (wants("server")) {
    const table = await rates("server", [
      "everfresh",
      "everfresh-local",
      "bare client",
      "keyv on memcached",
      ...(hasRedis ? redisContenders : []),
    ]);
    show("getOrSet, hit on the cache server, 1,000 keys, 64 concurrent", table);
    const best = bestOf(table, ["everfresh", "everfresh-local", "bare client"]);
    judge("times the best peer", table.get("everfresh").rate / best.rate, 4);
    for (const own of ["everfresh-local", "bare client"])
      say(`  ${own}: ${(table.get(own).rate / best.rate).toFixed(2)} times the best peer`);
    judge("of our own bare client", table.get("everfresh").rate / table.get("bare client").rate, 0.5);
    judge("of our own bare client, by CPU", table.get("bare client").cpuUs / table.get("everfresh").cpuUs, 0.5);
  }
  if (wants("large")) {
    const table = await rates("large", ["everfresh", "everfresh-local"]);
    show("getOrSet, 20 KB JSON, 64 concurrent, without and with `local: true`", table);
    judge("times without the tier", table.get("everfresh-local").rate / table.get("everfresh").rate, 3);
  }
  if (wants("cold")) {
    say("\n1,000 callers of a cold key, loader 20 ms, one process");
    const contenders = [...memoryContenders.map((name) => ["cold", name]), ["cold-on-server", "everfresh"]];
    for (const [workload, contender] of contenders) {
      const results = [];
      for (let round = 0; round < rounds; round++) results.push(run(workload, contender));
      const ms = median(results.map((result) => result.ms));
      const name = workload === "cold" ? contender : `${contender} on memcached`;
      say(
        `  ${name.padEnd(26)} ${ms.toFixed(1).padStart(7)} ms   loads ${results.map(({ loads }) => loads).join(" ")}`,
      );
      if (contender.startsWith("everfresh")) judge("ms", ms, 25, true);
    }
  }
  if (wants("fleet")) {
    say("\n1,000 callers each in 4 processes, one cold key, loader 20 ms");
    const times = [];
    for (let round = 0; round < rounds; round++) {
      const results = await fleet(round);
      const loads = results.reduce((sum, { loads: count }) => sum + count, 0);
      times.push(Math.max(...results.map(({ ms }) => ms)));
      say(`  slowest process ${times.at(-1).toFixed(1)} ms, loads in all ${loads}`);
    }
    judge("ms", median(times), 60, true);
  }
  if (wants("serializers")) await serializers(say);
} finally {
  for (const child of running) child.kill("SIGKILL");
}

function wants(name) {
  return only === undefined || only === name;
}

async function rates(workload, contenders) {
  const results = new Map(contenders.map((contender) => [contender, []]));
  for (let round = 0; round < rounds; round++)
    for (const contender of contenders) results.get(contender).push(run(workload, contender));
  return new Map(
    [...results].map(([contender, all]) => [
      contender,
      { rate: median(all.map(({ rate }) => rate)), cpuUs: median(all.map(({ cpuUs }) => cpuUs)) },
    ]),
  );
}

function run(workload, contender) {
  const args = [worker, workload, contender, JSON.stringify(ports), String(milliseconds)];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 60_000 });
  if (status !== 0) throw new Error(`${contender}: ${stderr}`);
  return JSON.parse(stdout);
}

async function fleet(round) {
  const args = ["fleet", "everfresh", JSON.stringify({ ...ports, round }), "0"];
  const children = Array.from({ length: 4 }, () => fork(worker, args, { stdio: ["ignore", "pipe", "inherit", "ipc"] }));
  running.push(...children);
  const outputs = children.map(async (child) => {
    let text = "";
    for await (const chunk of child.stdout) text += chunk;
    return JSON.parse(text);
  });
  await Promise.all(children.map((child) => once(child, "message")));
  for (const child of children) child.send("go");
  return await Promise.all(outputs);
}

async function start(program, flags) {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  const child = spawn(program, flags(port), { stdio: "ignore" });
  running.push(child);
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const up = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (up) return port;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function show(title, table) {
  say(`\n${title}`);
  for (const [contender, { rate, cpuUs }] of table)
    say(
      `  ${contender.padEnd(26)} ${Math.round(rate).toLocaleString("en").padStart(11)} /s   ${cpuUs.toFixed(2).padStart(7)} us CPU`,
    );
}

function bestOf(table, without) {
  return [...table]
    .filter(([contender]) => !without.includes(contender))
    .map(([, result]) => result)
    .toSorted((a, b) => b.rate - a.rate)[0];
}

function judge(what, value, bar, atMost = false) {
  const met = atMost ? value <= bar : value >= bar;
  say(
    `  -> ${value.toFixed(2)} ${what}; the bar is ${atMost ? "at most" : "at least"} ${bar}: ${met ? "met" : "NOT met"}`,
  );
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function say(line) {
  process.stdout.write(`${line}\n`);
}
