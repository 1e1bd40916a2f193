/**
 * set, add, replace, append, prepend, cas (protocol.txt, "Storage commands").
 *
 *     <command> <key> <flags> <exptime> <bytes> [noreply] LF <data> CR LF
 *     cas <key> <flags> <exptime> <bytes> <cas unique> [noreply] LF <data> CR LF
 *
 * Unlike memcached 1.6.18 the data of a refused command is never taken for commands: where its length can be read it
 * is skipped, where it cannot the visitor is answered and sent away.
 */
import { type RequestLine, longestKey } from "../protocol/index.ts";
import { mode, outcome, type Mode, type Outcome } from "../store/index.ts";
import { answer } from "./answers.ts";
import type { Session } from "./session.ts";

/** Data longer than this is no data: memcached's INT_MAX - 2. */
const longestData = 0x7fff_ffff - 2;
export const CAS = 5;
const badFormat = "CLIENT_ERROR bad command line format";

const answers: Readonly<Partial<Record<Outcome, string>>> = {
  [outcome.stored]: "STORED",
  [outcome.notStored]: "NOT_STORED",
  [outcome.exists]: "EXISTS",
  [outcome.notFound]: "NOT_FOUND",
};

/** The mode of a storage command, `CAS` for cas, -1 for other commands. */
export function storageMode(line: RequestLine): number {
  switch (line.letter(0)) {
    case 115:
      return line.is(0, "set") ? mode.set : -1;
    case 97:
      return line.is(0, "add") ? mode.add : line.is(0, "append") ? mode.append : -1;
    case 114:
      return line.is(0, "replace") ? mode.replace : -1;
    case 112:
      return line.is(0, "prepend") ? mode.prepend : -1;
    case 99:
      return line.is(0, "cas") ? CAS : -1;
    default:
      return -1;
  }
}

/** Does a storage command whose line began at `lineStart`; `session.at` is behind the line. */
export function storeText(session: Session, how: number, lineStart: number): void {
  const { desk } = session;
  const { line } = desk;
  const fewest = how === CAS ? 6 : 5;
  if (line.words < fewest || line.words > fewest + 1) {
    answer(session, "ERROR");
    session.closing = true;
    return;
  }
  const silent = line.is(line.words - 1, "noreply");
  if (!line.integer(4) || line.number < 0 || line.number > longestData || line.halves.high !== 0) {
    answer(session, badFormat, silent);
    session.closing = true;
    return;
  }
  const length = line.number;
  const store = session.account?.store;
  if (store === undefined) return;
  const { draft } = store;
  const start = session.at;
  const lineIsRight = line.length(1) <= longestKey && line.unsigned(2);
  draft.flags = line.number | 0;
  const isRight = lineIsRight && line.integer(3);
  draft.expires = isRight ? store.seconds.expiry(line.number) : 0;
  draft.compares = how === CAS;
  if (!isRight || (how === CAS && !line.unsigned64(5))) {
    answer(session, badFormat, silent);
    session.swallows = length + 2;
    return;
  }
  draft.cas.high = line.halves.high;
  draft.cas.low = line.halves.low;
  draft.key = session.input;
  draft.keyStart = line.start[1] as number;
  draft.keyEnd = line.end[1] as number;
  draft.value = session.input;
  draft.valueStart = start;
  draft.valueEnd = start + length;
  const kind = how === CAS ? mode.set : (how as Mode);
  if (!store.fits(draft.keyEnd - draft.keyStart, draft.flags, length)) {
    tooLarge(session, kind === mode.set && how !== CAS);
    answer(session, "SERVER_ERROR object too large for cache", silent);
    session.swallows = length + 2;
    return;
  }
  if (session.end - start < length + 2) {
    session.at = lineStart;
    if (!session.awaits(start - lineStart + length + 2)) {
      session.at = start;
      session.swallows = length + 2;
      noRoom(session, kind === mode.set && how !== CAS);
      answer(session, "SERVER_ERROR out of memory storing object", silent);
    }
    return;
  }
  session.at = start + length + 2;
  desk.counters.cmd_set++;
  if (desk.journal !== undefined && !desk.journal.cut(session, line)) return;
  if (session.input[start + length] !== 13 || session.input[start + length + 1] !== 10) {
    answer(session, "CLIENT_ERROR bad data chunk", silent);
    return;
  }
  finish(session, kind, silent);
}

function finish(session: Session, how: Mode, silent: boolean): void {
  const { desk } = session;
  const { account } = session;
  if (account === undefined) return;
  const { draft } = account.store;
  draft.allowsStale = draft.chooses = draft.vivifies = draft.binaryKey = false;
  const result = account.canWrite ? account.store.put(how) : outcome.notStored;
  if (desk.detail !== undefined) desk.detail.set(draft.key, draft.keyStart, draft.keyEnd);
  if (desk.watch !== undefined) desk.watch.stored(session, draft, how, result);
  if (draft.compares) countCas(session, result);
  const line = answers[result];
  if (line === undefined) refuse(session, result, silent);
  else answer(session, line, silent);
}

/** What is counted of a cas, in every protocol. */
export function countCas(session: Session, result: Outcome): void {
  const { counters } = session.desk;
  if (result === outcome.stored) counters.cas_hits++;
  else if (result === outcome.notFound) counters.cas_misses++;
  else if (result === outcome.exists) counters.cas_badval++;
}

/** The value is too large to be stored; where it would have replaced one, the old one must not stay. */
export function tooLarge(session: Session, drops: boolean): void {
  session.desk.counters.store_too_large++;
  if (drops) dropOld(session);
}

/** There is no room to wait for the value; the same holds for the old one. */
export function noRoom(session: Session, drops: boolean): void {
  session.desk.counters.store_no_memory++;
  if (drops) dropOld(session);
}

function dropOld({ account }: Session): void {
  if (account === undefined || !account.canWrite) return;
  const { store } = account;
  const old = store.find(store.draft.key, store.draft.keyStart, store.draft.keyEnd);
  if (old !== 0) store.remove(old);
}

function refuse(session: Session, result: Outcome, silent: boolean): void {
  if (result === outcome.tooLarge) {
    session.desk.counters.store_too_large++;
    answer(session, "SERVER_ERROR object too large for cache", silent);
  } else {
    session.desk.counters.store_no_memory++;
    answer(session, "SERVER_ERROR out of memory storing object", silent);
  }
}
