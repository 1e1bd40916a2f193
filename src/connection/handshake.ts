/**
 * What is said on a fresh connection before anybody's command: is somebody there, which protocol, which version.
 *
 * A server can accept a connection and be hung; only an answer proves that it lives. So every connection begins with
 * a question, whatever was configured.
 */
import { EverfreshError, isEverfreshError } from "../errors.ts";
import type { Verb } from "../protocol/index.ts";
import { Call } from "./call.ts";
import type { Connection } from "./connection.ts";
import { parseVersion } from "./version.ts";

/** Asks for the version, and whether the connection's protocol is understood. */
export async function greet(connection: Connection): Promise<void> {
  const version = question("version");
  // A server with SASL is silent about fewer than 24 bytes of text, and hangs up on more: so the question is made long.
  const hello = Array.from({ length: 4 }, () => question("noop"));
  connection.send([version, ...hello]);
  const answers = await Promise.allSettled([version.promise, ...hello.map((call) => call.promise)]);
  const [said, understood] = answers;
  if (said.status === "fulfilled") connection.version = parseVersion(said.value);
  else if (!isEverfreshError(said.reason, "EF_UNSUPPORTED")) throw said.reason;
  if (understood?.status === "rejected") throw understood.reason;
}

/** A call that belongs to the handshake, not to a caller; the time to connect is its deadline. */
export function question(verb: Verb, key = "", data?: string, argument?: string): Call<string> {
  const call = new Call<string>(
    verb,
    key,
    false,
    0,
    data,
    undefined,
    argument === undefined ? undefined : { argument },
    Infinity,
    undefined,
    false,
    (answer) => answer.text,
  );
  call.deadline = Infinity;
  return call;
}

/** What the failure of a handshake is to its callers: the server cannot be used. */
export function unusable(server: string, cause: unknown): EverfreshError {
  const why = cause instanceof Error ? cause.message : "it did not answer";
  const code =
    isEverfreshError(cause, "EF_AUTH") || isEverfreshError(cause, "EF_UNSUPPORTED") ? cause.code : "EF_SERVER_DOWN";
  return new EverfreshError(code, `The server cannot be used: ${why}`, { server, cause });
}
