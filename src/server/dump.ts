/**
 * Lists what is stored: `lru_crawler metadump`, `lru_crawler mgdump`, `stats cachedump` (protocol.txt, "LRU_Crawler").
 *
 * A listing goes on segment by segment as its reader takes it, and shows each moment's items of a segment; what is
 * stored or moved meanwhile may be missing or come twice, as with memcached.
 */
import { layout as at, type Store } from "../store/index.ts";
import { answer } from "./answers.ts";
import { uriKey } from "./key-text.ts";
import type { Session } from "./session.ts";

type Listing = "metadump" | "mgdump" | "cachedump";

const refusals: Readonly<Record<Listing, string>> = {
  metadump: "ERROR metadump not allowed",
  mgdump: "ERROR key dump not allowed",
  cachedump: "CLIENT_ERROR stats cachedump not allowed",
};
/** A cachedump ends after this many bytes, as memcached's does. */
const cachedumpBytes = 2 * 1024 * 1024;

export function dump(session: Session, listing: Listing, words: number): void {
  const { desk, account } = session;
  if (!desk.options.dumps || account?.canStats !== true) return answer(session, refusals[listing]);
  if (listing === "cachedump") return cachedump(session, account.store, words);
  const classes = chosenClasses(session, desk.line.text(2));
  if (classes === undefined) return answer(session, "BADCLASS invalid class id");
  session.listing = { store: account.store, segment: 0, classes, isMeta: listing === "metadump" };
  return undefined;
}

/** What is still to be listed for a visitor. */
export interface Progress {
  readonly store: Store;
  segment: number;
  /** The classes asked for, or `all`. */
  readonly classes: ReadonlySet<number> | "all";
  readonly isMeta: boolean;
}

/** Lists the next segment. */
export function dumpStep(session: Session): void {
  const { listing: progress, desk } = session;
  if (progress === undefined) return;
  const { store, classes, isMeta } = progress;
  const { writer, slabs } = desk;
  progress.segment = store.walk(progress.segment, (item) => {
    const size = store.sizeOf(item);
    const slab = slabs.classOf(size);
    if (classes !== "all" && !classes.has(slab)) return;
    writer.open();
    if (isMeta) meta(session, store, item, slab, size);
    else command(session, store, item);
  });
  if (progress.segment >= 0) return;
  session.listing = undefined;
  writer.open();
  writer.text(isMeta ? "END\r\n" : "EN\r\n");
}

function meta(session: Session, store: Store, item: number, slab: number, size: number): void {
  const { writer } = session.desk;
  const { words, seconds } = store;
  const state = words[item + at.STATE] as number;
  const start = item * 4 + at.headerBytes;
  const expires = (words[item + at.EXPIRES] as number) >>> 0;
  writer.text(`key=${uriKey(store.bytes, start, start + (state & at.KEY_LENGTH))}`);
  writer.text(` exp=${expires === 0 ? -1 : expires + seconds.epoch}`);
  writer.text(` la=${(words[item + at.TIME] as number) + seconds.epoch} cas=`);
  writer.decimal(words[item + at.CAS_HIGH] as number, words[item + at.CAS_LOW] as number);
  writer.text(` fetch=${(state & at.FETCHED) === 0 ? "no" : "yes"} cls=${slab} size=${size}\n`);
}

function command(session: Session, store: Store, item: number): void {
  const { writer } = session.desk;
  const state = store.words[item + at.STATE] as number;
  const start = item * 4 + at.headerBytes;
  writer.text("mg ");
  if ((state & at.BINARY_KEY) === 0) writer.piece(store.bytes, start, start + (state & at.KEY_LENGTH));
  else {
    writer.base64(store.bytes, start, start + (state & at.KEY_LENGTH));
    writer.text(" b");
  }
  writer.end();
}

function chosenClasses(session: Session, text: string): ReadonlySet<number> | "all" | undefined {
  if (text === "all" || text === "hash") return "all";
  const classes = text.split(",").map(Number);
  const isRight = classes.every(
    (slab) => Number.isInteger(slab) && slab >= 1 && slab < session.desk.slabs.chunks.length,
  );
  return isRight ? new Set(classes) : undefined;
}

/** stats cachedump <class> <most>, most 0 for all */
function cachedump(session: Session, store: Store, words: number): void {
  const { line, slabs, writer } = session.desk;
  if (words < 4) return answer(session, "CLIENT_ERROR bad command line");
  if (!line.unsigned(2)) return answer(session, "CLIENT_ERROR bad command line format");
  const slab = line.number;
  if (!line.unsigned(3)) return answer(session, "CLIENT_ERROR bad command line format");
  if (slab > 63) return answer(session, "CLIENT_ERROR Illegal slab id");
  const end = writer.sent + writer.length + cachedumpBytes;
  const most = line.number === 0 ? Infinity : line.number;
  const listed = { items: 0 };
  for (let segment = 0; segment >= 0 && listed.items < most && writer.sent + writer.length < end;)
    segment = store.walk(segment, (item) => {
      if (listed.items >= most || slabs.classOf(store.sizeOf(item)) !== slab) return;
      listed.items++;
      const start = item * 4 + at.headerBytes;
      const expires = (store.words[item + at.EXPIRES] as number) >>> 0;
      writer.open();
      writer.text("ITEM ");
      writer.piece(store.bytes, start, start + ((store.words[item + at.STATE] as number) & at.KEY_LENGTH));
      const time = expires === 0 ? 0 : expires + store.seconds.epoch;
      writer.text(` [${store.words[item + at.LENGTH] as number} b; ${time} s]`);
      writer.end();
    });
  return answer(session, "END");
}
