/** Get, GetQ, GetK, GetKQ. */
import { status } from "../protocol/index.ts";
import { layout as at, type Store } from "../store/index.ts";
import { fail, header } from "./binary-reply.ts";
import type { Session } from "./session.ts";

/** Opcodes whose answers carry the key. */
const withKey = new Set([0x0c, 0x0d, 0x23, 0x24]);

export function read(session: Session): void {
  const { desk, account, input } = session;
  const { binary, counters } = desk;
  if (account === undefined) return;
  const { store } = account;
  const item = store.find(input, binary.key, binary.value);
  desk.detail?.get(input, binary.key, binary.value, item !== 0);
  desk.watch?.fetched(session, input, binary.key, binary.value, item, store);
  counters.cmd_get++;
  if (item === 0) {
    counters.get_misses++;
    if (store.missed === "expired") counters.get_expired++;
    else if (store.missed === "flushed") counters.get_flushed++;
    missing(session);
    return;
  }
  counters.get_hits++;
  found(session, store, item);
}

/** The answer for an item that is not there. */
export function missing(session: Session): void {
  const { binary, writer, quiet } = session.desk;
  if (quiet) return;
  if (!withKey.has(binary.opcode)) {
    fail(session, status.notFound);
    return;
  }
  header(session, status.notFound, binary.keyLength, 0, binary.keyLength, 0, 0);
  writer.piece(session.input, binary.key, binary.value);
}

/** The answer that carries an item. */
export function found(session: Session, store: Store, item: number): void {
  const { binary, writer } = session.desk;
  const { words } = store;
  const length = words[item + at.LENGTH] as number;
  const keyLength = withKey.has(binary.opcode) ? binary.keyLength : 0;
  store.use(item);
  header(
    session,
    status.ok,
    keyLength,
    4,
    4 + keyLength + length,
    words[item + at.CAS_HIGH] as number,
    words[item + at.CAS_LOW] as number,
  );
  writer.uint32(words[item + at.FLAGS] as number);
  if (keyLength > 0) writer.piece(session.input, binary.key, binary.value);
  const start = store.valueStart(item);
  writer.value(store.bytes, start, start + length);
}
