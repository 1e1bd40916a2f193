/**
 * get, gets, gat, gats (protocol.txt, "Retrieval command").
 *
 *     get <key>*  |  gets <key>*  |  gat <exptime> <key>*  |  gats <exptime> <key>*
 *     VALUE <key> <flags> <bytes> [<cas unique>] ... END
 *
 * Keys are read one by one and answered at once, so a line may be as long as it likes, and may be interrupted when
 * nobody takes the answers.
 */
import { longestKey } from "../protocol/index.ts";
import { layout as at } from "../store/index.ts";
import type { Session } from "./session.ts";

/** The values of `Session.reading`. */
export const GET = 1;
export const GETS = 2;
export const GAT = 4;
export const GATS = 6;
/** Added when the rest of the line counts no more. */
const IGNORE = 8;

/** Begins to read keys from `session.at` on. */
export function startReading(session: Session, command: number): void {
  session.reading = command;
  session.keysRead = 0;
  session.markLength = session.desk.writer.length;
  session.markSent = session.desk.writer.sent;
}

/** Reads keys until the line ends, the input ends or nobody takes the answers. False: more input is needed. */
export function readKeys(session: Session): boolean {
  const { input, end } = session;
  while (!session.blocked) {
    let from = session.at;
    while (from < end && input[from] === 32) from++;
    let to = from;
    let byte = 0;
    while (to < end) {
      byte = input[to] as number;
      if (byte === 32 || byte === 10 || byte === 0) break;
      to++;
    }
    if (to === end && to - from <= longestKey + 1) {
      session.at = from;
      return false;
    }
    const stop = byte === 10 && to > from && input[to - 1] === 13 ? to - 1 : to;
    if (stop > from && session.reading < IGNORE) {
      if (stop - from > longestKey) refuse(session);
      else readKey(session, input, from, stop);
    }
    session.at = Math.min(to + 1, end);
    if (to < end && byte === 10) {
      finish(session);
      return true;
    }
    if (byte === 0) session.reading |= IGNORE;
    if (session.at >= end) return false;
  }
  return true;
}

function readKey(session: Session, key: Uint8Array, start: number, end: number): void {
  const { desk } = session;
  const { counters, writer } = desk;
  const store = session.account?.store;
  if (store === undefined) return;
  const command = session.reading;
  session.keysRead++;
  if (desk.detail !== undefined) desk.detail.get(key, start, end, store.find(key, start, end) !== 0);
  const item = store.find(key, start, end);
  if ((command & GAT) === 0) counters.cmd_get++;
  else counters.cmd_touch++;
  if (desk.watch !== undefined) desk.watch.fetched(session, key, start, end, item, store);
  if (item === 0) {
    if ((command & GAT) === 0) counters.get_misses++;
    else counters.touch_misses++;
    if (store.missed === "expired") counters.get_expired++;
    else if (store.missed === "flushed") counters.get_flushed++;
    return;
  }
  const { words } = store;
  if ((command & GAT) === 0) counters.get_hits++;
  else {
    counters.touch_hits++;
    if (session.account?.canWrite === true) words[item + at.EXPIRES] = session.readingExpires;
  }
  store.use(item);
  const length = words[item + at.LENGTH] as number;
  writer.open();
  writer.text("VALUE ");
  writer.piece(key, start, end);
  writer.byte(32);
  writer.number((words[item + at.FLAGS] as number) >>> 0);
  writer.byte(32);
  writer.number(length);
  if ((command & GETS) !== 0) {
    writer.byte(32);
    writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
  }
  writer.end();
  const value = store.valueStart(item);
  writer.value(store.bytes, value, value + length);
  writer.end();
}

function finish(session: Session): void {
  const { reading } = session;
  session.reading = 0;
  if (reading >= IGNORE && session.keysRead < 0) return;
  if (session.keysRead === 0 && reading !== GAT && reading !== GATS) session.desk.writer.line("ERROR");
  else session.desk.writer.line("END");
}

/** A key is too long: nothing of this command is answered but that, as far as it can be taken back. */
function refuse(session: Session): void {
  const { writer } = session.desk;
  if (writer.sent === session.markSent) writer.length = session.markLength;
  else session.closing = true;
  session.reading = IGNORE;
  session.keysRead = -1;
  writer.line("CLIENT_ERROR bad command line format");
}
