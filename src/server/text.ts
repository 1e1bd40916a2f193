/**
 * The classic text protocol: one line, perhaps a block of data, an answer (protocol.txt).
 *
 * Whoever reads memcached's proto_text.c will find its order here: what is checked first decides what is answered.
 */
import { answer } from "./answers.ts";
import { adminCommand } from "./admin.ts";
import { metaCommand } from "./meta.ts";
import type { Session } from "./session.ts";
import { arithmetic, remove, touch } from "./text-change.ts";
import { GAT, GATS, GET, GETS, readKeys, startReading } from "./text-get.ts";
import { storageMode, storeText } from "./text-store.ts";

/** A line this long without an end must be a get of many keys; anything else is no client of ours (memcached: 2048). */
const longestLine = 2048;
const G = 103;
const M = 109;

/** Does the next command; false when there is not enough of it yet. */
export function textStep(session: Session): boolean {
  if (session.reading !== 0) return readKeys(session);
  const { input, at, end } = session;
  let stop = at;
  const near = Math.min(end, at + 128);
  while (stop < near && input[stop] !== 10) stop++;
  if (stop === near && stop < end) {
    stop = input.indexOf(10, near);
    if (stop < 0 || stop >= end) stop = end;
  }
  if (stop === end) return longLine(session);
  const first = input[at];
  if (first === G && input[at + 1] === 101 && input[at + 2] === 116) {
    const next = input[at + 3];
    if (next === 32) return read(session, at + 4, GET);
    if (next === 115 && input[at + 4] === 32) return read(session, at + 5, GETS);
  }
  session.at = stop + 1;
  const { line } = session.desk;
  line.cut(input, at, stop);
  if (line.words === 0) answer(session, "ERROR");
  else if (line.length(0) === 2 && input[line.start[0] as number] === M) metaCommand(session, at);
  else command(session, at, stop);
  return true;
}

function read(session: Session, at: number, how: number): boolean {
  session.at = at;
  startReading(session, how);
  if (session.desk.journal !== undefined && !session.desk.journal.line(session, session.at)) return true;
  return readKeys(session);
}

/** No end of line yet: wait, unless it has become too long to be anything but a get. */
function longLine(session: Session): boolean {
  const { input, at, end } = session;
  if (end - at <= longestLine) return false;
  let from = at;
  while (from < end && input[from] === 32) from++;
  const isGet = input[from] === G && input[from + 1] === 101 && input[from + 2] === 116;
  if (from - at <= 100 && isGet && input[from + 3] === 32) return read(session, from + 4, GET);
  if (from - at <= 100 && isGet && input[from + 3] === 115 && input[from + 4] === 32)
    return read(session, from + 5, GETS);
  session.closing = true;
  return false;
}

function command(session: Session, lineStart: number, lineEnd: number): void {
  const { line } = session.desk;
  const how = storageMode(line);
  if (how >= 0) {
    storeText(session, how, lineStart);
    return;
  }
  const { words } = line;
  if (session.desk.journal !== undefined && !session.desk.journal.cut(session, line)) return;
  if (line.is(0, "delete")) {
    if (words < 2 || words > 4) answer(session, "ERROR");
    else remove(session);
  } else if (line.is(0, "incr") || line.is(0, "decr")) {
    if (words === 3 || words === 4) arithmetic(session, line.is(0, "incr"));
    else answer(session, "ERROR");
  } else if (line.is(0, "touch")) {
    if (words === 3 || words === 4) touch(session);
    else answer(session, "ERROR");
  } else if (line.is(0, "get") || line.is(0, "gets")) {
    // With spaces before the command, or without keys.
    if (words < 2) answer(session, "ERROR");
    else reread(session, line.is(0, "get") ? GET : GETS, 1, lineEnd);
  } else if (line.is(0, "gat") || line.is(0, "gats")) {
    if (words < 2) answer(session, "ERROR");
    else if (!line.integer(1)) answer(session, "CLIENT_ERROR invalid exptime argument");
    else {
      session.readingExpires = session.account?.store.seconds.expiry(line.number) ?? 0;
      reread(session, line.is(0, "gat") ? GAT : GATS, 2, lineEnd);
    }
  } else if (!adminCommand(session)) unknown(session);
}

/** No such command. Browsers are sent away at once, lest a web page make them speak memcached line by line. */
function unknown(session: Session): void {
  const { line } = session.desk;
  if (line.text(line.words - 1).startsWith("HTTP/")) session.closing = true;
  else answer(session, "ERROR");
}

/** Reads the keys of a line from word `word` on. */
function reread(session: Session, how: number, word: number, lineEnd: number): void {
  const { line } = session.desk;
  session.at = word < line.words ? (line.start[word] as number) : lineEnd;
  startReading(session, how);
}
