// The two servers that are compared, each a process of its own on core 0, and the load on core 1.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";

const pin = spawnSync("taskset", ["-V"]).status === 0;
const pinned = (core, program, args) => (pin ? ["taskset", ["-c", String(core), program, ...args]] : [program, args]);

export async function startMemcached(flags = []) {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  return start("memcached", port, ["-t", "1", "-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user, ...flags]);
}

export async function startOurs(flags = []) {
  const port = await freePort();
  return start(process.execPath, port, ["dist/cli/main.js", "serve", "-p", String(port), ...flags]);
}

async function start(program, port, args) {
  const begun = performance.now();
  const child = spawn(...pinned(0, program, args), { stdio: "ignore" });
  await answers(port);
  return {
    port,
    pid: child.pid,
    startMs: performance.now() - begun,
    stop: () => child.kill("SIGKILL"),
    rssBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) * 1024,
  };
}

/** One load against one server; see load.mjs. */
export function load(server, workload, seconds, connections = 50) {
  const args = ["bench/server/load.mjs", server.port, server.pid, workload, seconds, connections].map(String);
  const { stdout, stderr, status } = spawnSync(...pinned(1, process.execPath, args), { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function answers(port) {
  for (;;) {
    const heard = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("mn\r\n"));
      socket.once("data", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (heard) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
