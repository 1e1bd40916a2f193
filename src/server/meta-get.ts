/**
 * mg: read, and more than read.
 *
 * On a miss, `N` creates an empty item for the one caller that gets W. A stale item gives W to its first reader, Z to
 * the others, X to all. `C` with `v` (memcached 1.6.40) leaves the value out if it is still the one with that CAS.
 */
import { layout as at, mode, outcome, type Store } from "../store/index.ts";
import { answer } from "./answers.ts";
import { echo, hasLongOpaque, itemKey, opaque, ttl } from "./meta-reply.ts";
import type { Session } from "./session.ts";

const nothing = new Uint8Array(0);

export function metaGet(session: Session): void {
  const { desk, account } = session;
  const { line, meta, counters, writer } = desk;
  const error = meta.read(line, 2);
  if (error !== undefined) return answer(session, error);
  if (account === undefined) return undefined;
  const { store } = account;
  let item = store.find(meta.key, meta.keyStart, meta.keyEnd);
  desk.detail?.get(meta.key, meta.keyStart, meta.keyEnd, item !== 0);
  desk.watch?.fetched(session, meta.key, meta.keyStart, meta.keyEnd, item, store);
  if (item === 0) countMiss(session, store);
  const created = item === 0 && meta.vivifies && account.canWrite;
  if (created) item = vivify(session, store);
  if (hasLongOpaque(session, 2)) return answer(session, "CLIENT_ERROR opaque token too long");
  if (item === 0) {
    if (meta.quiet) return undefined;
    writer.open();
    writer.text("EN");
    echo(session, 2);
    return writer.end();
  }
  if (!created) {
    if (meta.hasTtl) counters.touch_hits++;
    else counters.get_hits++;
  }
  if (meta.hasTtl) counters.cmd_touch++;
  else counters.cmd_get++;
  return hit(session, store, item, created);
}

function countMiss(session: Session, store: Store): void {
  const { counters, meta } = session.desk;
  if (store.missed === "expired") counters.get_expired++;
  else if (store.missed === "flushed") counters.get_flushed++;
  if (meta.vivifies) return;
  counters.cmd_get++;
  counters.get_misses++;
}

/** An empty item for the caller to fill; 0 when there is no memory for it. */
function vivify(session: Session, store: Store): number {
  const { meta } = session.desk;
  const { draft } = store;
  draft.key = meta.key;
  draft.keyStart = meta.keyStart;
  draft.keyEnd = meta.keyEnd;
  draft.value = nothing;
  draft.valueStart = draft.valueEnd = 0;
  draft.flags = 0;
  // `N` is obeyed in its turn among the flags: a `t` before it answers -1.
  draft.expires = 0;
  draft.compares = draft.allowsStale = draft.vivifies = false;
  draft.chooses = meta.chooses;
  draft.newCas.high = meta.newCas.high;
  draft.newCas.low = meta.newCas.low;
  draft.binaryKey = meta.binaryKey;
  return store.put(mode.set) === outcome.stored ? store.last : 0;
}

function hit(session: Session, store: Store, item: number, created: boolean): void {
  const { meta, writer } = session.desk;
  const { words } = store;
  const length = words[item + at.LENGTH] as number;
  const isKnown =
    meta.compares && words[item + at.CAS_HIGH] === meta.cas.high && words[item + at.CAS_LOW] === meta.cas.low;
  const sendsValue = meta.value && !isKnown;
  writer.open();
  if (sendsValue) {
    writer.text("VA ");
    writer.number(length);
  } else writer.text("HD");
  let won = flags(session, store, item, created);
  const state = words[item + at.STATE] as number;
  if ((state & at.WON) !== 0) writer.flag(90);
  if ((state & at.STALE) !== 0) {
    writer.flag(88);
    if ((state & at.WON) === 0) won = true;
  }
  // Who cannot fill must not win: nobody else would be asked to.
  if (won && session.account?.canWrite === true) {
    writer.flag(87);
    words[item + at.STATE] = state | at.WON;
  }
  writer.end();
  if (!meta.noBump) store.use(item);
  if (!sendsValue) return;
  const start = store.valueStart(item);
  writer.value(store.bytes, start, start + length);
  writer.end();
}

/** Writes what was asked for, in the order in which it was asked; true when the caller has won. */
function flags(session: Session, store: Store, item: number, created: boolean): boolean {
  const { line, meta, writer } = session.desk;
  const { words } = store;
  let won = false;
  for (let word = 2; word < line.words; word++) {
    switch (line.letter(word)) {
      case 84: // T
        if (session.account?.canWrite === true) words[item + at.EXPIRES] = store.seconds.expiry(meta.ttl);
        break;
      case 78: // N
        if (created) {
          words[item + at.EXPIRES] = store.seconds.expiry(meta.vivifyTtl);
          won = true;
        }
        break;
      case 82: // R
        won = won || recaches(store, item, created, meta.recacheTtl);
        break;
      case 115: // s
        writer.flag(115);
        writer.number(words[item + at.LENGTH] as number);
        break;
      case 116: // t
        ttl(session, store, item);
        break;
      case 99: // c
        writer.flag(99);
        writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
        break;
      case 102: // f
        writer.flag(102);
        writer.number((words[item + at.FLAGS] as number) >>> 0);
        break;
      case 108: // l
        writer.flag(108);
        writer.number(store.seconds.now - (words[item + at.TIME] as number));
        break;
      case 104: // h
        writer.flag(104);
        writer.byte(((words[item + at.STATE] as number) & at.FETCHED) === 0 ? 48 : 49);
        break;
      case 79: // O
        opaque(session, word);
        break;
      case 107: // k
        itemKey(session, store, item);
        break;
      default:
    }
  }
  return won;
}

/** `R`: whether less than its token is left of the item's time, and nobody was told so before. */
function recaches(store: Store, item: number, created: boolean, token: number): boolean {
  const expires = (store.words[item + at.EXPIRES] as number) >>> 0;
  if (created || expires === 0 || ((store.words[item + at.STATE] as number) & at.WON) !== 0) return false;
  return expires < store.seconds.expiry(token);
}
