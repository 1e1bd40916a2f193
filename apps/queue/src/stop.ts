/** The end of the process: orderly within its time, by force after it. */
import type { RunningApp } from "./run.ts";

/** Heroku kills 30 s after SIGTERM; leaving earlier on our own lets the last lines be logged. */
const deadlineMs = 25_000;

/**
 * On SIGTERM or SIGINT stops taking requests, finishes the running ones, and leaves with 0. The signal may come again and
 * changes nothing then, except that a second Ctrl-C of an impatient person ends it at once.
 */
export function stopOnSignals(running: RunningApp): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) {
      if (signal === "SIGINT") process.exit(130);
      return;
    }
    stopping = true;
    running.app.log.info({ signal }, "stopping");
    setTimeout(() => {
      running.app.log.error("not everything ended in time; leaving");
      process.exit(1);
    }, deadlineMs).unref();
    running.close().then(
      () => process.exit(0),
      (error: unknown) => {
        running.app.log.error({ err: error }, "stopping failed");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}
