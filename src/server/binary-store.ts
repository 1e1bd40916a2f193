/** Set, Add, Replace, Append, Prepend and their quiet forms. */
import { readUint32, status, type Status } from "../protocol/index.ts";
import { layout as at, mode, outcome, type Mode, type Outcome } from "../store/index.ts";
import { fail, header } from "./binary-reply.ts";
import type { Session } from "./session.ts";
import { countCas, noRoom, tooLarge } from "./text-store.ts";

const modes: Readonly<Record<number, Mode>> = {
  0x01: mode.set,
  0x11: mode.set,
  0x02: mode.add,
  0x12: mode.add,
  0x03: mode.replace,
  0x13: mode.replace,
  0x0e: mode.append,
  0x19: mode.append,
  0x0f: mode.prepend,
  0x1a: mode.prepend,
};

export function store(session: Session): void {
  const { desk, account, input } = session;
  const { binary } = desk;
  if (account === undefined) return;
  const { draft } = account.store;
  const given = modes[binary.opcode] ?? mode.set;
  draft.key = draft.value = input;
  draft.keyStart = binary.key;
  draft.keyEnd = draft.valueStart = binary.value;
  draft.valueEnd = binary.end;
  const hasExtras = binary.extrasLength === 8;
  draft.flags = hasExtras ? readUint32(input, binary.extras) : 0;
  draft.expires = hasExtras ? account.store.seconds.expiry(readUint32(input, binary.extras + 4) >>> 0) : 0;
  draft.compares = binary.casHigh !== 0 || binary.casLow !== 0;
  draft.cas.high = binary.casHigh;
  draft.cas.low = binary.casLow;
  draft.allowsStale = draft.chooses = draft.vivifies = draft.binaryKey = false;
  if (!account.store.fits(binary.keyLength, draft.flags, binary.valueLength)) {
    tooLarge(session, given === mode.set);
    fail(session, status.tooLarge);
    return;
  }
  // Add and Replace with a CAS are a plain compare-and-set, as in memcached.
  const how = draft.compares && given <= mode.replace ? mode.set : given;
  desk.counters.cmd_set++;
  const result = account.canWrite ? account.store.put(how) : outcome.notStored;
  desk.detail?.set(input, draft.keyStart, draft.keyEnd);
  desk.watch?.stored(session, draft, how, result);
  if (draft.compares && how === mode.set) countCas(session, result);
  if (result !== outcome.stored) {
    fail(session, failure(result, account.canWrite ? given : mode.append));
    if (result === outcome.noMemory) desk.counters.store_no_memory++;
    return;
  }
  if (desk.quiet) return;
  const { last, words } = account.store;
  header(session, status.ok, 0, 0, 0, words[last + at.CAS_HIGH] as number, words[last + at.CAS_LOW] as number);
}

/** There is no room to wait for the value of a command; its key is there. */
export function refuseUpload(session: Session): void {
  const { desk, account, input } = session;
  const { binary } = desk;
  if (account !== undefined) {
    const { draft } = account.store;
    draft.key = input;
    draft.keyStart = binary.key;
    draft.keyEnd = binary.value;
  }
  noRoom(session, modes[binary.opcode] === mode.set);
  fail(session, status.outOfMemory);
}

function failure(result: Outcome, how: Mode): Exclude<Status, 0> {
  if (result === outcome.exists) return status.exists;
  if (result === outcome.notFound) return status.notFound;
  if (result === outcome.tooLarge) return status.tooLarge;
  if (result === outcome.noMemory) return status.outOfMemory;
  if (how === mode.add) return status.exists;
  return how === mode.replace ? status.notFound : status.notStored;
}
