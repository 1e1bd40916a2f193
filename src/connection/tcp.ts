/** TCP, TLS and unix sockets as transports. */
import { connect as connectPlain, isIP, type OnReadOpts, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { Outgoing } from "../protocol/index.ts";
import { TlsRecords } from "./tls-records.ts";
import type { OpenTransport, Transport, TransportEvents } from "./transport.ts";

/** Where a server listens. */
export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** How to get there. */
export interface SocketOptions {
  /** TLS for TCP servers, with Node's own options; undefined for none. */
  readonly tls?: ConnectionOptions | undefined;
  /** Milliseconds of silence after which the system asks the peer whether it lives. */
  readonly keepAliveMs: number;
}

/** From this many unsent bytes on, further commands wait where they can still be taken back. */
const highWaterBytes = 256 * 1024;

/**
 * Each connection reads into memory of its own of this size, again and again. Fresh memory for each read, which is what
 * Node does by itself, cost a third of the CPU time of large values. The system gives only what is used.
 */
const readBytes = 256 * 1024;

/** Opens sockets to `address`. */
export function socketTransport(address: SocketAddress, options: SocketOptions): OpenTransport {
  return (events) => {
    const buffer = Buffer.allocUnsafeSlow(readBytes);
    const callback = (count: number): boolean => {
      events.received(count === readBytes ? buffer : buffer.subarray(0, count));
      return true;
    };
    let socket: Socket;
    try {
      socket = openSocket(address, options, { buffer, callback });
    } catch (error) {
      // Node refuses certificates that it cannot read at once.
      process.nextTick(() => events.closed(error as Error));
      return neverOpen;
    }
    return new SocketTransport(socket, address.kind === "tcp" && !!options.tls, events);
  };
}

function openSocket(address: SocketAddress, { tls, keepAliveMs }: SocketOptions, onread: OnReadOpts): Socket {
  // Node hands these on to the stream and to the socket below TLS; its types do not say so.
  const common = { writableHighWaterMark: highWaterBytes, onread };
  if (address.kind === "unix") return connectPlain({ path: address.path, ...common });
  const { host, port } = address;
  const tcp = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs, ...common };
  if (tls === undefined) return connectPlain(tcp);
  // SNI must not be an address (RFC 6066, section 3).
  const servername = isIP(host) === 0 ? { servername: host } : {};
  // Loaded where it is used: TLS is most of a megabyte of heap, which those without it need not carry.
  return process.getBuiltinModule("node:tls").connect({ ...tcp, ...servername, ...tls });
}

const neverOpen: Transport = { asksForEnds: false, send: () => false, end() {}, destroy() {} };

class SocketTransport implements Transport {
  readonly #socket: Socket;
  readonly #records: TlsRecords | undefined;

  constructor(socket: Socket, secure: boolean, events: TransportEvents) {
    this.#socket = socket;
    let failure: Error | undefined;
    socket.once(secure ? "secureConnect" : "connect", () => events.opened());
    // What is read goes past the stream; only its end comes by it.
    socket.resume();
    this.#records = secure ? new TlsRecords(socket, highWaterBytes, () => events.drained()) : undefined;
    if (!secure) socket.on("drain", () => events.drained());
    socket.on("error", (error) => {
      failure = error;
    });
    // A half-open connection is of no use: whoever stops answering is gone.
    socket.on("end", () => socket.destroy());
    socket.on("close", () => events.closed(failure));
  }

  get asksForEnds(): boolean {
    return this.#records !== undefined;
  }

  send(out: Outgoing): boolean {
    const socket = this.#socket;
    if (this.#records !== undefined) {
      const more = this.#records.send(out);
      out.clear(true);
      return more;
    }
    out.finish();
    const { pieces, text } = out;
    let more: boolean;
    if (pieces.length === 0) {
      more = socket.write(text, "latin1");
    } else if (pieces.length === 1 && text === "") {
      more = socket.write(pieces[0] as string | Uint8Array, "latin1");
    } else {
      socket.cork();
      for (const piece of pieces) writePiece(socket, piece);
      more = writePiece(socket, text);
      socket.uncork();
    }
    // What the system took at once is nobody's any more.
    out.clear(socket.writableLength === 0);
    return more;
  }

  end(): void {
    if (this.#records === undefined) this.#socket.end();
    else this.#records.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function writePiece(socket: Socket, piece: string | Uint8Array): boolean {
  if (typeof piece !== "string") return socket.write(piece);
  return piece === "" ? !socket.writableNeedDrain : socket.write(piece, "latin1");
}
