/**
 * The server in a thread of its own, so that it takes nothing from the event loop of the application.
 *
 * Only what can be copied between threads can be told to it: no clock, no random, no function.
 */
import { once } from "node:events";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { EverfreshError } from "../errors.ts";
import type { ServerOptions } from "./options.ts";
import type { ListenOptions } from "./server.ts";

/** What a thread can be told. */
export type ThreadOptions = Omit<ServerOptions, "clock" | "random" | "onShutdown">;

/** A server in another thread. */
export interface ServerThread {
  /** `127.0.0.1:11211`, or `unix:/path`. */
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What the thread is told, and what it tells. */
export interface ThreadOrder {
  readonly options: ThreadOptions;
  readonly where: number | ListenOptions;
}
export type ThreadNews =
  | { readonly kind: "listening"; readonly address: string; readonly port: number }
  | { readonly kind: "failed"; readonly code: string | undefined; readonly message: string };

/**
 * Starts a thread, and a server in it that listens.
 *
 * @throws EverfreshError `EF_OPTION` for wrong options; the error of the operating system where the place is taken
 */
export async function createServerThread(
  options: ThreadOptions = {},
  where: number | ListenOptions = {},
): Promise<ServerThread> {
  const order: ThreadOrder = { options, where };
  const file = new URL(`./thread-main${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
  const worker = startWorker(file, order);
  const [news] = (await once(worker, "message")) as [ThreadNews];
  if (news.kind === "failed") {
    await worker.terminate();
    if (news.code === "EF_OPTION") throw new EverfreshError("EF_OPTION", news.message);
    throw Object.assign(new Error(news.message), { code: news.code });
  }
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const left = once(worker, "exit");
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
    worker.postMessage("close");
    await left;
  };
  return {
    address: news.address,
    port: news.port,
    close: async () => {
      closing ??= close();
      await closing;
    },
    [Symbol.asyncDispose]: async () => {
      closing ??= close();
      await closing;
    },
  };
}

function startWorker(file: URL, order: ThreadOrder): Worker {
  try {
    return new Worker(file, { workerData: order });
  } catch (cause) {
    // What Node says shows the text of the function.
    const why =
      "what a server's thread is told is copied to it, so there may be no function in it, such as tls.SNICallback";
    throw new EverfreshError("EF_OPTION", why, { cause });
  }
}
