/** Peers that misbehave: one that says what a test tells it to, and one that stands between a client and a real server. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A listener of the test's own. */
export interface Peer {
  readonly address: string;
  readonly port: number;
  /** How many connections came. */
  connections(): number;
  stop(): Promise<void>;
}

/** Listens, and hands every connection with its number to `serve`. */
export async function startPeer(serve: (socket: Socket, number: number) => void): Promise<Peer> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    serve(socket, count++);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    address: `127.0.0.1:${address.port}`,
    port: address.port,
    connections: () => count,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Calls `take` with every command line that arrives; data blocks of `ms` are left out. */
export function onLines(socket: Socket, take: (line: string) => void): void {
  let rest = "";
  let skip = 0;
  socket.on("data", (chunk) => {
    rest += chunk.toString("latin1");
    for (;;) {
      if (skip > 0) {
        if (rest.length < skip) return;
        rest = rest.slice(skip);
        skip = 0;
      }
      const end = rest.indexOf("\r\n");
      if (end < 0) return;
      const line = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (line.startsWith("ms ")) skip = Number(line.split(" ")[2]) + 2;
      take(line);
    }
  });
}

/** What a well-behaved server says to one line: every key holds `value of <key>`. */
export function politely(line: string): string {
  const [name = "", key = "", ...more] = line.split(" ");
  if (name === "version") return "VERSION 1.6.18\r\n";
  if (name === "mn") return "MN\r\n";
  if (name === "mg") return `VA ${key.length + 9} k${key} f16\r\nvalue of ${key}\r\n`;
  if (name === "get")
    return `${[key, ...more].map((each) => `VALUE ${each} 16 ${each.length + 9}\r\nvalue of ${each}\r\n`).join("")}END\r\n`;
  return `HD k${key}\r\n`;
}

/** A server that says what `answer` says to commands with a key, and is polite otherwise. */
export function startSpeaker(
  answer: (line: string, socket: Socket, connection: number) => string | undefined,
): Promise<Peer> {
  return startPeer((socket, connection) => {
    onLines(socket, (line) => {
      const said = /^(?:m[gsda]|get) /.test(line) ? answer(line, socket, connection) : politely(line);
      if (said !== undefined && !socket.destroyed) socket.write(said, "latin1");
    });
  });
}

/** Stands before the server on `port` and hands on what it says as `shape` has it. */
export function startProxy(
  port: number,
  shape: (chunk: Buffer, client: Socket, connection: number) => void,
): Promise<Peer> {
  return startPeer((client, connection) => {
    const server = connect(port, "127.0.0.1");
    client.on("data", (chunk) => server.write(chunk));
    client.on("close", () => server.destroy());
    server.on("data", (chunk) => shape(chunk, client, connection));
    server.on("close", () => client.destroy());
    server.on("error", () => client.destroy());
  });
}
