/** md and ma: delete or invalidate, count up or down. */
import { writeDecimal } from "../protocol/index.ts";
import { layout as at, mode, outcome, type Store } from "../store/index.ts";
import { answer } from "./answers.ts";
import { echo, hasLongOpaque, key, opaque, ttl } from "./meta-reply.ts";
import type { Session } from "./session.ts";

const badFlags = "CLIENT_ERROR invalid or duplicate flag";
const opaqueTooLong = "CLIENT_ERROR opaque token too long";
/** Digits of the largest counter. */
const number = new Uint8Array(20);

/** md <key> <flags>*: with `I` the item stays, marked stale; with `x` it stays without its value (memcached 1.6.27). */
export function metaDelete(session: Session): void {
  const { desk, account } = session;
  const { line, meta, counters } = desk;
  if (meta.read(line, 2) !== undefined) return answer(session, badFlags);
  if (hasLongOpaque(session, 2)) return answer(session, opaqueTooLong);
  if (account === undefined) return undefined;
  const { store } = account;
  desk.detail?.delete(meta.key, meta.keyStart, meta.keyEnd);
  let item = account.canWrite ? store.find(meta.key, meta.keyStart, meta.keyEnd) : 0;
  if (item === 0) {
    counters.delete_misses++;
    return status(session, "NF");
  }
  if (meta.compares && !hasCas(store, item, session)) {
    counters.delete_misses++;
    return status(session, "EX");
  }
  chooseCas(session, store);
  if (meta.drops) {
    if (!meta.chooses) keepCas(store, item);
    store.dropValue(item, meta.clientFlags, store.seconds.expiry(meta.ttl));
    item = store.last;
    if (item === 0) return answer(session, "SERVER_ERROR out of memory");
    store.draft.chooses = meta.chooses;
  }
  if (meta.invalidates) {
    if (meta.hasTtl) store.words[item + at.EXPIRES] = store.seconds.expiry(meta.ttl);
    store.invalidate(item);
  } else {
    counters.delete_hits++;
    if (!meta.drops) {
      desk.watch?.deleted(session, item, store, "md");
      store.remove(item);
    }
  }
  return meta.quiet ? undefined : status(session, "HD");
}

/** ma <key> <flags>*: with `N` a missing number is created. */
export function metaArithmetic(session: Session): void {
  const { desk, account } = session;
  const { line, meta, counters } = desk;
  if (meta.read(line, 2) !== undefined) return answer(session, badFlags);
  const up = meta.mode === 0 || meta.mode === 73 || meta.mode === 43; // I +
  if (!up && meta.mode !== 68 && meta.mode !== 45) return answer(session, "CLIENT_ERROR invalid mode for ma M token");
  if (hasLongOpaque(session, 2)) return answer(session, opaqueTooLong);
  if (account === undefined) return undefined;
  const { store } = account;
  const item = account.canWrite ? store.find(meta.key, meta.keyStart, meta.keyEnd) : 0;
  chooseCas(session, store);
  if (item === 0) {
    if (meta.vivifies && account.canWrite) return create(session, store);
    if (up) counters.incr_misses++;
    else counters.decr_misses++;
    return status(session, "NF");
  }
  // An empty value is no number, whatever its CAS.
  const isEmpty = store.words[item + at.LENGTH] === 0;
  const comparesCas = !isEmpty && meta.compares && (meta.cas.high !== 0 || meta.cas.low !== 0);
  if (comparesCas && !hasCas(store, item, session)) return status(session, "EX");
  const result = store.count64(item, up, meta.delta.high, meta.delta.low);
  if (result === outcome.nonNumeric)
    return answer(session, "CLIENT_ERROR cannot increment or decrement non-numeric value");
  if (result !== outcome.stored) return answer(session, "SERVER_ERROR out of memory");
  if (up) counters.incr_hits++;
  else counters.decr_hits++;
  return counted(session, store, false, meta.quiet);
}

/** The number that `J` names, 0 by default; the delta is not applied to it. */
function create(session: Session, store: Store): void {
  const { meta } = session.desk;
  const { draft } = store;
  draft.key = meta.key;
  draft.keyStart = meta.keyStart;
  draft.keyEnd = meta.keyEnd;
  draft.value = number;
  draft.valueStart = 0;
  draft.valueEnd = writeDecimal(meta.initial.high, meta.initial.low, number, 0);
  draft.flags = 0;
  draft.expires = 0;
  draft.compares = draft.allowsStale = draft.vivifies = false;
  draft.binaryKey = meta.binaryKey;
  if (store.put(mode.add) !== outcome.stored) return answer(session, "SERVER_ERROR Out of memory allocating new item");
  store.counted.high = meta.initial.high;
  store.counted.low = meta.initial.low;
  return counted(session, store, true, false);
}

function counted(session: Session, store: Store, created: boolean, silent: boolean): void {
  const { line, meta, writer } = session.desk;
  const { words, counted: result, last: item } = store;
  const length = writeDecimal(result.high, result.low, number, 0);
  const before = writer.length;
  writer.open();
  const start = writer.length === 0 ? 0 : before;
  if (meta.value) {
    writer.text("VA ");
    writer.number(length);
  } else writer.text("HD");
  for (let word = 2; word < line.words; word++) {
    switch (line.letter(word)) {
      case 99: // c
        writer.flag(99);
        writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
        break;
      case 116: // t
        ttl(session, store, item);
        break;
      case 84: // T
        words[item + at.EXPIRES] = store.seconds.expiry(meta.ttl);
        break;
      case 78: // N
        if (created) words[item + at.EXPIRES] = store.seconds.expiry(meta.vivifyTtl);
        break;
      case 79: // O
        opaque(session, word);
        break;
      case 107: // k
        key(session, meta.key, meta.keyStart, meta.keyEnd, meta.binaryKey);
        break;
      default:
    }
  }
  writer.end();
  if (meta.value) {
    writer.piece(number, 0, length);
    writer.end();
  }
  if (silent) writer.length = start;
}

/** A status and the tokens that are always echoed. */
function status(session: Session, code: string): void {
  const { writer } = session.desk;
  writer.open();
  writer.text(code);
  echo(session, 2);
  writer.end();
}

function hasCas(store: Store, item: number, session: Session): boolean {
  const { cas } = session.desk.meta;
  return store.words[item + at.CAS_HIGH] === cas.high && store.words[item + at.CAS_LOW] === cas.low;
}

function chooseCas(session: Session, store: Store): void {
  const { meta } = session.desk;
  const { draft } = store;
  draft.chooses = meta.chooses;
  draft.newCas.high = meta.newCas.high;
  draft.newCas.low = meta.newCas.low;
}

/** The item that takes the place of `item` keeps its CAS. */
function keepCas(store: Store, item: number): void {
  const { draft, words } = store;
  draft.chooses = true;
  draft.newCas.high = words[item + at.CAS_HIGH] as number;
  draft.newCas.low = words[item + at.CAS_LOW] as number;
}
