/** delete, incr, decr, touch (protocol.txt, "Deletion", "Increment/Decrement", "Touch"). */
import { longestKey } from "../protocol/index.ts";
import { layout as at, outcome } from "../store/index.ts";
import { answer } from "./answers.ts";
import type { Session } from "./session.ts";

const badFormat = "CLIENT_ERROR bad command line format";

/** delete <key> [0] [noreply] */
export function remove(session: Session): void {
  const { line, counters, detail, watch } = session.desk;
  const silent = line.words > 2 && line.is(line.words - 1, "noreply");
  if (line.words > 2) {
    const isZero = line.is(2, "0");
    const isRight = (line.words === 3 && (isZero || silent)) || (line.words === 4 && isZero && silent);
    if (!isRight) return answer(session, `${badFormat}.  Usage: delete <key> [noreply]`, silent);
  }
  if (line.length(1) > longestKey) return answer(session, badFormat, silent);
  const { account } = session;
  if (account === undefined) return undefined;
  const start = line.start[1] as number;
  const end = line.end[1] as number;
  detail?.delete(line.bytes, start, end);
  const item = account.canWrite ? account.store.find(line.bytes, start, end) : 0;
  if (item === 0) {
    counters.delete_misses++;
    return answer(session, "NOT_FOUND", silent);
  }
  counters.delete_hits++;
  watch?.deleted(session, item, account.store, "delete");
  account.store.remove(item);
  return answer(session, "DELETED", silent);
}

/** incr|decr <key> <delta> [noreply] */
export function arithmetic(session: Session, up: boolean): void {
  const { line, counters, writer } = session.desk;
  const silent = line.is(line.words - 1, "noreply");
  if (line.length(1) > longestKey) return answer(session, badFormat, silent);
  if (!line.unsigned64(2)) return answer(session, "CLIENT_ERROR invalid numeric delta argument", silent);
  const { account } = session;
  if (account === undefined) return undefined;
  const { store } = account;
  const item = account.canWrite ? store.find(line.bytes, line.start[1] as number, line.end[1] as number) : 0;
  if (item === 0) {
    if (up) counters.incr_misses++;
    else counters.decr_misses++;
    return answer(session, "NOT_FOUND", silent);
  }
  store.draft.chooses = false;
  const result = store.count64(item, up, line.halves.high, line.halves.low);
  if (result === outcome.nonNumeric)
    return answer(session, "CLIENT_ERROR cannot increment or decrement non-numeric value", silent);
  if (result !== outcome.stored) return answer(session, "SERVER_ERROR out of memory", silent);
  if (up) counters.incr_hits++;
  else counters.decr_hits++;
  if (silent) return undefined;
  writer.open();
  writer.decimal(store.counted.high, store.counted.low);
  writer.end();
  return undefined;
}

/** touch <key> <exptime> [noreply] */
export function touch(session: Session): void {
  const { line, counters } = session.desk;
  const silent = line.is(line.words - 1, "noreply");
  if (line.length(1) > longestKey) return answer(session, badFormat, silent);
  if (!line.integer(2)) return answer(session, "CLIENT_ERROR invalid exptime argument", silent);
  const { account } = session;
  if (account === undefined) return undefined;
  const { store } = account;
  counters.cmd_touch++;
  const item = account.canWrite ? store.find(line.bytes, line.start[1] as number, line.end[1] as number) : 0;
  if (item === 0) {
    counters.touch_misses++;
    return answer(session, "NOT_FOUND", silent);
  }
  counters.touch_hits++;
  store.words[item + at.EXPIRES] = store.seconds.expiry(line.number);
  store.use(item);
  return answer(session, "TOUCHED", silent);
}
