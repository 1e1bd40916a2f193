/**
 * memcached's flags for our server (`memcached -h`, 1.6.18): what they mean here, and which of them mean nothing.
 *
 * Flags that tune what our server does not have (threads, slabs, its LRU) are taken and named in a notice; flags that
 * would be a lie (no CAS, UDP, extstore, a proxy, a daemon) and unknown ones are refused.
 */
import { parseArgs } from "node:util";
import { EverfreshError } from "../errors.ts";
import type { ListenOptions, ServerOptions, User } from "../server/index.ts";

/** What the flags came to. */
export interface ServeOrder {
  readonly options: ServerOptions;
  readonly listen: readonly ListenOptions[];
  /** The file of users: `-Y`, or MEMCACHED_SASL_PWDB with `-S`. */
  readonly usersFile: string | undefined;
  /** Whether somebody must be made who can log in, because `-S` came without a file. */
  readonly makesUser: boolean;
  readonly itemsFile: string | undefined;
  readonly pidFile: string | undefined;
  readonly user: string | undefined;
  readonly verbosity: number;
  readonly ignored: readonly string[];
  readonly shows: "help" | "version" | undefined;
}

const text = { type: "string" } as const;
const yes = { type: "boolean" } as const;
const flags = {
  port: { ...text, short: "p" },
  "udp-port": { ...text, short: "U" },
  "unix-socket": { ...text, short: "s" },
  "unix-mask": { ...text, short: "a" },
  listen: { ...text, short: "l", multiple: true },
  "memory-limit": { ...text, short: "m" },
  "conn-limit": { ...text, short: "c" },
  "max-item-size": { ...text, short: "I" },
  "disable-evictions": { ...yes, short: "M" },
  verbose: { ...yes, short: "v", multiple: true },
  "enable-sasl": { ...yes, short: "S" },
  "auth-file": { ...text, short: "Y" },
  "enable-ssl": { ...yes, short: "Z" },
  protocol: { ...text, short: "B" },
  delimiter: { ...text, short: "D" },
  "disable-flush-all": { ...yes, short: "F" },
  "disable-dumping": { ...yes, short: "X" },
  "disable-watch": { ...yes, short: "W" },
  "enable-shutdown": { ...yes, short: "A" },
  "memory-file": { ...text, short: "e" },
  extended: { ...text, short: "o", multiple: true },
  "listen-backlog": { ...text, short: "b" },
  user: { ...text, short: "u" },
  pidfile: { ...text, short: "P" },
  "lock-memory": { ...yes, short: "k" },
  threads: { ...text, short: "t" },
  "slab-growth-factor": { ...text, short: "f" },
  "slab-min-size": { ...text, short: "n" },
  "enable-largepages": { ...yes, short: "L" },
  "enable-coredumps": { ...yes, short: "r" },
  "max-reqs-per-event": { ...text, short: "R" },
  help: { ...yes, short: "h" },
  version: { ...yes, short: "V" },
} as const;

/** Flags that our server has nothing to do with. */
const idle = [
  "lock-memory",
  "threads",
  "slab-growth-factor",
  "slab-min-size",
  "enable-largepages",
  "enable-coredumps",
  "max-reqs-per-event",
] as const;
const knownExtended = new Set([
  "idle_timeout",
  "ssl_chain_cert",
  "ssl_key",
  "ssl_ca_cert",
  "ssl_verify_mode",
  "ssl_min_version",
  "version",
]);
/** Extended options (`-o`) that our server has nothing to do with. */
const idleExtended = new Set(
  (
    "maxconns_fast no_maxconns_fast hashpower hash_algorithm slab_reassign no_slab_reassign slab_automove " +
    "no_slab_automove slab_chunk_max lru_crawler no_lru_crawler lru_crawler_sleep lru_crawler_tocrawl lru_maintainer " +
    "no_lru_maintainer hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor temporary_ttl track_sizes " +
    "no_track_sizes watcher_logbuf_size worker_logbuf_size read_buf_mem_limit modern no_modern no_hashexpand " +
    "drop_privileges no_drop_privileges tail_repair_time resp_obj_mem_limit ssl_wbuf_size ssl_session_cache"
  ).split(" "),
);

/** @throws EverfreshError `EF_OPTION` for flags that are unknown, refused or wrong */
export function readFlags(args: readonly string[], env: NodeJS.ProcessEnv): ServeOrder {
  const given = parse(args);
  const extended = readExtended(given.extended ?? []);
  if (given["udp-port"] !== undefined && given["udp-port"] !== "0") wrong("-U: UDP is not spoken here; use -U 0");
  const hasFile = given["auth-file"] !== undefined;
  const isSasl = given["enable-sasl"] === true;
  if (hasFile && isSasl) wrong("-S and -Y: users log in one way or the other");
  const usersFile = given["auth-file"] ?? (isSasl ? env["MEMCACHED_SASL_PWDB"] : undefined);
  const protocol = readProtocol(given.protocol);
  const idleSeconds = extended.get("idle_timeout");
  const version = extended.get("version");
  const options: ServerOptions = {
    limitBytes: number("-m", given["memory-limit"] ?? "64", 1, 4096) * 1024 * 1024,
    itemBytes: size("-I", given["max-item-size"] ?? "1m"),
    maxConnections: number("-c", given["conn-limit"] ?? "1024", 1),
    evicts: given["disable-evictions"] !== true,
    protocol,
    flushes: given["disable-flush-all"] !== true,
    dumps: given["disable-dumping"] !== true,
    watches: given["disable-watch"] !== true,
    shutdowns: given["enable-shutdown"] === true,
    ...(isSasl || hasFile ? { login: isSasl ? "sasl" : "text" } : {}),
    ...(version === undefined ? {} : { version }),
    ...(given.delimiter === undefined ? {} : { prefixDelimiter: given.delimiter }),
    ...(idleSeconds === undefined ? {} : { idleTimeout: { seconds: number("idle_timeout", idleSeconds, 0) } }),
  };
  return {
    options,
    listen: readPlaces(given, extended),
    usersFile,
    makesUser: isSasl && usersFile === undefined,
    itemsFile: given["memory-file"],
    pidFile: given.pidfile,
    user: given.user,
    verbosity: given.verbose?.length ?? 0,
    ignored: [
      ...idle.filter((flag) => given[flag] !== undefined).map((flag) => `-${flags[flag].short}`),
      ...[...extended.keys()].filter((name) => idleExtended.has(name)).map((name) => `-o ${name}`),
    ],
    shows: given.help === true ? "help" : given.version === true ? "version" : undefined,
  };
}

type Given = ReturnType<typeof parse>;

// oxlint-disable-next-line typescript/explicit-function-return-type -- the type is what parseArgs makes of the table
function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: false }).values;
  } catch (error) {
    throw new EverfreshError("EF_OPTION", error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function readExtended(given: readonly string[]): ReadonlyMap<string, string> {
  const extended = new Map<string, string>();
  for (const part of given.flatMap((list) => list.split(","))) {
    const [name = "", ...value] = part.split("=");
    if (!idleExtended.has(name) && !knownExtended.has(name)) wrong(`-o ${name}: no such option here`);
    extended.set(name, value.join("="));
  }
  return extended;
}

function readProtocol(given: string | undefined): "auto" | "text" | "binary" {
  if (given === undefined || given === "auto") return "auto";
  if (given === "ascii") return "text";
  return given === "binary" ? "binary" : wrong(`-B ${given}: auto, ascii or binary`);
}

/** Where to listen: -s, or -l and -p, each with TLS where -Z is given and the place is not `notls:`. */
function readPlaces(given: Given, extended: ReadonlyMap<string, string>): ListenOptions[] {
  const backlog = number("-b", given["listen-backlog"] ?? "1024", 1);
  if (given["unix-socket"] !== undefined) {
    const mask = given["unix-mask"] ?? "700";
    if (!/^[0-7]{3,4}$/.test(mask)) wrong(`-a ${mask}: an octal mask is needed, such as 700`);
    return [{ path: given["unix-socket"], mode: Number.parseInt(mask, 8), backlog }];
  }
  const tls = given["enable-ssl"] === true ? readTls(extended) : undefined;
  const defaultPort = number("-p", given.port ?? "11211", 0, 65_535);
  const places = (given.listen ?? ["127.0.0.1"]).flatMap((list) => list.split(","));
  return places.map((place) => {
    const isPlain = place.startsWith("notls:");
    const address = isPlain ? place.slice(6) : place;
    const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(address);
    const host = match?.[1] ?? match?.[2] ?? address;
    const port = match?.[3] === undefined ? defaultPort : number(`-l ${place}: port`, match[3], 0, 65_535);
    return { host, port, backlog, ...(tls === undefined || isPlain ? {} : { tls }) };
  });
}

function readTls(extended: ReadonlyMap<string, string>): NonNullable<ListenOptions["tls"]> {
  const certFile = extended.get("ssl_chain_cert");
  const keyFile = extended.get("ssl_key");
  if (certFile === undefined || keyFile === undefined) return wrong("-Z needs -o ssl_chain_cert=file,ssl_key=file");
  const caFile = extended.get("ssl_ca_cert");
  const verify = number("ssl_verify_mode", extended.get("ssl_verify_mode") ?? "0", 0);
  const version = extended.get("ssl_min_version") ?? "tlsv1.2";
  if (version !== "tlsv1.2" && version !== "tlsv1.3") wrong(`-o ssl_min_version=${version}: tlsv1.2 or tlsv1.3`);
  return {
    certFile,
    keyFile,
    ...(caFile === undefined ? {} : { caFile }),
    requestCert: verify > 0,
    rejectUnauthorized: verify >= 2,
    minVersion: version === "tlsv1.3" ? "TLSv1.3" : "TLSv1.2",
  };
}

/**
 * The users of a file, one `name:password` in each line. In a file of SASL a second colon ends the password and the
 * mechanism follows (memcached's sasl_defs.c); in a file of `-Y` the password may hold colons (authfile.c). Lines that
 * begin with # and empty ones are skipped. All users share one namespace, as memcached has only one.
 */
export function readUsers(content: string, file: string, login: ServerOptions["login"]): User[] {
  const users: User[] = [];
  for (const line of content.split(/\r?\n/)) {
    if (line === "" || line.startsWith("#")) continue;
    const [name = "", ...rest] = line.split(":");
    const password = login === "sasl" ? (rest[0] ?? "") : rest.join(":");
    if (name === "" || password === "") wrong(`${file}: each line is name:password`);
    users.push({ name, password, namespace: "shared" });
  }
  if (users.length === 0) wrong(`${file} names no user`);
  return users;
}

function number(flag: string, value: string, least: number, most = Infinity): number {
  const parsed = Number(value);
  if (/^\d+$/.test(value) && parsed >= least && parsed <= most) return parsed;
  return wrong(`${flag} ${value}: a whole number from ${least} ${most === Infinity ? "on" : `to ${most}`}`);
}

/** A size in bytes, or with k, m or g. */
function size(flag: string, value: string): number {
  const match = /^(\d+)([kmg]?)$/i.exec(value);
  const unit = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[match?.[2]?.toLowerCase() ?? ""];
  const bytes = match === null || unit === undefined ? 0 : Number(match[1]) * unit;
  if (bytes >= 1024 && bytes <= 1024 ** 3) return bytes;
  return wrong(`${flag} ${value}: a size such as 512k or 2m, from 1k to 1g`);
}

function wrong(message: string): never {
  throw new EverfreshError("EF_OPTION", message);
}
