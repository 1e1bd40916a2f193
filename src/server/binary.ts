/**
 * The binary protocol (protocol-binary.txt): which command it is, whether it is well formed, and what it does.
 *
 * A malformed request is answered with 4 and the visitor sent away, as memcached does it. An unknown opcode is answered
 * with 0x81 and its body skipped; memcached 1.6.18 skips it twice and loses its place.
 */
import { binaryHeader, longestKey, status } from "../protocol/index.ts";
import { arithmetic, flush, remove, touch } from "./binary-change.ts";
import { read } from "./binary-get.ts";
import { fail, respond } from "./binary-reply.ts";
import { authenticate, mechanisms } from "./binary-login.ts";
import { stat } from "./binary-stat.ts";
import { refuseUpload, store } from "./binary-store.ts";
import type { Session } from "./session.ts";

/** How a request must be formed. */
interface Form {
  /** The name of its text twin, for journals. */
  readonly name: string;
  /** The lengths that its extras may have. */
  readonly extras: readonly number[];
  readonly key: "required" | "optional" | "none";
  readonly value: boolean;
  readonly quiet: boolean;
  readonly run: (session: Session) => void;
  /** Whether a visitor who has not logged in may ask for it. */
  readonly open?: true;
}

type Run = Form["run"];
const keyed = (name: string, extras: readonly number[], value: boolean, run: Run, quiet = false): Form => ({
  name,
  extras,
  key: "required",
  value,
  quiet,
  run,
});
const plain = (name: string, run: Run, quiet = false, extras: readonly number[] = [0]): Form => ({
  name,
  extras,
  key: "none",
  value: false,
  quiet,
  run,
});

/** By opcode (protocol_binary.h). */
const forms: readonly (Form | undefined)[] = formTable([
  [0x00, keyed("get", [0], false, read)],
  [0x09, keyed("get", [0], false, read, true)],
  [0x0c, keyed("get", [0], false, read)],
  [0x0d, keyed("get", [0], false, read, true)],
  [0x01, keyed("set", [8], true, store)],
  [0x11, keyed("set", [8], true, store, true)],
  [0x02, keyed("add", [8], true, store)],
  [0x12, keyed("add", [8], true, store, true)],
  [0x03, keyed("replace", [8], true, store)],
  [0x13, keyed("replace", [8], true, store, true)],
  [0x0e, keyed("append", [0], true, store)],
  [0x19, keyed("append", [0], true, store, true)],
  [0x0f, keyed("prepend", [0], true, store)],
  [0x1a, keyed("prepend", [0], true, store, true)],
  [0x04, keyed("delete", [0], false, remove)],
  [0x14, keyed("delete", [0], false, remove, true)],
  [0x05, keyed("incr", [20], false, arithmetic)],
  [0x15, keyed("incr", [20], false, arithmetic, true)],
  [0x06, keyed("decr", [20], false, arithmetic)],
  [0x16, keyed("decr", [20], false, arithmetic, true)],
  [0x1c, keyed("touch", [4], false, touch)],
  [0x1d, keyed("gat", [4], false, touch)],
  [0x1e, keyed("gat", [4], false, touch, true)],
  [0x23, keyed("gat", [4], false, touch)],
  [0x24, keyed("gat", [4], false, touch, true)],
  [0x07, plain("quit", quit)],
  [0x17, plain("quit", quit, true)],
  [0x08, plain("flush_all", flush, false, [0, 4])],
  [0x18, plain("flush_all", flush, true, [0, 4])],
  [0x0a, plain("mn", (session) => respond(session))],
  [0x0b, { ...plain("version", version), open: true }],
  [0x10, { ...keyed("stats", [0], false, stat), key: "optional" }],
  [0x20, { ...plain("sasl list", mechanisms), open: true }],
  [0x21, { ...keyed("sasl auth", [0], true, authenticate), open: true }],
  [0x22, { ...keyed("sasl step", [0], true, authenticate), open: true }],
]);

/** Does the next request; false when there is not enough of it yet. */
export function binaryStep(session: Session): boolean {
  const { desk, input, at, end } = session;
  const { binary } = desk;
  if (end - at < binaryHeader) return false;
  if (!binary.read(input, at)) {
    session.closing = true;
    return true;
  }
  const form = forms[binary.opcode];
  if (session.account === undefined && form?.open !== true) return refuse(session, status.authFailed);
  if (binary.keyLength + binary.extrasLength > binary.bodyLength) return refuse(session, status.unknown);
  if (form === undefined || (desk.accounts.guest !== undefined && form.open === true && binary.opcode >= 0x20)) {
    session.at = at + binaryHeader;
    session.swallows = binary.bodyLength;
    fail(session, status.unknown);
    return true;
  }
  if (!isWellFormed(session, form)) return refuse(session, status.invalid);
  desk.quiet = form.quiet;
  if (session.account !== undefined && form.run === store && isTooLarge(session)) {
    session.at = at + binaryHeader + binary.extrasLength + binary.keyLength;
    session.swallows = binary.end - session.at;
    store(session);
    return true;
  }
  if (end - at < binaryHeader + binary.bodyLength) return waitFor(session, binaryHeader + binary.bodyLength);
  session.at = binary.end;
  if (desk.journal !== undefined) {
    const key = input.subarray(binary.key, binary.value);
    if (!desk.journal.binary(session, form.name, key)) return true;
  }
  form.run(session);
  return true;
}

function formTable(entries: readonly (readonly [opcode: number, form: Form])[]): readonly (Form | undefined)[] {
  const table: (Form | undefined)[] = Array.from({ length: 256 });
  for (const [opcode, form] of entries) table[opcode] = form;
  return table;
}

function isWellFormed(session: Session, form: Form): boolean {
  const { binary } = session.desk;
  if (binary.keyLength > longestKey || !form.extras.includes(binary.extrasLength)) return false;
  if (form.key === "required" && binary.keyLength === 0) return false;
  if (form.key === "none" && binary.keyLength > 0) return false;
  return form.value || binary.valueLength === 0;
}

/** Whether the value is not worth waiting for; the key and extras must be there to say so. */
function isTooLarge(session: Session): boolean {
  const { binary } = session.desk;
  if (session.end < binary.value) return false;
  return session.account?.store.fits(binary.keyLength, 0, binary.valueLength) === false;
}

function waitFor(session: Session, bytes: number): boolean {
  const { binary } = session.desk;
  const isTooMuch = session.account === undefined && bytes > 4096;
  if (!isTooMuch && session.awaits(bytes)) return false;
  if (session.end < binary.value || isTooMuch) return refuse(session, status.invalid);
  refuseUpload(session);
  session.at = binary.value;
  session.swallows = binary.end - binary.value;
  return true;
}

function refuse(
  session: Session,
  why: typeof status.authFailed | typeof status.unknown | typeof status.invalid,
): boolean {
  fail(session, why);
  session.closing = true;
  return true;
}

function quit(session: Session): void {
  if (!session.desk.quiet) respond(session);
  session.closing = true;
}

function version(session: Session): void {
  const text = Buffer.from(session.desk.options.version, "latin1");
  respond(session, text);
}
