/** Stat: one response for each number, and an empty one at the end. */
import { status } from "../protocol/index.ts";
import { fail, header, respond } from "./binary-reply.ts";
import type { Session } from "./session.ts";
import { type Statistic, statistics } from "./statistics.ts";

export function stat(session: Session): void {
  const { desk, input, account } = session;
  const { binary } = desk;
  const name = Buffer.from(input.subarray(binary.key, binary.value)).toString("latin1");
  if (account?.canStats !== true) {
    fail(session, status.authFailed);
    return;
  }
  if (name === "reset") {
    desk.resetNumbers();
    respond(session);
    return;
  }
  if (name.startsWith("detail ")) {
    detail(session, name.slice("detail ".length));
    return;
  }
  const group = statistics(session, name);
  if (group === undefined) {
    fail(session, status.notFound);
    return;
  }
  for (const statistic of group) one(session, statistic);
  respond(session);
}

/** `stats detail`, whose numbers are lines of text here, too. */
function detail(session: Session, what: string): void {
  const { desk } = session;
  if (desk.accounts.guest === undefined) return fail(session, status.authFailed);
  if (what === "on" || what === "off") desk.countPrefixes(what === "on");
  else if (what === "dump")
    one(session, ["detailed", [...(desk.prefixes?.dump() ?? []), "END"].map((line) => `${line}\r\n`).join("")]);
  else return fail(session, status.notFound);
  return respond(session);
}

function one(session: Session, [name, value]: Statistic): void {
  const { writer } = session.desk;
  const text = String(value);
  header(session, status.ok, name.length, 0, name.length + text.length, 0, 0);
  writer.text(name);
  writer.text(text);
}
