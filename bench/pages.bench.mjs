/**
 * What does a cached page of 20 KB cost, beside the same framework's bare handler that has the same bytes ready?
 *
 * Every site is a process of its own; in each round all of them are loaded one after the other, so that other work on the machine
 * meets all alike. `coherent` asks memcached about every request; `local` trusts what memcached said within 250 ms. What counts is
 * the ratio to `bare`, and the CPU time of the server process per request.
 *
 * It does not show: latency under little load, a network (all of it is the loopback), memcached's own time, compression, or what
 * rendering costs, which is what the cache is for.
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { cpus } from "node:os";
import autocannon from "autocannon";

const rounds = Number(process.env.ROUNDS ?? 3);
const seconds = Number(process.env.SECONDS ?? 2);
const chosen = process.argv.slice(2);
const frameworks = chosen.length > 0 ? chosen : ["node", "express", "fastify", "hono"];
const modes = ["bare", "coherent", "local"];
const running = [];

try {
  const memcached = await startMemcached();
  const sites = [];
  for (const framework of frameworks) for (const mode of modes) sites.push(await startSite(framework, mode, memcached));
  for (const site of sites) await load(site, 1);
  for (let round = 0; round < rounds; round++)
    for (const site of sites) {
      const measured = await load(site, seconds);
      site.rates.push(measured.rate);
      site.cpu.push(measured.cpu);
    }
  report(sites);
  if (frameworks.includes("node")) await streaming(sites);
} finally {
  for (const child of running) child.kill("SIGKILL");
}

async function load(site, duration) {
  const before = await cpuOf(site);
  const result = await autocannon({ url: site.url, connections: 32, duration });
  const after = await cpuOf(site);
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${site.framework} ${site.mode}: errors`);
  const used = after.user + after.system - before.user - before.system;
  return { rate: result.requests.average, cpu: used / result.requests.total };
}

/** The first byte of 5 MB that are streamed, and what the server's memory grows by, with a body limit of 1 MiB. */
async function streaming(sites) {
  process.stdout.write("\n| 5 MB streamed | first byte, ms | memory, MB |\n|---|---|---|\n");
  for (const site of sites.filter(({ framework, mode }) => framework === "node" && mode !== "local")) {
    const times = [];
    const before = (await usageOf(site)).rss;
    for (let time = 0; time < 20; time++) {
      const began = performance.now();
      const response = await fetch(`${site.url}stream`);
      const reader = response.body.getReader();
      await reader.read();
      times.push(performance.now() - began);
      while (!(await reader.read()).done);
    }
    const grown = ((await usageOf(site)).rss - before) / 1_048_576;
    process.stdout.write(`| ${site.mode} | ${median(times).toFixed(1)} | ${grown.toFixed(1)} |\n`);
  }
}

function report(sites) {
  process.stdout.write(
    `Node ${process.version}, ${cpus().length} x ${cpus()[0].model}; medians of ${rounds} rounds\n\n`,
  );
  process.stdout.write(
    "| framework | mode | requests/s | of bare | CPU us/request | of bare |\n|---|---|---|---|---|---|\n",
  );
  for (const site of sites) {
    const bare = sites.find(({ framework, mode }) => framework === site.framework && mode === "bare");
    const [rate, cpu] = [median(site.rates), median(site.cpu)];
    const ratio = median(site.rates.map((each, round) => each / bare.rates[round]));
    const cpuRatio = median(site.cpu.map((each, round) => bare.cpu[round] / each));
    process.stdout.write(
      `| ${site.framework} | ${site.mode} | ${rate.toFixed(0)} | ${ratio.toFixed(2)} | ${cpu.toFixed(1)} | ${cpuRatio.toFixed(2)} |\n`,
    );
  }
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

async function startSite(framework, mode, memcached) {
  const child = fork(new URL("pages/site.mjs", import.meta.url), [framework, mode, memcached]);
  running.push(child);
  const [{ port }] = await once(child, "message");
  return { framework, mode, child, url: `http://127.0.0.1:${port}/`, rates: [], cpu: [] };
}

async function cpuOf(site) {
  return (await usageOf(site)).cpu;
}

async function usageOf(site) {
  const answered = once(site.child, "message");
  site.child.send("usage");
  return (await answered)[0];
}

async function startMemcached() {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  const child = spawn("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user], { stdio: "ignore" });
  running.push(child);
  for (let attempt = 0; attempt < 200; attempt++) {
    const socket = connect(port, "127.0.0.1");
    const up = await new Promise((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (up) return `127.0.0.1:${port}`;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("memcached did not start");
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}
