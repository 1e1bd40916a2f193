/** What the answers of meta commands have in common: tokens that are echoed, keys, times. */
import { longestOpaque } from "../protocol/index.ts";
import { layout as at, type Store } from "../store/index.ts";
import type { Session } from "./session.ts";

export const badFormat = "CLIENT_ERROR bad command line format";

/** Writes the tokens `O` and `k` of an answer that has no item. */
export function echo(session: Session, first: number): void {
  const { line, meta } = session.desk;
  for (let word = first; word < line.words; word++) {
    const letter = line.letter(word);
    if (letter === 79) opaque(session, word);
    else if (letter === 107) key(session, meta.key, meta.keyStart, meta.keyEnd, meta.binaryKey);
  }
}

/** Whether a word that begins with O is longer than opaque tokens may be. */
export function hasLongOpaque(session: Session, first: number): boolean {
  const { line } = session.desk;
  for (let word = first; word < line.words; word++)
    if (line.letter(word) === 79 && line.length(word) > longestOpaque) return true;
  return false;
}

export function opaque(session: Session, word: number): void {
  const { line, writer } = session.desk;
  writer.byte(32);
  writer.piece(line.bytes, line.start[word] as number, line.end[word] as number);
}

export function key(session: Session, bytes: Uint8Array, start: number, end: number, isBinary: boolean): void {
  const { writer } = session.desk;
  writer.flag(107);
  if (!isBinary) return writer.piece(bytes, start, end);
  writer.base64(bytes, start, end);
  return writer.flag(98);
}

/** Writes the key of an item, as it was given when it was stored. */
export function itemKey(session: Session, store: Store, item: number): void {
  const state = store.words[item + at.STATE] as number;
  const start = item * 4 + at.headerBytes;
  key(session, store.bytes, start, start + (state & at.KEY_LENGTH), (state & at.BINARY_KEY) !== 0);
}

/** `t`: the seconds left, -1 for ever. */
export function ttl(session: Session, store: Store, item: number): void {
  const { writer } = session.desk;
  writer.flag(116);
  const expires = (store.words[item + at.EXPIRES] as number) >>> 0;
  if (expires === 0) writer.text("-1");
  else writer.number((expires - store.seconds.now) >>> 0);
}
