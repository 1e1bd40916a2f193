/** Listens, accepts, sends away, closes. What is said with a visitor is `session.ts`. */
import { once } from "node:events";
import { type Server, type Socket, connect, createServer as createNetServer } from "node:net";
import type { Server as TlsServer } from "node:tls";
import { chmodSync, existsSync, rmSync, statSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type { Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import type { User } from "./accounts.ts";
import { Desk, type House } from "./desk.ts";
import { Journal } from "./journal.ts";
import { type ResolvedServerOptions, type ServerOptions, resolvePlace, resolveServerOptions } from "./options.ts";
import { SocketOutlet } from "./outlet.ts";
import { Session } from "./session.ts";
import { type Store, loadItems, saveItems } from "../store/index.ts";
import type { Statistic } from "./statistics.ts";
import { type ServerTls, createTlsListener, refresh } from "./tls.ts";

/** Where to listen. */
export interface ListenOptions {
  /** Default: 0, any free port. */
  readonly port?: number | undefined;
  /** Default: 127.0.0.1. Name an address of the network only if everyone there may read and write, or must log in. */
  readonly host?: string | undefined;
  /** A unix socket instead of a port. A socket file that is left over is replaced; one that is in use and other files are not. */
  readonly path?: string | undefined;
  /** The access rights of the unix socket. Default: 0o700. */
  readonly mode?: number | undefined;
  /** Speaks TLS (1.2 or newer, if nothing else is said), with these certificates. Default: no. */
  readonly tls?: ServerTls | undefined;
  /** How many connections may wait to be accepted. Default: 1024. */
  readonly backlog?: number | undefined;
}

/** How often it is looked for visitors who stay without saying anything. */
const sweepMs = 1000;

export class CacheServer {
  readonly #options: ResolvedServerOptions;
  readonly #desk: Desk;
  readonly #listeners: { readonly server: Server; readonly address: string; readonly tls?: ServerTls }[] = [];
  readonly #visits = new Map<Socket, Session>();
  /**
   * Those that closing ends besides: who was turned away and has not left yet, and TLS's own sockets, from before the
   * handshake.
   */
  readonly #others = new Set<Socket>();
  #port = 0;
  #sweep: Timer | undefined;
  #total = 0;
  #rejected = 0;
  #bytesRead = 0;
  #closing: Promise<void> | undefined;

  constructor(options: ServerOptions = {}) {
    this.#options = resolveServerOptions(options);
    this.#desk = new Desk(this.#options, this.#house());
  }

  /** `127.0.0.1:11211`, `[::1]:11211` or `unix:/path`: how a client names the (first) place that is listened at. */
  get address(): string {
    const [first] = this.#listeners;
    if (first === undefined) throw new EverfreshError("EF_CLOSED", "the server does not listen");
    return first.address;
  }

  /** The (first) port; 0 where only unix sockets are listened at. */
  get port(): number {
    return this.#port;
  }

  /** How many visitors there are. */
  get connections(): number {
    return this.#visits.size;
  }

  /** The journal of commands, and where faults are ordered. Commands are written down from the first use of this on. */
  get journal(): Journal {
    return (this.#desk.journal ??= new Journal());
  }

  /**
   * Begins to listen, at one place for each call.
   *
   * @returns the server itself, so that it can be written in one line
   * @throws EverfreshError `EF_OPTION` for what is no place to listen at; the error of the operating system where the place
   *   is taken or forbidden
   */
  async listen(where: number | ListenOptions = {}): Promise<this> {
    if (this.#closing !== undefined) throw new EverfreshError("EF_CLOSED", "the server was closed");
    const options = resolvePlace(where);
    const { tls } = options;
    const server = tls === undefined ? createNetServer({ noDelay: true }) : createTlsListener(tls);
    const transport = options.path === undefined ? (tls === undefined ? "tcp" : "tls") : "unix";
    server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      if (tls !== undefined) socket.setNoDelay(true);
      this.#accept(socket, transport);
    });
    if (tls !== undefined) {
      server.on("connection", (socket: Socket) => this.#keep(socket));
      server.on("tlsClientError", (_error: Error, socket: Socket) => socket.destroy());
    }
    if (options.path === undefined)
      server.listen({ port: options.port ?? 0, host: options.host ?? "127.0.0.1", backlog: options.backlog ?? 1024 });
    else {
      await removeLeftOver(options.path);
      listenPrivately(server, options.path, options.mode ?? 0o700, options.backlog ?? 1024);
    }
    await once(server, "listening");
    // It was closed meanwhile, when this place was not on its list yet.
    if (this.#closing !== undefined) server.close();
    const bound = server.address();
    if (bound === null) throw new EverfreshError("EF_CLOSED", "the server was closed while it began to listen");
    const certificates = tls === undefined ? {} : { tls };
    if (typeof bound === "string") this.#listeners.push({ server, address: `unix:${bound}`, ...certificates });
    else {
      if (this.#port === 0) this.#port = bound.port;
      const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
      this.#listeners.push({ server, address: `${host}:${bound.port}`, ...certificates });
    }
    if (this.#sweep === undefined) this.#sweepLater();
    return this;
  }

  /** Stops listening, ends all connections and forgets everything. Calling it again waits for the same end. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  /** All places that are listened at, as `address` writes them. */
  get addresses(): readonly string[] {
    return this.#listeners.map(({ address }) => address);
  }

  /** Other users from now on. Visitors who are logged in stay; namespaces that stay keep what they hold. */
  setUsers(users: readonly User[]): void {
    if (this.#desk.accounts.guest !== undefined)
      throw new EverfreshError("EF_OPTION", "a server that was made without users has none to change");
    this.#desk.accounts.replace(users);
  }

  /** Reads the files of certificates again; false where there are none. */
  refreshCertificates(): boolean {
    let refreshed = false;
    for (const { server, tls } of this.#listeners)
      if (tls !== undefined && refresh(server as TlsServer, tls)) refreshed = true;
    return refreshed;
  }

  /** Drops every item of every user at once. */
  forget(): void {
    for (const store of this.#desk.accounts.stores.values()) store.clear();
  }

  /** Writes everything that is stored to `file` (with users: to one file for each namespace); returns how many items. */
  save(file: string): number {
    let items = 0;
    for (const [store, path] of this.#files(file)) items += saveItems(store, path);
    return items;
  }

  /**
   * Stores what `save` wrote and removes the files; returns how many items. Where there is no file nothing happens.
   *
   * @throws EverfreshError `EF_SNAPSHOT` for a damaged file
   */
  load(file: string): number {
    let items = 0;
    for (const [store, path] of this.#files(file)) if (existsSync(path)) items += loadItems(store, path);
    return items;
  }

  *#files(file: string): Iterable<readonly [store: Store, path: string]> {
    for (const [namespace, store] of this.#desk.accounts.stores)
      yield [store, namespace === "" ? file : `${file}.${encodeURIComponent(namespace)}`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel();
    const closed = this.#listeners.map(async ({ server }) => {
      const done = once(server, "close");
      server.close();
      await done;
    });
    for (const socket of [...this.#visits.keys(), ...this.#others]) socket.destroy();
    await Promise.all(closed);
  }

  #accept(socket: Socket, transport: string): void {
    socket.on("error", () => socket.destroy());
    this.#total++;
    if (this.#visits.size >= this.#options.maxConnections) {
      this.#rejected++;
      this.#keep(socket);
      // What is not read never ends, and would stay for ever.
      socket.resume();
      socket.end("ERROR Too many open connections\r\n");
      return;
    }
    const outlet = new SocketOutlet(socket, this.#desk);
    const session = new Session(this.#desk, outlet);
    outlet.session = session;
    session.disturbed = outlet;
    this.#visits.set(socket, session);
    const address = socket.remoteAddress ?? "unix";
    const port = socket.remotePort ?? 0;
    this.#desk.watch?.connected(session, address, port, transport);
    socket.on("data", (chunk: Buffer) => {
      session.receive(chunk);
      if (session.closing) socket.end();
    });
    socket.on("close", () => {
      this.#visits.delete(socket);
      this.#bytesRead += session.bytesRead;
      outlet.drop();
      session.drop();
      this.#desk.watch?.gone(session, address, port, transport, "normal");
    });
  }

  /** Holds who is no visitor, or not yet: connections below TLS, and who is turned away. They have a limit, too. */
  #keep(socket: Socket): void {
    if (this.#others.size >= 2 * this.#options.maxConnections) {
      this.#rejected++;
      socket.destroy();
      return;
    }
    this.#others.add(socket);
    socket.once("close", () => this.#others.delete(socket));
  }

  /** Sends away who has not logged in in time, or said nothing for too long. */
  #sweepLater(): void {
    this.#sweep = this.#options.clock.after(sweepMs, () => {
      const now = this.#options.clock.monotonic();
      const { idleTimeoutMs, loginTimeoutMs } = this.#options;
      for (const [socket, session] of this.#visits) {
        const silentMs = now - session.lastCommandMs;
        const isIdle = idleTimeoutMs > 0 && silentMs > idleTimeoutMs && session.watches === 0;
        const isLate = session.account === undefined && now - session.arrivedMs > loginTimeoutMs;
        if (isIdle || isLate) socket.destroy();
      }
      this.#sweepLater();
    });
  }

  #house(): House {
    const server = (): CacheServer => this;
    return {
      startedMs: this.#options.clock.monotonic(),
      get port() {
        return server().#port;
      },
      get connections() {
        return server().#visits.size;
      },
      get totalConnections() {
        return server().#total;
      },
      get rejectedConnections() {
        return server().#rejected;
      },
      get bytesRead() {
        let sum = server().#bytesRead;
        for (const session of server().#visits.values()) sum += session.bytesRead;
        return sum;
      },
      connectionList: () => server().#connectionList(),
      shutdown: (graceful) => this.#options.onShutdown(graceful, this),
      refreshCertificates: () => this.refreshCertificates(),
    };
  }

  *#connectionList(): Iterable<Statistic> {
    let id = 0;
    for (const { address } of this.#listeners) {
      id++;
      yield [`${id}:addr`, address.startsWith("unix:") ? address : `tcp:${address}`];
      yield [`${id}:state`, "conn_listening"];
    }
    const now = this.#options.clock.monotonic();
    for (const [socket, session] of this.#visits) {
      id++;
      yield [`${id}:addr`, `tcp:${socket.remoteAddress ?? "unix"}:${socket.remotePort ?? 0}`];
      yield [`${id}:state`, session.watches > 0 ? "conn_watch" : "conn_read"];
      yield [`${id}:secs_since_last_cmd`, Math.floor((now - session.lastCommandMs) / 1000)];
    }
  }
}

/** A memcached of your own, in this process. It listens as soon as `listen` is called. */
export function createServer(options?: ServerOptions): CacheServer {
  return new CacheServer(options);
}

/** Makes the socket file with these access rights from its first moment on. A worker thread may only set them later. */
function listenPrivately(server: Server, path: string, mode: number, backlog: number): void {
  if (!isMainThread) {
    server.once("listening", () => chmodSync(path, mode));
    server.listen({ path, backlog });
    return;
  }
  const before = process.umask(0o777 & ~mode);
  server.listen({ path, backlog });
  process.umask(before);
}

/** Not the file of a server that answers: its visitors would be ours, and when it ends it would take our file away. */
async function removeLeftOver(path: string): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const visitor = connect(path);
  try {
    await once(visitor, "connect");
  } catch (error) {
    // Nobody listens. Anything else, such as too many who wait, comes from one who does, and listening will be refused.
    if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") rmSync(path, { force: true });
  } finally {
    visitor.destroy();
  }
}
