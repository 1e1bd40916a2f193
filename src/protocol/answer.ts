/**
 * What came back for a {@link Command}, whatever protocol said it.
 *
 * A reader fills one {@link Answer} again and again and lends it to whoever asked; what is to be kept must be taken out
 * before returning. Value bytes lie in a buffer of the connection's until then.
 */
import { isAscii } from "node:buffer";
import type { Block } from "./ascii-frames.ts";
import { latin1Text, utf8Text } from "./bytes-as-text.ts";
import { malformed } from "./tokens.ts";

/**
 * How a command ended. `line` carries one line of an answer that has several; `tooLarge` is a refusal of the server's,
 * `oversized` a value of its that is over our own limit.
 */
export type AnswerKind =
  | "hit"
  | "miss"
  | "unchanged"
  | "stored"
  | "notStored"
  | "exists"
  | "notFound"
  | "deleted"
  | "touched"
  | "number"
  | "ok"
  | "line"
  | "serverError"
  | "clientError"
  | "tooLarge"
  | "oversized"
  | "authError"
  | "unsupported";

const none = Buffer.alloc(0);

/** Below this, finding out whether bytes are ASCII costs more than it saves. */
const asciiCheckBytes = 1024;

/** One answer, reused for all. */
export class Answer implements Block {
  kind: AnswerKind = "miss";
  /** Which of the keys of a command with several is meant. */
  index = 0;
  clientFlags = 0;
  ttl: number | undefined = undefined;
  size: number | undefined = undefined;
  hitBefore: boolean | undefined = undefined;
  lastAccess: number | undefined = undefined;
  won = false;
  stale = false;
  leased = false;
  opaque: string | undefined = undefined;
  /** A message of the server's, a number, or a line. */
  text = "";
  /** Where the value lies, if there is one. */
  hasData = false;
  data: Buffer = none;
  dataStart = 0;
  dataEnd = 0;
  /** Whether `data` was made for this value alone and may be given away. */
  owned = false;
  #cas: string | undefined = undefined;
  /** Where the token lies, until somebody wants it as a text. */
  #casLine: Buffer | undefined = undefined;
  #casStart = 0;
  #casEnd = 0;

  /** The token of the version, where it was asked for. */
  get cas(): string | undefined {
    if (this.#casLine !== undefined) {
      this.#cas = this.#casLine.toString("latin1", this.#casStart, this.#casEnd);
      this.#casLine = undefined;
    }
    return this.#cas;
  }

  set cas(text: string | undefined) {
    this.#cas = text;
    this.#casLine = undefined;
  }

  /** Whether the token is `text`, without making a text of it. */
  hasCas(text: string): boolean {
    const line = this.#casLine;
    if (line === undefined) return this.#cas === text;
    const start = this.#casStart;
    if (this.#casEnd - start !== text.length) return false;
    for (let at = 0; at < text.length; at++) if (line[start + at] !== text.charCodeAt(at)) return false;
    return true;
  }

  /**
   * Says that the token lies in `line` from `start` to `end`.
   *
   * @throws EverfreshError `EF_PROTOCOL` when what lies there are not digits
   */
  findCas(line: Buffer, start: number, end: number): void {
    if (start === end) throw malformed();
    for (let at = start; at < end; at++) if ((line[at] ?? 0) < 48 || (line[at] ?? 0) > 57) throw malformed();
    this.#casLine = line;
    this.#casStart = start;
    this.#casEnd = end;
  }

  /** Everything forgotten, ready for the next reply. */
  reset(kind: AnswerKind): void {
    this.kind = kind;
    this.clientFlags = 0;
    this.cas = undefined;
    this.ttl = undefined;
    this.size = undefined;
    this.hitBefore = undefined;
    this.lastAccess = undefined;
    this.won = false;
    this.stale = false;
    this.leased = false;
    this.opaque = undefined;
    this.text = "";
    this.hasData = false;
  }

  /** Makes a hit whose value was counted away what it is. */
  makeOversized(size: number, limit: number): void {
    this.kind = "oversized";
    this.hasData = false;
    this.text = `The value has ${size} bytes; the client's valueLimitBytes is ${limit}.`;
  }

  /** The value as bytes of the caller's own. */
  bytes(): Buffer {
    const length = this.dataEnd - this.dataStart;
    if (this.owned) return length === this.data.length ? this.data : this.data.subarray(this.dataStart, this.dataEnd);
    const copy = Buffer.allocUnsafe(length);
    this.data.copy(copy, 0, this.dataStart, this.dataEnd);
    return copy;
  }

  /** The value as UTF-8 text; bytes that are not UTF-8 become U+FFFD. */
  textValue(): string {
    const { data, dataStart, dataEnd } = this;
    // Reading ASCII as latin1 is much cheaper for long values; the check costs an eighth of what it saves.
    if (dataEnd - dataStart >= asciiCheckBytes && isAscii(data.subarray(dataStart, dataEnd)))
      return latin1Text(data, dataStart, dataEnd);
    return utf8Text(data, dataStart, dataEnd);
  }

  /** The value as text whose characters are its bytes, for numbers. */
  latin1Value(): string {
    return latin1Text(this.data, this.dataStart, this.dataEnd);
  }
}
