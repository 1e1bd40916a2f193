/** Every option of the client, its default, the reason to change it; resolved once, at the door. */
import type { ConnectionOptions } from "node:tls";
import { systemClock, systemRandom, type Clock, type Random } from "../clock.ts";
import { EverfreshError, shown } from "../errors.ts";
import { planHandshake, type Credentials, type HandshakePlan, type LoginName } from "../connection/index.ts";
import { longestValue, type ProtocolName } from "../protocol/index.ts";
import { profiles, type ProfileName } from "./profiles.ts";
import type { CompressionOptions } from "./values.ts";
import { hashes } from "./hash.ts";
import type { PlacementOptions } from "./ring.ts";
import { parseServer, parseServers, type ServerAddress, type ServerSpec } from "./address.ts";

/** What `createClient` takes. */
export interface ClientOptions {
  /**
   * The servers: `"host:port"`, `"host:port:weight"`, `"[v6]:port"`, `"/path/to.sock"`, `"memcached://..."`, a list of
   * them, or one text with commas or spaces between. No default: a client without servers is a mistake.
   */
  readonly servers: string | readonly (string | ServerSpec)[];
  /** What to speak. Default `"auto"`: the best that the server understands, found out on each connection. */
  readonly protocol?: "auto" | ProtocolName | undefined;
  /**
   * What happens to keys whose home is down: `"none"` (default) fails their calls, `"next"` takes the next server of the
   * list. With `"next"` old values can come back when the home does: never use it below a cache that must be fresh.
   */
  readonly failover?: "none" | "next" | undefined;
  /**
   * A configuration endpoint (Amazon ElastiCache), `"host:port"`, and how often it is asked. Its list replaces `servers`,
   * which is used until it answers. Default: none; every 60000 ms.
   */
  readonly discovery?: { readonly endpoint: string; readonly intervalMs?: number } | undefined;
  /** Who to log in as, on every server. Half of a pair stops the start. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /**
   * How to log in: `"sasl"` (binary protocol), `"text"` (memcached's `-Y`) or `"memcachier"` (its text login). Default
   * `"auto"`: SASL, and `-Y` where the server refuses the binary protocol.
   */
  readonly login?: "auto" | LoginName | undefined;
  /** With `"optional"`, servers that ask for no password will do although one was given. Default `"required"`. */
  readonly auth?: "required" | "optional" | undefined;
  /** Which server owns a key. Default `"ketama"`, as pylibmc's `ketama: True`; change it to meet another fleet's keys. */
  readonly placement?: PlacementOptions["kind"] | PlacementOptions | undefined;
  /** Milliseconds until a call fails with `EF_TIMEOUT`. Default 1000. Lower it where the source is fast. */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds for connecting, TLS, login and the first answer together; twice that where this process was too busy to read.
   * Default 1000.
   */
  readonly connectTimeoutMs?: number | undefined;
  /** Calls without an answer per connection before new ones fail with `EF_OVERLOADED`. Default 16384. */
  readonly maxPending?: number | undefined;
  /** Connections per server. Default 1, which is the fastest; more help where single values are very large. */
  readonly connections?: number | undefined;
  /** TLS to every TCP server: `true`, or Node's own options (`ca`, `cert`, `servername`). Default: only where the list says so. */
  readonly tls?: boolean | ConnectionOptions | undefined;
  /** Milliseconds of silence before TCP keep-alive asks. Default 30000. */
  readonly keepAliveMs?: number | undefined;
  /** The largest value that is accepted from a server, in bytes; a larger one is `EF_VALUE_TOO_LARGE`. Default 64 MiB. */
  readonly valueLimitBytes?: number | undefined;
  /** How long a server that is down is left alone: at first at most 100 ms, in the end 10 s. */
  readonly backoff?: { readonly firstMs?: number; readonly longestMs?: number } | undefined;
  /** What the stored flags mean; choose another where other clients share the servers. Default `"everfresh"`. */
  readonly flags?: ProfileName | undefined;
  /** Compress large values. Default: not. `true` is `{}`. */
  readonly compression?: boolean | CompressionOptions | undefined;
  /** Cut values that are too large for one item into several (profile `"everfresh"`). Default: they are `EF_VALUE_TOO_LARGE`. */
  readonly splitLargeValues?: boolean | undefined;
  /** Time and chance, for tests. */
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** A configuration endpoint, read. */
export interface ResolvedDiscovery {
  readonly endpoint: ServerAddress;
  readonly intervalMs: number;
}

/** The options with every default filled in. */
export interface ResolvedOptions {
  readonly servers: readonly ServerAddress[];
  readonly plan: HandshakePlan;
  /**
   * The plan for another list of servers: the `present` one, unless their URLs name other credentials.
   *
   * @throws EverfreshError `EF_OPTION` for credentials that are not whole, not the same for all, or not the list's to say
   */
  readonly planFor: (servers: readonly ServerAddress[], present: HandshakePlan) => HandshakePlan;
  readonly placement: PlacementOptions;
  readonly failover: "none" | "next";
  readonly discovery: ResolvedDiscovery | undefined;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly maxPending: number;
  readonly connections: number;
  readonly tls: ConnectionOptions | undefined;
  readonly keepAliveMs: number;
  readonly valueLimitBytes: number;
  readonly flags: ProfileName;
  readonly splitLargeValues: boolean;
  readonly compression: CompressionOptions | undefined;
  readonly backoff: { readonly firstMs: number; readonly longestMs: number };
  readonly clock: Clock;
  readonly random: Random;
}

const known: ReadonlySet<string> = new Set([
  "servers",
  "protocol",
  "placement",
  "failover",
  "discovery",
  "username",
  "password",
  "login",
  "auth",
  "timeoutMs",
  "connectTimeoutMs",
  "maxPending",
  "connections",
  "tls",
  "keepAliveMs",
  "valueLimitBytes",
  "flags",
  "compression",
  "splitLargeValues",
  "backoff",
  "clock",
  "random",
]);

/** The longest time a timer takes. */
const longestMs = 2 ** 31 - 1;

/**
 * Checks the options and fills in the defaults.
 *
 * @throws EverfreshError `EF_OPTION` for what is missing, unknown or out of range
 */
export function resolveOptions(options: ClientOptions): ResolvedOptions {
  if (typeof options !== "object" || options === null)
    throw bad(`options are an object, such as { servers: "localhost:11211" }; got ${shown(options)}`);
  for (const name of Object.keys(options))
    if (!known.has(name)) throw bad(`${name} is not an option; there are ${[...known].join(", ")}`);
  if (options.servers === undefined) throw bad("servers is missing");
  const { protocol = "auto", backoff = {}, auth = "required", failover = "none" } = options;
  if (failover !== "none" && failover !== "next") throw bad("failover is 'none' or 'next'");
  if (!["auto", "meta", "binary", "text"].includes(protocol))
    throw bad(`protocol is ${shown(protocol)}; it is auto, meta, binary or text`);
  if (auth !== "required" && auth !== "optional") throw bad("auth is 'required' or 'optional'");
  onlyKnown("backoff", backoff, ["firstMs", "longestMs"]);
  const firstMs = whole("backoff.firstMs", backoff.firstMs, 100, 1, longestMs);
  const servers = parseServers(options.servers);
  const login = loginOf(options);
  const planWith = (who: Credentials | undefined): HandshakePlan => {
    const made = planHandshake(protocol, who, login, auth === "optional");
    if (made.approaches.length === 0) throw bad(`login ${login} and protocol ${protocol} exclude each other`);
    return made;
  };
  const plan = planWith(credentialsOf(options, servers));
  const isFixed = [options.username, options.password, options.discovery].some((own) => own !== undefined);
  const { flags = "everfresh", splitLargeValues = false } = options;
  if (typeof splitLargeValues !== "boolean") throw bad("splitLargeValues is true or false");
  if (!Object.hasOwn(profiles, flags))
    throw bad(`flags is ${shown(flags)}; it is one of ${Object.keys(profiles).join(", ")}`);
  return Object.freeze<ResolvedOptions>({
    servers,
    plan,
    planFor(changed, present) {
      if (!namesOthers(changed, present.credentials)) return present;
      if (!isFixed) return planWith(credentialsOf({}, changed, "changeServers"));
      const instead = "make a new client, or one whose credentials are in the servers' URLs only";
      throw bad(`the client's own username and password (or discovery) stay; for others ${instead}`, "changeServers");
    },
    failover,
    discovery: discoveryOf(options),
    placement: placementOf(options.placement),
    timeoutMs: whole("timeoutMs", options.timeoutMs, 1000, 1, longestMs),
    connectTimeoutMs: whole("connectTimeoutMs", options.connectTimeoutMs, 1000, 1, longestMs),
    maxPending: whole("maxPending", options.maxPending, 16_384, 1, 10_000_000),
    connections: whole("connections", options.connections, 1, 1, 64),
    tls: tlsOf(options.tls),
    keepAliveMs: whole("keepAliveMs", options.keepAliveMs, 30_000, 0, longestMs),
    valueLimitBytes: whole("valueLimitBytes", options.valueLimitBytes, 64 * 2 ** 20, 1, longestValue),
    flags,
    splitLargeValues,
    compression: compressionOf(options.compression),
    backoff: { firstMs, longestMs: whole("backoff.longestMs", backoff.longestMs, 10_000, firstMs, longestMs) },
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  });
}

/** Credentials come as options or in the URLs of the servers; they must be whole, and the same for all. */
function credentialsOf(
  options: Pick<ClientOptions, "username" | "password">,
  servers: readonly ServerAddress[],
  where?: string,
): Credentials | undefined {
  const named = servers.find((server) => server.username !== undefined || server.password !== undefined);
  const username = options.username ?? named?.username;
  const password = options.password ?? named?.password;
  if (username === undefined && password === undefined) return undefined;
  if (typeof username !== "string" || username === "") throw bad("there is a password and no username", where);
  if (typeof password !== "string" || password === "") throw bad("there is a username and no password", where);
  if (/\0/.test(username + password)) throw bad("a username or password holds a zero byte", where);
  const differs = servers.some((server) => server.username !== undefined && server.username !== username);
  if (differs) throw bad("the servers' URLs name different users", where);
  // With a password among the options, theirs are not looked at.
  const others = options.password === undefined && servers.some((server) => (server.password ?? password) !== password);
  if (others) throw bad("the servers' URLs name different passwords", where);
  return { username, password };
}

/** Whether a list has a user or a password in it that is not `own`. */
function namesOthers(servers: readonly ServerAddress[], own: Credentials | undefined): boolean {
  return servers.some(
    ({ username = own?.username, password = own?.password }) =>
      username !== own?.username || password !== own?.password,
  );
}

function placementOf(asked: ClientOptions["placement"] = "ketama"): PlacementOptions {
  const resolved = typeof asked === "string" ? { kind: asked } : asked;
  onlyKnown("placement", resolved, ["kind", "hash"]);
  if (!["ketama", "ketama_weighted", "ketama_spy", "modula", "rendezvous"].includes(resolved.kind))
    throw bad("placement is ketama, ketama_weighted, ketama_spy, modula or rendezvous");
  if (resolved.hash !== undefined && !Object.hasOwn(hashes, resolved.hash))
    throw bad(`placement: hash is one of ${Object.keys(hashes).join(", ")}`);
  return resolved;
}

function discoveryOf({ discovery }: ClientOptions): ResolvedDiscovery | undefined {
  if (discovery === undefined) return undefined;
  onlyKnown("discovery", discovery, ["endpoint", "intervalMs"]);
  if (typeof discovery.endpoint !== "string") throw bad("discovery.endpoint is 'host:port'");
  const intervalMs = whole("discovery.intervalMs", discovery.intervalMs, 60_000, 1, longestMs);
  return { endpoint: parseServer(discovery.endpoint), intervalMs };
}

function tlsOf(tls: ClientOptions["tls"] = false): ConnectionOptions | undefined {
  if (typeof tls === "boolean") return tls ? {} : undefined;
  if (typeof tls !== "object" || tls === null) throw bad("tls is true, false or an object of Node's options");
  return tls;
}

function compressionOf(compression: ClientOptions["compression"] = false): CompressionOptions | undefined {
  if (typeof compression === "boolean") return compression ? {} : undefined;
  onlyKnown("compression", compression, ["aboveBytes", "method"]);
  const { aboveBytes, method } = compression;
  if (method !== undefined && !["zstd", "brotli", "deflate"].includes(method))
    throw bad("compression.method is zstd, brotli or deflate");
  return { ...compression, aboveBytes: whole("compression.aboveBytes", aboveBytes, 4096, 0, 2 ** 30) };
}

/** A name that nobody knows is a mistake in one that somebody does. */
function onlyKnown(option: string, value: object, names: readonly string[]): void {
  if (typeof value !== "object" || value === null) throw bad(`${option} is an object with ${names.join(" and ")}`);
  for (const name of Object.keys(value))
    if (!names.includes(name)) throw bad(`${option} has ${names.join(" and ")}, and no ${name}`);
}

function loginOf({ login = "auto" }: ClientOptions): "auto" | LoginName {
  if (!["auto", "sasl", "text", "memcachier"].includes(login)) throw bad("login is auto, sasl, text or memcachier");
  return login;
}

function whole(name: string, value: number | undefined, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback;
  if (!Number.isInteger(value) || value < least || value > most)
    throw bad(`${name} is ${shown(value)}; it is a whole number from ${least} to ${most}`);
  return value;
}

function bad(what: string, where = "createClient"): EverfreshError {
  return new EverfreshError("EF_OPTION", `${where}: ${what}.`);
}
