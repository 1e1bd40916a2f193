/** Delete, Increment, Decrement, Touch, GAT, Flush and their quiet forms. */
import { readUint32, status, writeDecimal } from "../protocol/index.ts";
import { layout as at, mode, outcome, type Store } from "../store/index.ts";
import { found, missing } from "./binary-get.ts";
import { fail, header, respond } from "./binary-reply.ts";
import type { Session } from "./session.ts";

/** An expiration that says: do not create what is missing. */
const dontCreate = -1;
const digits = new Uint8Array(20);

export function remove(session: Session): void {
  const { desk, account, input } = session;
  const { binary, counters } = desk;
  if (account === undefined) return;
  const { store } = account;
  desk.detail?.delete(input, binary.key, binary.value);
  const item = account.canWrite ? store.find(input, binary.key, binary.value) : 0;
  if (item === 0) {
    counters.delete_misses++;
    fail(session, status.notFound);
  } else if (!matches(session, store, item)) fail(session, status.exists);
  else {
    counters.delete_hits++;
    desk.watch?.deleted(session, item, store, "delete");
    store.remove(item);
    if (!desk.quiet) respond(session);
  }
}

/** Extras: delta (8), initial (8), expiration (4). */
export function arithmetic(session: Session): void {
  const { desk, account, input } = session;
  const { binary, counters } = desk;
  if (account === undefined) return;
  const { store } = account;
  const up = binary.opcode === 0x05 || binary.opcode === 0x15;
  const item = account.canWrite ? store.find(input, binary.key, binary.value) : 0;
  store.draft.chooses = false;
  if (item === 0) {
    const time = readUint32(input, binary.extras + 16);
    if (time !== dontCreate && account.canWrite) return create(session, store, store.seconds.expiry(time >>> 0));
    if (up) counters.incr_misses++;
    else counters.decr_misses++;
    return fail(session, status.notFound);
  }
  // An empty value is no number, whatever its CAS.
  const isEmpty = store.words[item + at.LENGTH] === 0;
  if (!isEmpty && !matches(session, store, item)) {
    fail(session, status.exists);
    return;
  }
  const result = store.count64(item, up, readUint32(input, binary.extras), readUint32(input, binary.extras + 4));
  if (result === outcome.nonNumeric) fail(session, status.nonNumeric);
  else if (result !== outcome.stored) fail(session, status.outOfMemory);
  else {
    if (up) counters.incr_hits++;
    else counters.decr_hits++;
    number(session, store);
  }
}

/** A number that is not there is created with the initial value; the delta is not applied to it. */
function create(session: Session, store: Store, expires: number): void {
  const { input } = session;
  const { binary } = session.desk;
  const { draft, counted } = store;
  counted.high = readUint32(input, binary.extras + 8);
  counted.low = readUint32(input, binary.extras + 12);
  draft.key = input;
  draft.keyStart = binary.key;
  draft.keyEnd = binary.value;
  draft.value = digits;
  draft.valueStart = 0;
  draft.valueEnd = writeDecimal(counted.high, counted.low, digits, 0);
  draft.flags = 0;
  draft.expires = expires;
  draft.compares = draft.allowsStale = draft.vivifies = draft.binaryKey = false;
  if (store.put(mode.add) === outcome.stored) number(session, store);
  else fail(session, status.outOfMemory);
}

function number(session: Session, store: Store): void {
  const { writer, quiet } = session.desk;
  if (quiet) return;
  const { words, last, counted } = store;
  header(session, status.ok, 0, 0, 8, words[last + at.CAS_HIGH] as number, words[last + at.CAS_LOW] as number);
  writer.uint32(counted.high);
  writer.uint32(counted.low);
}

/** Touch and the gets that touch. Extras: expiration (4). */
export function touch(session: Session): void {
  const { desk, account, input } = session;
  const { binary, counters, writer } = desk;
  if (account === undefined) return;
  const { store } = account;
  const item = account.canWrite ? store.find(input, binary.key, binary.value) : 0;
  desk.detail?.get(input, binary.key, binary.value, item !== 0);
  counters.cmd_touch++;
  if (item === 0) {
    counters.touch_misses++;
    missing(session);
    return;
  }
  counters.touch_hits++;
  const { words } = store;
  words[item + at.EXPIRES] = store.seconds.expiry(readUint32(input, binary.extras) >>> 0);
  if (binary.opcode !== 0x1c) {
    found(session, store, item);
    return;
  }
  store.use(item);
  header(session, status.ok, 0, 4, 4, words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
  writer.uint32(words[item + at.FLAGS] as number);
}

/** Extras: delay (4), or none. */
export function flush(session: Session): void {
  const { desk, account, input } = session;
  const { binary } = desk;
  desk.counters.cmd_flush++;
  if (account?.canFlush !== true || !desk.options.flushes) {
    fail(session, status.authFailed);
    return;
  }
  account.store.flush(binary.extrasLength === 4 ? readUint32(input, binary.extras) : 0);
  if (!desk.quiet) respond(session);
}

function matches(session: Session, store: Store, item: number): boolean {
  const { casHigh, casLow } = session.desk.binary;
  if (casHigh === 0 && casLow === 0) return true;
  return store.words[item + at.CAS_HIGH] === casHigh && store.words[item + at.CAS_LOW] === casLow;
}
