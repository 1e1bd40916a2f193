/**
 * What is said on a fresh connection before anybody's command: is somebody there, which protocol, who are we.
 *
 * A server can accept a connection and be hung; only an answer proves that it lives. So every connection begins with
 * a question, whatever was configured.
 */
import { EverfreshError, isEverfreshError } from "../errors.ts";
import { plainKey, type Details, type ProtocolName, type Verb } from "../protocol/index.ts";
import { Call } from "./call.ts";
import type { Connection } from "./connection.ts";
import { parseVersion } from "./version.ts";

/** How credentials are shown: SASL PLAIN, memcached's `-Y`, MemCachier's text login. */
export type LoginName = "sasl" | "text" | "memcachier";

/** Who we are. Never part of an error, an event or a log line. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** One way to begin a connection. */
export interface Approach {
  readonly protocol: ProtocolName;
  readonly login: LoginName | undefined;
  /** Only find out whether the server asks for a login; the next approach logs in. */
  readonly probes?: boolean;
}

/** What may be tried, in which order, and whether a server that asks for nothing will do. */
export interface HandshakePlan {
  readonly approaches: readonly Approach[];
  readonly credentials: Credentials | undefined;
  readonly optional: boolean;
}

/**
 * Every way that the options allow, the likeliest first.
 *
 * With credentials, text logins are only tried by themselves after the server has refused the binary protocol: to a
 * server that asks for no password they would be an ordinary `set`, and the password would be stored. So it is asked
 * first for something that only those who are logged in get. MemCachier wants the login to be the first command, so its
 * servers are asked on a connection of its own.
 */
export function planHandshake(
  protocol: "auto" | ProtocolName,
  credentials: Credentials | undefined,
  login: "auto" | LoginName,
  optional: boolean,
): HandshakePlan {
  const spoken: readonly ProtocolName[] = protocol === "auto" ? ["meta", "text", "binary"] : [protocol];
  const ascii = spoken.filter((name) => name !== "binary");
  const open = spoken.map((name): Approach => ({ protocol: name, login: undefined }));
  if (credentials === undefined) return { approaches: open, credentials, optional };
  const approaches: Approach[] = [];
  if (login !== "text" && login !== "memcachier" && spoken.includes("binary"))
    approaches.push({ protocol: "binary", login: "sasl" });
  if (login === "auto" || login === "text")
    approaches.push(...ascii.map((name): Approach => ({ protocol: name, login: "text" })));
  if (login === "memcachier")
    for (const probes of [true, false])
      // A server that asks for no login may still not speak the first one.
      for (const name of probes && !optional ? ascii.slice(0, 1) : ascii)
        approaches.push({ protocol: name, login: "memcachier", probes });
  return { approaches: optional ? [...approaches, ...open] : approaches, credentials, optional };
}

/**
 * Logs in where that is asked for, then asks for the version and whether the protocol is understood.
 *
 * @throws EverfreshError `EF_UNSUPPORTED` when another approach may do, `EF_AUTH` when no other will
 */
export async function greet(
  connection: Connection,
  approach: Approach | undefined,
  { credentials, optional }: HandshakePlan,
): Promise<void> {
  if (approach?.login !== undefined && credentials !== undefined)
    await logIn(connection, approach.login, credentials, optional, approach.probes === true);
  const version = question("version");
  // A server with SASL is silent about fewer than 24 bytes of text, and hangs up on more: so the question is made long.
  const hello = Array.from({ length: 4 }, () => question("noop"));
  connection.send([version, ...hello]);
  const understood = Promise.all(hello.map((call) => call.promise));
  // It is awaited below; until then its failure is not an unhandled one.
  understood.catch(() => undefined);
  // The first refusal counts: after it a server may hang up, or fall silent.
  try {
    connection.version = parseVersion(await version.promise);
  } catch (error) {
    if (!isEverfreshError(error, "EF_UNSUPPORTED") || isFull(error)) throw error;
  }
  await understood;
}

/** memcached says `ERROR Too many open connections` to whoever comes next, and hangs up. */
function isFull(error: EverfreshError): boolean {
  return /too many/i.test(error.message);
}

/** What the failure of a greeting says about the server. */
export function fault(error: unknown, server: string): EverfreshError {
  if (!isEverfreshError(error))
    return new EverfreshError("EF_PROTOCOL", "The handshake failed.", { server, cause: error });
  return error.code === "EF_UNSUPPORTED" && isFull(error)
    ? new EverfreshError("EF_SERVER_DOWN", error.message, { server })
    : error;
}

async function logIn(
  connection: Connection,
  login: LoginName,
  who: Credentials,
  optional: boolean,
  probes: boolean,
): Promise<void> {
  const { server } = connection.epoch;
  if (login === "sasl") {
    // RFC 4616: authorisation identity (none), identity and password, with zero bytes between.
    const plain = question("sasl", "", Buffer.from(`\0${who.username}\0${who.password}`), { argument: "PLAIN" });
    connection.send([plain]);
    await plain.promise.catch((error: unknown) => {
      if (!isEverfreshError(error, "EF_UNSUPPORTED") || !/unknown command/i.test(error.message)) throw error;
      if (optional) return;
      throw new EverfreshError("EF_AUTH", "The server has no SASL; auth: 'optional' accepts that.", { server });
    });
    return;
  }
  if ((probes || login === "text") && !(await asksForLogin(connection, login))) {
    if (optional) return;
    throw new EverfreshError("EF_AUTH", "The server asks for no password; auth: 'optional' accepts that.", { server });
  }
  if (probes) throw new EverfreshError("EF_UNSUPPORTED", "The server asks for a login.", { server });
  // memcached's -Y takes "user password" under any key (protocol.txt, "Authentication"); MemCachier takes the user as key.
  const [key, value] =
    login === "text" ? ["login", `${who.username} ${who.password}`] : [plainKey(who.username), who.password];
  if (key === undefined)
    throw new EverfreshError("EF_AUTH", "The user name cannot be used for a text login.", { server });
  const call = question("login", key, Buffer.from(value));
  connection.send([call]);
  await call.promise.catch((error: unknown) => {
    // A new error each time: the old one names the key, which may be who we are.
    if (isEverfreshError(error, "EF_CONNECTION_LOST") || isEverfreshError(error, "EF_PROTOCOL"))
      throw new EverfreshError(error.code, error.message, { server });
    throw new EverfreshError("EF_AUTH", "The server refused the credentials.", { server });
  });
}

/** Whether a server refuses what is asked of it before a login; nothing secret is said. */
async function asksForLogin(connection: Connection, login: LoginName): Promise<boolean> {
  // Every memcached knows `get`, so whatever refuses it refuses the visitor. The batch is said in classic words.
  const probe = login === "text" ? question("version") : question("getMany", "", undefined, { keys: ["login"] });
  connection.send([probe]);
  try {
    await probe.promise;
    return false;
  } catch (error) {
    const refusals =
      login === "text" ? ["EF_AUTH"] : ["EF_AUTH", "EF_CLIENT_ERROR", "EF_SERVER_ERROR", "EF_UNSUPPORTED"];
    if (isEverfreshError(error) && refusals.includes(error.code) && !isFull(error)) return true;
    throw error;
  }
}

/** A call that belongs to the handshake, not to a caller; the time to connect is its deadline. */
export function question(verb: Verb, key = "", data?: Uint8Array, details?: Details): Call<string> {
  return new Call<string>(verb, key, false, 0, data, undefined, details, 0, undefined, false, (answer) => answer.text);
}

/** What the failure of a handshake is to its callers: the server cannot be used. */
export function unusable(server: string, cause: EverfreshError): EverfreshError {
  const told = cause.code === "EF_AUTH" || cause.code === "EF_UNSUPPORTED" || cause.code === "EF_SERVER_DOWN";
  return new EverfreshError(told ? cause.code : "EF_SERVER_DOWN", `The server cannot be used: ${cause.message}`, {
    server,
    cause,
  });
}
