/** What a server may be told, and what it does where it is told nothing. */
import { type Clock, type Random, systemClock, systemRandom } from "../clock.ts";
import { type Duration, durationMs } from "../duration.ts";
import { EverfreshError, shown } from "../errors.ts";
import type { User } from "./accounts.ts";
import type { ListenOptions } from "./server.ts";
import { checkTls } from "./tls.ts";

/** What can be closed: the server. */
export interface Closable {
  close(): Promise<void>;
}

export interface ServerOptions {
  /** The memory for items, in bytes. Default: 64 MiB, as memcached's `-m 64`. */
  readonly limitBytes?: number | undefined;
  /** The largest item, counted as memcached counts it. Default: 1 MiB, as `-I 1m`. */
  readonly itemBytes?: number | undefined;
  /** Visitors at one time; those beyond it are turned away with `ERROR Too many open connections`. Default: 1024. */
  readonly maxConnections?: number | undefined;
  /** Whether items are dropped to make room; where not, storing fails. Default: true; false is `-M`. */
  readonly evicts?: boolean | undefined;
  /** The protocols that are spoken. Default: `auto`, both; `text` and `binary` are `-B`. */
  readonly protocol?: "auto" | "text" | "binary" | undefined;
  /** Whether `flush_all` is obeyed. Default: true; false is `-F`. */
  readonly flushes?: boolean | undefined;
  /** Whether keys may be listed (metadump, mgdump, cachedump). Default: true; false is `-X`. */
  readonly dumps?: boolean | undefined;
  /** Whether `watch` is obeyed. Default: true; false is `-W`. */
  readonly watches?: boolean | undefined;
  /** Whether `shutdown` is obeyed. Default: false; true is `-A`. */
  readonly shutdowns?: boolean | undefined;
  /** What `shutdown` does; `graceful` asks to keep what is stored. Default: the server is closed. */
  readonly onShutdown?: ((graceful: boolean, server: Closable) => void) | undefined;
  /** A visitor who says nothing for so long is sent away. Default: never. */
  readonly idleTimeout?: Duration | undefined;
  /** Who may log in. Default: nobody needs to. */
  readonly users?: readonly User[] | undefined;
  /** How users log in: by SASL, by a first `set` in text, or by either. Default: either. */
  readonly login?: "any" | "sasl" | "text" | undefined;
  /** How long a visitor has to log in. Default: 5 s. */
  readonly loginTimeout?: Duration | undefined;
  /** How often a visitor may try to log in. Default: 5 times. */
  readonly loginAttempts?: number | undefined;
  /** Memory for values that have not arrived completely, all visitors together. Default: as `limitBytes`, at most 256 MiB. */
  readonly uploadBytes?: number | undefined;
  /** What `version` answers. Clients choose commands by it. Default: the memcached whose commands are spoken. */
  readonly version?: string | undefined;
  /** The character before which a key is cut for `stats detail`. Default: `:`, as `-D :`. */
  readonly prefixDelimiter?: string | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** Every option, with what holds where nothing was said. */
export interface ResolvedServerOptions {
  readonly limitBytes: number;
  readonly itemBytes: number;
  readonly maxConnections: number;
  readonly evicts: boolean;
  readonly protocol: "auto" | "text" | "binary";
  readonly flushes: boolean;
  readonly dumps: boolean;
  readonly watches: boolean;
  readonly shutdowns: boolean;
  readonly onShutdown: (graceful: boolean, server: Closable) => void;
  readonly idleTimeoutMs: number;
  readonly users: readonly User[];
  readonly login: "any" | "sasl" | "text";
  readonly loginTimeoutMs: number;
  readonly loginAttempts: number;
  readonly uploadBytes: number;
  readonly version: string;
  readonly prefixDelimiter: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** The memcached whose commands and flags are spoken. */
export const spokenVersion = "1.6.45";

const names = new Set<keyof ServerOptions>([
  "limitBytes",
  "itemBytes",
  "maxConnections",
  "evicts",
  "protocol",
  "flushes",
  "dumps",
  "watches",
  "shutdowns",
  "onShutdown",
  "idleTimeout",
  "users",
  "login",
  "loginTimeout",
  "loginAttempts",
  "uploadBytes",
  "version",
  "prefixDelimiter",
  "clock",
  "random",
]);

/** @throws EverfreshError `EF_OPTION` for unknown options and values out of range */
export function resolveServerOptions(options: ServerOptions): ResolvedServerOptions {
  if (typeof options !== "object" || options === null) throw wrong("what createServer is told", options, "an object");
  for (const name of Object.keys(options))
    if (!names.has(name as keyof ServerOptions))
      throw new EverfreshError("EF_OPTION", `createServer knows no ${name}; it knows ${[...names].join(", ")}`);
  const { users, login, version = spokenVersion, prefixDelimiter = ":", protocol = "auto" } = options;
  const { clock = systemClock, random = systemRandom } = options;
  if (users !== undefined && (!Array.isArray(users) || users.length === 0))
    throw wrong("users", users, "a list of at least one user; without the option nobody needs to log in");
  if (login !== undefined && users === undefined)
    throw wrong("login", login, "for servers with users; without users everybody is let in");
  // It is sent as the rest of a line.
  if (typeof version !== "string" || !/^[!-~](?:[ -~]{0,98}[!-~])?$/.test(version))
    throw wrong("version", version, "a text of 1 to 100 printable characters");
  if (typeof prefixDelimiter !== "string" || prefixDelimiter.length !== 1)
    throw wrong("prefixDelimiter", prefixDelimiter, "one character");
  if (options.onShutdown !== undefined && typeof options.onShutdown !== "function")
    throw wrong("onShutdown", options.onShutdown, "a function");
  // Only what was not said has a default: `null` is none of the values.
  const { limitBytes = 64 * 1024 * 1024, itemBytes = 1024 * 1024, maxConnections = 1024, loginAttempts = 5 } = options;
  const { evicts = true, flushes = true, dumps = true, watches = true, shutdowns = false } = options;
  const { uploadBytes = Math.min(limitBytes, 256 * 1024 * 1024), loginTimeout = "5s" } = options;
  return Object.freeze({
    limitBytes: whole("limitBytes", limitBytes, 64 * 1024),
    itemBytes: whole("itemBytes", itemBytes, 1024),
    maxConnections: whole("maxConnections", maxConnections, 1),
    evicts: flag("evicts", evicts),
    protocol: oneOf("protocol", protocol, ["auto", "text", "binary"]),
    flushes: flag("flushes", flushes),
    dumps: flag("dumps", dumps),
    watches: flag("watches", watches),
    shutdowns: flag("shutdowns", shutdowns),
    onShutdown: options.onShutdown ?? ((_graceful, server) => void server.close()),
    idleTimeoutMs: options.idleTimeout === undefined ? 0 : durationMs(options.idleTimeout, "idleTimeout"),
    users: users ?? [],
    login: oneOf("login", login === undefined ? "any" : login, ["any", "sasl", "text"]),
    loginTimeoutMs: durationMs(loginTimeout, "loginTimeout"),
    loginAttempts: whole("loginAttempts", loginAttempts, 1),
    uploadBytes: whole("uploadBytes", uploadBytes, 64 * 1024),
    version,
    prefixDelimiter,
    clock: having("clock", clock, ["now", "monotonic", "after"]),
    random: having("random", random, ["fraction", "bytes"]),
  });
}

const placeNames: Record<keyof ListenOptions, true> = {
  port: true,
  host: true,
  path: true,
  mode: true,
  tls: true,
  backlog: true,
};

/** Room for the path of a unix socket, with its end: unix(7), and as BSD and macOS have it. */
const longestPath = process.platform === "linux" ? 107 : 103;

/** @throws EverfreshError `EF_OPTION` for what is no place to listen at, also for two of them */
export function resolvePlace(where: number | ListenOptions): ListenOptions {
  const place: ListenOptions = typeof where === "number" ? { port: where } : where;
  if (typeof place !== "object" || place === null) throw wrong("where to listen", place, "a port, or an object");
  for (const name of Object.keys(place))
    if (!Object.hasOwn(placeNames, name))
      throw new EverfreshError("EF_OPTION", `listen knows no ${name}; it knows ${Object.keys(placeNames).join(", ")}`);
  const { port, host, path, mode, tls } = place;
  if (port !== undefined) whole("port", port, 0, 65_535);
  if (host !== undefined && (typeof host !== "string" || host === ""))
    throw wrong("host", host, "a name or an address");
  if (path !== undefined && (typeof path !== "string" || path === "")) throw wrong("path", path, "a path of a file");
  if (path !== undefined && Buffer.byteLength(path) > longestPath)
    throw wrong("path", path, `a path of up to ${longestPath} bytes, since the system cuts a longer one off`);
  if (path !== undefined && (port !== undefined || host !== undefined))
    throw new EverfreshError("EF_OPTION", "listen takes a path or a port and host, not both; call it once for each");
  if (mode !== undefined) whole("mode", mode, 0, 0o777);
  if (mode !== undefined && path === undefined)
    throw wrong("mode", mode, "for unix sockets; a port has no access rights");
  if (tls !== undefined && (typeof tls !== "object" || tls === null)) throw wrong("tls", tls, "an object");
  if (tls !== undefined) checkTls(tls);
  if (place.backlog !== undefined) whole("backlog", place.backlog, 1);
  return place;
}

function whole(name: string, value: number, least: number, most = Infinity): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw wrong(name, value, `a whole number from ${least} ${most === Infinity ? "on" : `to ${most}`}`);
}

function flag(name: string, value: boolean): boolean {
  if (typeof value === "boolean") return value;
  throw wrong(name, value, "true or false");
}

function oneOf<Choice extends string>(name: string, value: Choice, choices: readonly Choice[]): Choice {
  if (choices.includes(value)) return value;
  throw wrong(name, value, `one of ${choices.map((choice) => JSON.stringify(choice)).join(", ")}`);
}

/** An object with these methods. */
function having<Thing extends object>(name: string, value: Thing, methods: readonly (keyof Thing & string)[]): Thing {
  if (typeof value === "object" && value !== null && methods.every((method) => typeof value[method] === "function"))
    return value;
  throw wrong(name, value, `an object with the methods ${methods.join(", ")}`);
}

/** Of lists only the length is shown, and of users no text: they have passwords. */
function wrong(name: string, given: unknown, needed: string): EverfreshError {
  const isSecret = name === "users" && typeof given === "string";
  const what = Array.isArray(given) ? `a list of ${given.length}` : isSecret ? "a text" : shown(given);
  return new EverfreshError("EF_OPTION", `${name} is ${what}; it is ${needed}`);
}
