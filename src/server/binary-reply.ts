/** Binary responses: 24 bytes of header, then extras, key and value (protocol-binary.txt, "Response header"). */
import { type Status, responseMagic, status } from "../protocol/index.ts";
import type { Session } from "./session.ts";

const texts: Readonly<Record<Status, string>> = {
  [status.ok]: "",
  [status.notFound]: "Not found",
  [status.exists]: "Data exists for key.",
  [status.tooLarge]: "Too large.",
  [status.invalid]: "Invalid arguments",
  [status.notStored]: "Not stored.",
  [status.nonNumeric]: "Non-numeric server-side value for incr or decr",
  [status.authFailed]: "Auth failure.",
  [status.unknown]: "Unknown command",
  [status.outOfMemory]: "Out of memory",
};

/** Writes the header of an answer to `desk.binary`; the body must follow. */
export function header(
  session: Session,
  code: Status,
  keyLength: number,
  extrasLength: number,
  bodyLength: number,
  casHigh: number,
  casLow: number,
): void {
  const { writer, binary } = session.desk;
  writer.open();
  writer.byte(responseMagic);
  writer.byte(binary.opcode);
  writer.byte(keyLength >>> 8);
  writer.byte(keyLength);
  writer.byte(extrasLength);
  writer.byte(0);
  writer.byte(code >>> 8);
  writer.byte(code);
  writer.uint32(bodyLength);
  writer.uint32(binary.opaque);
  writer.uint32(casHigh);
  writer.uint32(casLow);
}

/** Success, with a value or without. */
export function respond(session: Session, value?: Uint8Array): void {
  header(session, status.ok, 0, 0, value?.length ?? 0, 0, 0);
  if (value !== undefined) session.desk.writer.value(value, 0, value.length);
}

/** Failure, in a number and in words. */
export function fail(session: Session, code: Exclude<Status, 0>): void {
  const text = texts[code];
  header(session, code, 0, 0, text.length, 0, 0);
  session.desk.writer.text(text);
}
