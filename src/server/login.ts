/**
 * Logging in by text, two ways that look alike:
 *
 *     set <any> <any> <any> <length> LF <user> SP <password> CR LF        memcached -Y (protocol.txt, "Authentication")
 *     set <user> <flags> <exptime> <length> LF <password> CR LF           MemCachier
 *
 * Nothing else is done for a visitor who has not logged in, and the tries are counted.
 */
import { answer } from "./answers.ts";
import type { Session } from "./session.ts";

/** No user and password are longer than this together. */
const longestLogin = 1024;
const longestLine = 2048;

/** Reads the next try; false when there is not enough of it yet. */
export function loginStep(session: Session): boolean {
  const { input, at, end, desk } = session;
  const { line } = desk;
  const stop = input.indexOf(10, at);
  if (stop < 0 || stop >= end) {
    if (end - at > longestLine) session.closing = true;
    return false;
  }
  line.cut(input, at, stop);
  const isSet = line.words >= 5 && line.is(0, "set") && line.integer(4);
  const length = line.number;
  if (!isSet || length < 0 || length > longestLogin) {
    session.at = stop + 1;
    refuse(session, "CLIENT_ERROR unauthenticated");
    return true;
  }
  const start = stop + 1;
  if (end - start < length + 2) {
    session.awaits(start - at + length + 2);
    return false;
  }
  session.at = start + length + 2;
  if (input[start + length] !== 13 || input[start + length + 1] !== 10) {
    refuse(session, "CLIENT_ERROR bad command line termination");
    return true;
  }
  const key = Buffer.from(line.text(1), "latin1").toString("utf8");
  const data = Buffer.from(input.subarray(start, start + length)).toString("utf8");
  const words = data.split(" ").filter((word) => word !== "");
  const account = desk.accounts.verify(key, data) ?? desk.accounts.verify(words[0] ?? "", words[1] ?? "");
  desk.counters.auth_cmds++;
  if (account !== undefined) {
    session.account = account;
    answer(session, "STORED");
    return true;
  }
  desk.counters.auth_errors++;
  const hasForm = words.length >= 2;
  refuse(session, `CLIENT_ERROR ${hasForm ? "authentication failure" : "bad authentication token format"}`);
  return true;
}

/** Answers, and sends the visitor away who has tried too often. */
function refuse(session: Session, line: string): void {
  answer(session, line);
  if (++session.loginAttempts >= session.desk.options.loginAttempts) session.closing = true;
}
