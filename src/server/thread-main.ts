/** What runs in the thread of `createServerThread`: one server, until it is told to close. */
import { parentPort, workerData } from "node:worker_threads";
import { isEverfreshError } from "../errors.ts";
import { createServer } from "./server.ts";
import type { ThreadNews, ThreadOrder } from "./thread.ts";

const { options, where } = workerData as ThreadOrder;

function tell(news: ThreadNews): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(news);
}

try {
  const server = await createServer(options).listen(where);
  parentPort?.once("message", () => {
    void server.close().then(() => parentPort?.close());
  });
  tell({ kind: "listening", address: server.address, port: server.port });
} catch (error) {
  const code = isEverfreshError(error) ? error.code : (error as NodeJS.ErrnoException).code;
  tell({ kind: "failed", code, message: error instanceof Error ? error.message : String(error) });
}
