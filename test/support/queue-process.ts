/** The queue app as a process of its own, as `npm start` and a Procfile run it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** The compiled program `main` or `migrate`. */
export function queueMain(name: "main" | "migrate"): string {
  return join(process.cwd(), "apps/queue/dist/src", `${name}.js`);
}

export interface End {
  readonly code: number | null;
  readonly output: string;
}

export interface QueueProcess {
  /** Where it listens. */
  readonly url: string;
  readonly child: ChildProcess;
  /** Everything that it has written. */
  output(): string;
  /** Sends a signal, SIGTERM unless told otherwise, and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<End>;
}

/** Starts the app on a free port and waits until it listens. Nothing of this process's environment is passed on but PATH. */
export async function startQueue(env: NodeJS.ProcessEnv): Promise<QueueProcess> {
  const child = launch(queueMain("main"), { PORT: "0", HOST: "127.0.0.1", EVERFRESH_MIGRATE: "1", ...env });
  let output = "";
  const ended = once(child, "close").then(([code]): End => ({ code: code as number | null, output }));
  const url = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      output += chunk.toString();
      const [found] = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(output) ?? [];
      if (found !== undefined) resolve(found);
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    void ended.then((end) => reject(new Error(`the app ended with ${end.code}: ${end.output}`)));
  });
  return {
    url,
    child,
    output: () => output,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return ended;
    },
  };
}

/** Runs a program that ends by itself. */
export async function runToEnd(program: string, env: NodeJS.ProcessEnv): Promise<End> {
  const child = launch(program, env);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

function launch(program: string, env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(process.execPath, ["--enable-source-maps", program], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}
