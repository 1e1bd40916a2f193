/** Opens the parts, starts the app, and closes everything in the right order. */
import type { FastifyInstance } from "fastify";
import { createApp } from "./app.ts";
import type { Config } from "./config.ts";
import { openDatabase } from "./database.ts";
import { logStream } from "./logging.ts";
import { migrate } from "./migrate.ts";
import { openCache } from "./queue-cache.ts";

export interface RunningApp {
  readonly app: FastifyInstance;
  /** Where it listens, for people: `http://localhost:8000`. */
  readonly url: string;
  readonly database: string;
  readonly cache: string;
  /** Stops taking requests, finishes the running ones, then closes cache and database. */
  close(): Promise<void>;
}

/** Starts the app from its environment; what has been opened is closed again when a later step fails. */
export async function run(config: Config, env: NodeJS.ProcessEnv): Promise<RunningApp> {
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const each of closers.splice(0).toReversed()) await each();
  };
  let app: FastifyInstance | undefined;
  try {
    const database = await openDatabase(config.database, {
      poolSize: config.poolSize,
      onIdleError: (err) => app?.log.warn({ err }, "an idle connection to the database broke"),
    });
    closers.push(() => database.close());
    if (config.migrate) await migrate(database);
    const cache = await openCache(env);
    closers.push(() => cache.close());
    const logging = { level: config.logLevel, stream: logStream(config.logFormat, process.stdout) };
    app = await createApp({ config, database, cache, logging });
    const started = app;
    closers.push(() => started.close());
    const url = await listen(started, config);
    return { app: started, url, database: database.shown, cache: cache.description, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function listen(app: FastifyInstance, config: Config): Promise<string> {
  try {
    await app.listen({ host: config.host, port: config.port });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code === "EADDRINUSE")
      throw new Error(`Port ${config.port} is in use by another program. Choose another one: PORT=${config.port + 1}`, {
        cause: error,
      });
    // A machine without IPv6 cannot listen on `::`.
    if (error.code !== "EAFNOSUPPORT" || config.host !== "::")
      throw new Error(
        `Nothing can listen where HOST and PORT say, ${config.host} and ${config.port}: ${error.message}`,
        {
          cause: error,
        },
      );
    await app.listen({ host: "0.0.0.0", port: config.port });
  }
  const address = app.addresses()[0];
  const port = typeof address === "object" ? address.port : config.port;
  const everywhere = config.host === "::" || config.host === "0.0.0.0";
  const host = everywhere ? "localhost" : config.host.includes(":") ? `[${config.host}]` : config.host;
  return `http://${host}:${port}`;
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error;
}
