/**
 * Server lists as people write them, read into addresses.
 *
 *     host   host:port   host:port:weight   [v6]:port:weight   v6   /path/to.sock   unix:/path/to.sock
 *     memcached://host:port   memcacheds://host:port   a list of these, separated by commas or white space
 */
import { isIPv6 } from "node:net";
import { EverfreshError } from "../errors.ts";
import type { SocketAddress } from "../connection/index.ts";

/** memcached's own port. */
export const defaultPort = 11211;

/** One server of a list. */
export interface ServerAddress {
  /** `host:port` or `unix:/path`: how the server is called everywhere. */
  readonly name: string;
  readonly socket: SocketAddress;
  /** Its share of the keys, against the others. */
  readonly weight: number;
  /** Whether the list itself asks for TLS. */
  readonly secure: boolean;
  /** What libmemcached puts on its ring for this server: the port is left out where it is the default. */
  readonly ringName: string;
  readonly username?: string;
  readonly password?: string;
}

/** A server as an object, for lists that are not text. */
export interface ServerSpec {
  readonly host?: string | undefined;
  /** Default 11211. */
  readonly port?: number | undefined;
  /** A unix socket, instead of host and port. */
  readonly path?: string | undefined;
  /** Default 1. */
  readonly weight?: number | undefined;
}

/**
 * Reads a server list.
 *
 * @throws EverfreshError `EF_OPTION` for an empty list, for servers named twice and for what cannot be read
 */
export function parseServers(list: string | readonly (string | ServerSpec)[]): readonly ServerAddress[] {
  const parts = typeof list === "string" ? list.split(/[\s,]+/).filter((part) => part !== "") : list;
  if (!Array.isArray(parts)) throw bad('a text or a list, such as "10.0.0.1:11211,10.0.0.2:11211"');
  if (parts.length === 0) throw bad("the list of servers is empty");
  const servers = parts.map((part: string | ServerSpec) =>
    typeof part === "string" ? parseServer(part) : parseSpec(part),
  );
  const names = new Set(servers.map((server) => server.name));
  if (names.size !== servers.length) throw bad("a server is in the list twice");
  return servers;
}

/** Reads one server. */
export function parseServer(text: string): ServerAddress {
  if (text.startsWith("unix:")) return unixServer(text.slice(5).replace(/^\/\/(?=\/)/, ""));
  if (text.startsWith("/")) return unixServer(text);
  const url = /^(memcacheds?):\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?#]+)\/?$/.exec(text);
  if (url === null) {
    if (text.includes("://"))
      throw bad("a URL of a server begins with memcached:// or memcacheds:// and ends with the port");
    return tcpServer(text);
  }
  const [, scheme, username, password, place = ""] = url;
  // The zone of an address is written with %25 in a URL (RFC 6874).
  const server = tcpServer(place.replace("%25", "%"), "what a URL names");
  return {
    ...server,
    secure: scheme === "memcacheds",
    ...(username === undefined || username === "" ? {} : { username: decoded(username) }),
    ...(password === undefined ? {} : { password: decoded(password) }),
  };
}

/** Nothing of it gets into an error: it may be a password. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw bad("a user name or password in a URL has a % that is not written as %25");
  }
}

function parseSpec(spec: ServerSpec): ServerAddress {
  if (typeof spec !== "object" || spec === null) throw bad("a server is a text, or { host, port, weight } or { path }");
  for (const name of Object.keys(spec))
    if (!["host", "port", "path", "weight"].includes(name))
      throw bad(`a server has no ${name}; there are host, port, path, weight`);
  const { host, port = defaultPort, path, weight = 1 } = spec;
  if ((path === undefined) === (host === undefined)) throw bad("a server has either a host or a path");
  if (path !== undefined) return unixServer(path, weight);
  return makeTcp(host ?? "", port, weight);
}

/** @param shown how errors call it: where a comma in a password has cut a URL in two, its beginning looks like a place */
function tcpServer(text: string, shown = JSON.stringify(text)): ServerAddress {
  if (isIPv6(text)) return makeTcp(text, defaultPort, 1);
  // A password may have strayed in here; it must not get into an error, nor into the name of a server.
  if (text.includes("@"))
    throw bad("a server with a user name is written as a memcached:// URL, with %40 for an @ in name or password");
  const match = /^(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?(?::(\d{1,7}))?$/.exec(text);
  if (match === null) throw bad(`${shown} is not host, host:port, host:port:weight or [v6]:port:weight`);
  const [, v6, host, port, weight] = match;
  if (v6 !== undefined && !isIPv6(v6)) throw bad(`${JSON.stringify(v6)} is not an IPv6 address`);
  return makeTcp(
    v6 ?? host ?? "",
    port === undefined ? defaultPort : Number(port),
    weight === undefined ? 1 : Number(weight),
  );
}

function makeTcp(host: string, port: number, weight: number): ServerAddress {
  // It may hold a password, so it is not shown.
  if (!isIPv6(host) && !/^[^\s\0/@:;,?#[\]\\]+$/.test(host))
    throw bad("a host is a name or an address alone, without a port, a user or another host");
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw bad(`${port} is not a port: it is from 1 to 65535`);
  const shown = host.includes(":") ? `[${host}]` : host;
  return {
    name: `${shown}:${port}`,
    socket: { kind: "tcp", host, port },
    weight: checkedWeight(weight),
    secure: false,
    ringName: port === defaultPort ? host : `${host}:${port}`,
  };
}

function unixServer(path: string, weight = 1): ServerAddress {
  if (!path.startsWith("/")) throw bad("the path of a unix socket is absolute");
  return {
    name: `unix:${path}`,
    socket: { kind: "unix", path },
    weight: checkedWeight(weight),
    secure: false,
    // libmemcached gives unix sockets port 0, which is not the default.
    ringName: `${path}:0`,
  };
}

function checkedWeight(weight: number): number {
  if (!Number.isInteger(weight) || weight < 1) throw bad(`${weight} is not a weight: it is a whole number from 1 on`);
  return weight;
}

function bad(what: string): EverfreshError {
  return new EverfreshError("EF_OPTION", `servers: ${what}`);
}
