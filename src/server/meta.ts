/**
 * The meta commands (protocol.txt, "Meta Commands"): which one it is, and what they share.
 *
 *     mg <key> <flags>*   ms <key> <length> <flags>* LF <data>   md, ma <key> <flags>*   me <key>   mn
 *     HD | VA <length> | EN | NF | NS | EX   <flags>*
 */
import { longestKey } from "../protocol/index.ts";
import { layout as at } from "../store/index.ts";
import { answer } from "./answers.ts";
import { metaArithmetic, metaDelete } from "./meta-change.ts";
import { metaGet } from "./meta-get.ts";
import { badFormat } from "./meta-reply.ts";
import { metaStore } from "./meta-store.ts";
import type { Session } from "./session.ts";

/** The most words of a meta command, the command and the key included. */
const mostMetaWords = 19;

/** Does the meta command in `desk.line`, whose line began at `lineStart`. */
export function metaCommand(session: Session, lineStart: number): void {
  const { line, counters, journal } = session.desk;
  const letter = line.bytes[(line.start[0] as number) + 1];
  if (letter !== 115 && journal !== undefined && !journal.cut(session, line)) return undefined;
  if (letter === 110) return answer(session, "MN");
  if (letter !== 103 && letter !== 115 && letter !== 100 && letter !== 97 && letter !== 101)
    return answer(session, "ERROR");
  if (letter === 101) {
    counters.cmd_meta++;
    return metaDebug(session);
  }
  if (line.words < 2) {
    if (letter === 115) session.closing = true;
    return answer(session, "ERROR");
  }
  counters.cmd_meta++;
  if (letter === 115) return metaStore(session, lineStart);
  if (line.length(1) > longestKey) return answer(session, badFormat);
  if (line.words > mostMetaWords)
    return answer(session, `CLIENT_ERROR options flags ${letter === 103 ? "are " : ""}too long`);
  if (letter === 103) return metaGet(session);
  return letter === 100 ? metaDelete(session) : metaArithmetic(session);
}

/** me <key> [b]: what is known of an item. */
function metaDebug(session: Session): void {
  const { line, meta, writer, slabs } = session.desk;
  const store = session.account?.store;
  if (line.words < 2 || line.length(1) > longestKey || store === undefined) return answer(session, badFormat);
  const isBinary = line.words > 2 && line.is(2, "b");
  if (meta.read(line, isBinary ? 2 : line.words) !== undefined) return answer(session, badFormat);
  const item = store.find(meta.key, meta.keyStart, meta.keyEnd);
  if (item === 0) return answer(session, "EN");
  const { words } = store;
  const state = words[item + at.STATE] as number;
  const start = item * 4 + at.headerBytes;
  const end = start + (state & at.KEY_LENGTH);
  writer.open();
  writer.text("ME ");
  if ((state & at.BINARY_KEY) === 0) writer.piece(store.bytes, start, end);
  else writer.base64(store.bytes, start, end);
  const expires = (words[item + at.EXPIRES] as number) >>> 0;
  const { now } = store.seconds;
  // Seconds since it expired: memcached's sign, against what protocol.txt says.
  writer.text(` exp=${expires === 0 ? -1 : (now - expires) | 0} la=${now - (words[item + at.TIME] as number)} cas=`);
  writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
  const size = store.sizeOf(item);
  writer.text(` fetch=${(state & at.FETCHED) === 0 ? "no" : "yes"} cls=${slabs.classOf(size)} size=${size}`);
  return writer.end();
}
