/** A real memcached of the test's own: on a free port of the loopback, gone with `stop()`. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { programFile } from "./programs.ts";

export interface RealMemcached {
  /** `127.0.0.1:<port>` */
  readonly address: string;
  readonly port: number;
  /** Ends it with SIGKILL, as a crash would, and waits until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port, empty, after `kill()`. */
  restart(): Promise<void>;
  /** Sends a signal: SIGSTOP and SIGCONT make it hang and go on. */
  signal(name: NodeJS.Signals): void;
  stop(): Promise<void>;
}

/**
 * Starts memcached and waits until it answers.
 *
 * @param flags further flags, such as `["-m", "1"]`; `-l`, `-p`, `-U` and `-u` are set already
 */
export async function startMemcached(
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<RealMemcached> {
  const file = programFile("memcached");
  const port = await freePort();
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
    const started = spawn(file, ["-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user, ...flags], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, ...env },
    });
    child = started;
    const failed = once(started, "exit").then(([code]) => {
      throw new Error(`memcached left with ${String(code)} before it answered`);
    });
    failed.catch(() => undefined);
    await Promise.race([answering(port), failed]);
  }

  async function kill(): Promise<void> {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = once(running, "exit");
    running.kill("SIGKILL");
    await gone;
  }

  await start();
  return {
    address: `127.0.0.1:${port}`,
    port,
    kill,
    restart: start,
    signal: (name) => void child?.kill(name),
    stop: kill,
  };
}

/** A TCP port of the loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** Waits until something accepts connections on a port of `host` or a unix socket; it tries again as soon as it is refused. */
export async function answering(place: number | string, deadlineMs = 10_000, host = "127.0.0.1"): Promise<void> {
  const until = performance.now() + deadlineMs;
  for (;;) {
    if (await accepts(place, host)) return;
    if (performance.now() > until) throw new Error(`nothing answers on ${place} after ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function accepts(place: number | string, host: string): Promise<boolean> {
  const socket = typeof place === "number" ? connect(place, host) : connect(place);
  return await new Promise((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
