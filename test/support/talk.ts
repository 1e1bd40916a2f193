/** A raw conversation with a server: bytes in, bytes out, nothing understood. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";

export interface Conversation {
  readonly socket: Socket;
  /** Everything that has arrived so far and was not taken, as latin1. */
  readonly heard: () => string;
  send(bytes: string | Uint8Array): void;
  /** Takes the next `length` bytes; rejects when the server hangs up or is silent before. */
  hear(length: number): Promise<string>;
  /** Takes everything up to and including `mark`. */
  hearUntil(mark: string): Promise<string>;
  /** Takes everything until the server hangs up. */
  hearAll(): Promise<string>;
  close(): void;
}

const patienceMs = 10_000;

export async function talk(where: number | string): Promise<Conversation> {
  const socket = typeof where === "number" ? connect(where, "127.0.0.1") : connect(where);
  await once(socket, "connect");
  return converse(socket);
}

/** A conversation over a socket that is connected already. */
export function converse(socket: Socket): Conversation {
  let heard = "";
  let ended = false;
  let wake: (() => void) | undefined;
  socket.setNoDelay(true);
  socket.on("data", (chunk: Buffer) => {
    heard += chunk.toString("latin1");
    wake?.();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    ended = true;
    wake?.();
  });

  async function until(taken: () => number, canEnd = false): Promise<string> {
    const deadline = setTimeout(() => socket.destroy(new Error("silence")), patienceMs);
    try {
      for (;;) {
        const length = taken();
        if (length >= 0 || (ended && canEnd)) {
          const text = length >= 0 ? heard.slice(0, length) : heard;
          heard = heard.slice(text.length);
          return text;
        }
        if (ended) throw new Error(`the server hung up after ${JSON.stringify(heard)}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      clearTimeout(deadline);
    }
  }

  return {
    socket,
    heard: () => heard,
    send: (bytes) => void socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes),
    hear: async (length) => until(() => (heard.length >= length ? length : -1)),
    hearUntil: async (mark) =>
      until(() => {
        const at = heard.indexOf(mark);
        return at < 0 ? -1 : at + mark.length;
      }),
    hearAll: async () => until(() => -1, true),
    close: () => socket.destroy(),
  };
}
