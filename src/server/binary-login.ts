/**
 * SASL PLAIN (RFC 4616) in the binary protocol: list the mechanisms, say who you are.
 *
 *     key = "PLAIN"    value = [authorization] NUL user NUL password
 */
import { status } from "../protocol/index.ts";
import { fail, respond } from "./binary-reply.ts";
import type { Session } from "./session.ts";

const mechanism = "PLAIN";

export function mechanisms(session: Session): void {
  respond(session, Buffer.from(mechanism));
}

export function authenticate(session: Session): void {
  const { desk, input } = session;
  const { binary, counters } = desk;
  counters.auth_cmds++;
  const chosen = Buffer.from(input.subarray(binary.key, binary.value)).toString("latin1");
  const parts = Buffer.from(input.subarray(binary.value, binary.end)).toString("utf8").split("\0");
  const [, user = "", password = ""] = parts;
  const isPlain = chosen === mechanism && parts.length === 3 && binary.opcode === 0x21;
  const account = isPlain ? desk.accounts.verify(user, password) : undefined;
  if (account !== undefined) {
    session.account = account;
    respond(session, Buffer.from("Authenticated"));
    return;
  }
  counters.auth_errors++;
  session.account = undefined;
  fail(session, status.authFailed);
  if (++session.loginAttempts >= desk.options.loginAttempts) session.closing = true;
}
