/** The queue app as its own process, as it is deployed, and a visitor who talks JSON to it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { request, Agent } from "node:http";
import { answering, freePort } from "./memcached.ts";

export interface AppProcess {
  readonly port: number;
  readonly process: ChildProcess;
  /** Everything that it has written so far, for messages of failed tests. */
  output(): string;
  /** SIGTERM, as a platform does it; resolves with the exit code and how long it took. */
  stop(): Promise<{ readonly code: number | null; readonly tookMs: number }>;
}

/** Starts the built app on a free port of the loopback and waits until it answers. */
export async function startApp(env: Readonly<Record<string, string>>): Promise<AppProcess> {
  const port = await freePort();
  const child = spawn(process.execPath, ["apps/queue/dist/src/main.js"], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOST: "127.0.0.1",
      PORT: String(port),
      WRITES_PER_MINUTE: "0",
      SESSION_SECRET: "a secret for tests that nobody else uses",
      LOG_LEVEL: "warn",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const collect = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-20_000));
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const left = once(child, "exit").then(([code]) => {
    throw new Error(`the app left with ${String(code)} before it answered:\n${output}`);
  });
  left.catch(() => undefined);
  await Promise.race([answering(port, 20_000), left]);
  return {
    port,
    process: child,
    output: () => output,
    async stop() {
      const started = performance.now();
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGTERM");
        const deadline = setTimeout(() => child.kill("SIGKILL"), 30_000);
        await gone;
        clearTimeout(deadline);
      }
      return { code: child.exitCode, tookMs: performance.now() - started };
    },
  };
}

export interface Item {
  readonly id: number;
  readonly text: string;
}

export interface QueueState {
  readonly view: { readonly total: number; readonly front: readonly Item[]; readonly back: readonly Item[] };
  readonly panel: { readonly source: "cache" | "database"; readonly tookMs: number; readonly ageMs: number };
  readonly csrf: string;
}

/** What `/healthz` says. */
export interface Health {
  readonly status: string;
  readonly database: { readonly state: string };
  readonly cache: { readonly state: string };
}

export interface Answer<Body> {
  readonly status: number;
  readonly body: Body;
}

/** Somebody with a cookie jar and a CSRF token. Every request has a deadline. */
export class Visitor {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  #cookies = new Map<string, string>();
  #csrf = "";

  /** Looks at the queue on one of the processes. */
  async look(app: AppProcess): Promise<Answer<QueueState>> {
    const answer = await this.#send<QueueState>(app, "GET", "/");
    if (answer.status === 200) this.#csrf = answer.body.csrf;
    return answer;
  }

  async add(app: AppProcess, text: string): Promise<Answer<{ readonly added: Item }>> {
    return await this.#send(app, "POST", "/add", { text });
  }

  async remove(app: AppProcess): Promise<Answer<{ readonly removed: Item }>> {
    return await this.#send(app, "POST", "/remove", {});
  }

  async health(app: AppProcess): Promise<Answer<Health>> {
    return await this.#send(app, "GET", "/healthz");
  }

  leave(): void {
    this.#agent.destroy();
  }

  async #send<Body>(app: AppProcess, method: string, path: string, body?: object): Promise<Answer<Body>> {
    const payload = body && JSON.stringify(body);
    const headers: Record<string, string> = {
      accept: "application/json",
      cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; "),
      ...(payload !== undefined && {
        "content-type": "application/json",
        "content-length": String(Buffer.byteLength(payload)),
        "x-csrf-token": this.#csrf,
      }),
    };
    const { port } = app;
    const sent = request({
      host: "127.0.0.1",
      port,
      path,
      method,
      headers,
      agent: this.#agent,
      signal: AbortSignal.timeout(30_000),
    });
    sent.end(payload);
    const [response] = (await once(sent, "response")) as [import("node:http").IncomingMessage];
    for (const cookie of response.headers["set-cookie"] ?? []) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      this.#cookies.set(name, value);
    }
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return { status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) as Body };
  }
}
