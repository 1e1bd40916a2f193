/** ms: store, in all of its modes. The answer carries `k`, `O`, `c`, `s` in the order in which they were asked for. */
import { longestKey } from "../protocol/index.ts";
import { layout as at, mode, outcome, type Mode } from "../store/index.ts";
import { answer } from "./answers.ts";
import { badFormat, hasLongOpaque, key, opaque } from "./meta-reply.ts";
import type { Session } from "./session.ts";
import { countCas, noRoom, tooLarge } from "./text-store.ts";

const longestData = 0x7fff_ffff - 2;
const mostWords = 19;
const modes: Readonly<Record<number, Mode>> = {
  0: mode.set,
  83: mode.set, // S
  69: mode.add, // E
  65: mode.append, // A
  80: mode.prepend, // P
  82: mode.replace, // R
};

export function metaStore(session: Session, lineStart: number): void {
  const { desk } = session;
  const { line, meta } = desk;
  if (line.words < 3 || !line.integer(2) || line.halves.high !== 0 || line.number < 0 || line.number > longestData) {
    answer(session, badFormat);
    session.closing = true;
    return;
  }
  const length = line.number;
  const start = session.at;
  session.swallows = length + 2;
  if (line.length(1) > longestKey) return answer(session, badFormat);
  if (line.words > mostWords) return answer(session, "CLIENT_ERROR options flags too long");
  const error = meta.read(line, 3);
  if (error !== undefined) return answer(session, error);
  const how = modes[meta.mode];
  if (how === undefined) return answer(session, "CLIENT_ERROR invalid mode for ms M token");
  if (hasLongOpaque(session, 3)) return answer(session, "CLIENT_ERROR opaque token too long");
  const { account } = session;
  if (account === undefined) return undefined;
  const { store } = account;
  fill(session, how, start, length);
  if (!store.fits(meta.keyEnd - meta.keyStart, meta.clientFlags, length)) {
    tooLarge(session, true);
    return answer(session, "SERVER_ERROR object too large for cache");
  }
  if (session.end - start < length + 2) {
    session.swallows = 0;
    session.at = lineStart;
    desk.counters.cmd_meta--;
    if (session.awaits(start - lineStart + length + 2)) return undefined;
    session.at = start;
    session.swallows = length + 2;
    noRoom(session, true);
    return answer(session, "SERVER_ERROR out of memory storing object");
  }
  session.swallows = 0;
  session.at = start + length + 2;
  desk.counters.cmd_set++;
  if (desk.journal !== undefined && !desk.journal.cut(session, line)) return undefined;
  if (session.input[start + length] !== 13 || session.input[start + length + 1] !== 10)
    return answer(session, "CLIENT_ERROR bad data chunk");
  return finish(session, how);
}

function fill(session: Session, how: Mode, start: number, length: number): void {
  const { meta } = session.desk;
  const store = session.account?.store;
  if (store === undefined) return;
  const { draft } = store;
  draft.key = meta.key;
  draft.keyStart = meta.keyStart;
  draft.keyEnd = meta.keyEnd;
  draft.value = session.input;
  draft.valueStart = start;
  draft.valueEnd = start + length;
  draft.flags = meta.clientFlags;
  draft.vivifies = meta.vivifies;
  draft.expires = store.seconds.expiry(how >= mode.append && meta.vivifies ? meta.vivifyTtl : meta.ttl);
  draft.compares = meta.compares;
  draft.cas.high = meta.cas.high;
  draft.cas.low = meta.cas.low;
  draft.allowsStale = meta.invalidates;
  draft.chooses = meta.chooses;
  draft.newCas.high = meta.newCas.high;
  draft.newCas.low = meta.newCas.low;
  draft.binaryKey = meta.binaryKey;
}

function finish(session: Session, how: Mode): void {
  const { desk, account } = session;
  if (account === undefined) return;
  const { meta, writer } = desk;
  const { draft } = account.store;
  const result = account.canWrite ? account.store.put(how) : outcome.notStored;
  desk.detail?.set(draft.key, draft.keyStart, draft.keyEnd);
  desk.watch?.stored(session, draft, how, result);
  if (draft.compares && how !== mode.add) countCas(session, result);
  if (result === outcome.stored && meta.quiet) return;
  writer.open();
  if (result === outcome.stored) writer.text("HD");
  else if (result === outcome.exists) writer.text("EX");
  else if (result === outcome.notFound) writer.text("NF");
  else if (result === outcome.notStored) writer.text("NS");
  else {
    desk.counters.store_no_memory++;
    writer.text("SERVER_ERROR out of memory storing object");
    writer.end();
    return;
  }
  flags(session, result === outcome.stored ? account.store.last : 0);
  writer.end();
}

/** `item` is what was stored, or 0. */
function flags(session: Session, item: number): void {
  const { line, meta, writer } = session.desk;
  const store = session.account?.store;
  if (store === undefined) return;
  const { words } = store;
  for (let word = 3; word < line.words; word++) {
    switch (line.letter(word)) {
      case 79: // O
        opaque(session, word);
        break;
      case 107: // k
        key(session, meta.key, meta.keyStart, meta.keyEnd, meta.binaryKey);
        break;
      case 99: // c
        writer.flag(99);
        if (item === 0) writer.byte(48);
        else writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
        break;
      case 115: // s
        writer.flag(115);
        writer.number(item === 0 ? store.draft.valueEnd - store.draft.valueStart : (words[item + at.LENGTH] as number));
        break;
      default:
    }
  }
}
