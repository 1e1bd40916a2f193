// What the benchmarks of the app and of the outbox run against: programs of their own, on free ports of the loopback, gone when
// `end` is called.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";

const cleanups = [];

/** A folder for this run. */
export const folder = mkdtempSync(join(tmpdir(), "everfresh-bench-"));
cleanups.push(() => rmSync(folder, { recursive: true, force: true }));

/** Ends everything that was started, the last one first. */
export async function end() {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
}

/** Starts a program and waits until `port` answers; `output()` is what it has written. */
export async function start(program, args, { port, signal = "SIGTERM", ...options }) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"], ...options });
  const gone = once(child, "exit");
  cleanups.push(async () => {
    child.kill(signal);
    await gone;
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  await answering(port);
  return { child, port, output: () => output };
}

/** memcached; answers its address. */
export async function startMemcached() {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  await start("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user], { port });
  return `127.0.0.1:${port}`;
}

/** A new PostgreSQL; answers its port, or undefined where it is not installed. Its user and database are `postgres`. */
export async function startPostgres() {
  const bin = postgresFolder();
  if (bin === undefined) return undefined;
  const data = mkdtempSync(join(tmpdir(), "everfresh-bench-pg-"));
  cleanups.push(() => rmSync(data, { recursive: true, force: true }));
  // PostgreSQL does not run as root.
  const user = process.getuid?.() === 0 ? { uid: idOfPostgres("-u"), gid: idOfPostgres("-g") } : {};
  if (user.uid !== undefined) chownSync(data, user.uid, user.gid);
  const options = { ...user, cwd: data };
  execFileSync(join(bin, "initdb"), ["-D", data, "-U", "postgres", "-A", "trust"], { ...options, stdio: "ignore" });
  const port = await freePort();
  const flags = ["-D", data, "-p", String(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
  await start(join(bin, "postgres"), flags, {
    ...options,
    port,
    signal: "SIGINT",
    stdio: ["ignore", "pipe", "ignore"],
  });
  await ready({ host: "127.0.0.1", port, user: "postgres", database: "postgres" });
  return port;
}

/** A Node program, with what it needs to tell its CPU time. */
export async function startNode(args, env, port) {
  return await start(process.execPath, args, { port, env: { PATH: process.env.PATH, ...env } });
}

/** The queue app as it is built. */
export async function startApp(env) {
  const port = await freePort();
  const server = await startNode(
    ["apps/queue/dist/src/main.js"],
    {
      PORT: String(port),
      HOST: "127.0.0.1",
      DATABASE_URL: `sqlite:///${join(folder, `queue-${port}.sqlite`)}`,
      EVERFRESH_MIGRATE: "1",
      SESSION_SECRET: "only for this benchmark, not a secret",
      WRITES_PER_MINUTE: "0",
      LOG_LEVEL: "warn",
      ...env,
    },
    port,
  );
  return { ...server, url: `http://127.0.0.1:${port}/` };
}

/** Microseconds of CPU that a process and its children have used, by the system's count, which ticks 100 times a second. */
export function cpuUs(pid) {
  let ticks = 0;
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of the program, in brackets, may hold anything.
      const fields = readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1).split(" ");
      if (name === String(pid) || fields[1] === String(pid)) ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended meanwhile.
    }
  }
  return ticks * 10_000;
}

/** Looks at the app for the first time; answers the visitor's cookie and token. */
export async function firstVisit(app) {
  const response = await fetch(app.url, { headers: { accept: "application/json" } });
  const cookie = response.headers
    .getSetCookie()
    .map((each) => each.split(";")[0])
    .join("; ");
  return { cookie, csrf: (await response.json()).csrf };
}

/** Adds an item. */
export async function add(app, visitor, text) {
  await write(app, visitor, "add", { text }, 201);
}

/** Posts to the app and waits for the whole answer. */
export async function write(app, visitor, path, body, expected) {
  const headers = { cookie: visitor.cookie, "x-csrf-token": visitor.csrf, accept: "application/json" };
  const response = await fetch(`${app.url}${path}`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status !== expected) throw new Error(`${path} was answered with ${response.status}`);
  await response.arrayBuffer();
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function answering(port) {
  for (const until = performance.now() + 20_000; performance.now() < until;) {
    const socket = connect(port, "127.0.0.1");
    const open = await new Promise((resolve) =>
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false)),
    );
    socket.destroy();
    if (open) return;
    await pause(10);
  }
  throw new Error(`nothing answers on port ${port}`);
}

/** PostgreSQL answers before it takes queries. */
async function ready(where) {
  for (const until = performance.now() + 20_000; ;) {
    const client = new pg.Client(where);
    try {
      await client.connect();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
    } finally {
      await client.end().catch(() => undefined);
    }
    await pause(20);
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function postgresFolder() {
  const debian = "/usr/lib/postgresql";
  const folders = (process.env.PATH ?? "").split(":");
  try {
    folders.push(...readdirSync(debian).map((version) => join(debian, version, "bin")));
  } catch {
    // Not a Debian.
  }
  return folders.find((path) => {
    try {
      accessSync(join(path, "initdb"));
      return true;
    } catch {
      return false;
    }
  });
}

function idOfPostgres(flag) {
  return Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
}

export function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

export function print(line) {
  process.stdout.write(`${line}\n`);
}
