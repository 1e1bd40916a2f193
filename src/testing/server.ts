/**
 * A memcached for tests, in two lines: with a clock that the test moves, a journal of what was asked, and faults on
 * command.
 *
 * @example
 * const server = await startTestServer();
 * server.fault({ kind: "cut", command: "mg" }); // the next mg loses its connection
 */
import {
  type CacheServer,
  type Fault,
  type JournalEntry,
  type ListenOptions,
  type ServerOptions,
  createServer,
} from "../server/index.ts";
import { ManualClock } from "./clock.ts";

export type { Fault, FaultKind, JournalEntry } from "../server/index.ts";

export interface TestServer {
  /** `127.0.0.1:<port>` */
  readonly address: string;
  readonly port: number;
  /** The server's time; it stands still until the test moves it. */
  readonly clock: ManualClock;
  /** The commands that have come so far, oldest first. */
  readonly commands: readonly JournalEntry[];
  /** Orders a fault; it strikes the next command that fits. The returned function takes it back. */
  fault(fault: Fault): () => void;
  /** Forgets the commands and the faults that have not struck. */
  clearJournal(): void;
  /** Drops every item, as a memcached does that was killed and started again. Connections stay. */
  forget(): void;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a server on a free port of the loopback; everything that `createServer` takes may be said. */
export async function startTestServer(
  options: Omit<ServerOptions, "clock"> = {},
  where: ListenOptions = {},
): Promise<TestServer> {
  const clock = new ManualClock();
  const server: CacheServer = await createServer({ ...options, clock }).listen(where);
  const { journal } = server;
  return {
    address: server.address,
    port: server.port,
    clock,
    commands: journal.entries,
    fault: (fault) => journal.add(fault),
    clearJournal: () => journal.clear(),
    forget: () => server.forget(),
    close: async () => server.close(),
    [Symbol.asyncDispose]: async () => server.close(),
  };
}
