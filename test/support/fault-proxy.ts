/** A proxy between a client and a server that can be told to cut, delay and swallow what passes. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface FaultProxy {
  /** `127.0.0.1:<port>` */
  readonly address: string;
  /** Ends all connections; new ones are let through. */
  cut(): void;
  /** Holds everything back for so long, in both directions, from now on. */
  delay(ms: number): void;
  /** Neither answers nor hangs up; what was sent meanwhile arrives when it ends. */
  blackHole(on: boolean): void;
  close(): Promise<void>;
}

/** Starts a proxy before the server on `port`. */
export async function startFaultProxy(port: number): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  const now = { delayMs: 0, swallowing: false };

  function pass(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    from.on("data", (chunk) => {
      const waitMs = now.delayMs;
      // In order, whatever the delay was when each chunk came.
      last = last.then(async () => {
        if (waitMs > 0) await pause(waitMs);
        while (now.swallowing && !to.destroyed) await pause(5);
        if (!to.destroyed) to.write(chunk);
        return undefined;
      });
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  }

  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const socket of [client, upstream]) sockets.add(socket.setNoDelay(true));
    pass(client, upstream);
    pass(upstream, client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `127.0.0.1:${address.port}`,
    cut,
    delay(ms) {
      now.delayMs = ms;
    },
    blackHole(on) {
      now.swallowing = on;
    },
    async close() {
      now.swallowing = false;
      server.close();
      cut();
      await once(server, "close");
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
