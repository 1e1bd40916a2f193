/** Starts the queue app from the environment, and ends it when it is asked to. */
import { configFromEnv } from "./config.ts";
import { reasonOf } from "./logging.ts";
import { run } from "./run.ts";
import { stopOnSignals } from "./stop.ts";

async function main(): Promise<void> {
  const config = configFromEnv(process.env);
  const running = await run(config, process.env);
  stopOnSignals(running);
  const { url, database, cache } = running;
  if (config.logFormat === "json")
    running.app.log.info({ url, database, cache, slowQueryMs: config.slowQueryMs }, "started");
  else
    process.stdout.write(
      [
        "",
        `  The queue is on  ${url}`,
        `  Database         ${database}`,
        `  Cache            ${cache.replace(/^The cache is /, "")}`,
        ...(config.slowQueryMs > 0
          ? [`  Slow query       ${config.slowQueryMs} ms on purpose: the first view waits, the next ones do not`]
          : []),
        "",
        "  Open it, add an item, look again: the panel says where each view came from. Ctrl-C ends it.",
        "",
        "",
      ].join("\n"),
    );
}

main().catch((error: unknown) => {
  process.stderr.write(`The queue app cannot start.\n${reasonOf(error)}\n`);
  process.exitCode = 1;
});
