/**
 * Meta replies read as answers (protocol.txt, "Meta Commands").
 *
 *     VA <size> <flags>*\r\n<data block>\r\n      HD <flags>*      EN | NF | NS | EX <flags>*      MN
 *     ME <key> <name>=<value>*                    ERROR | CLIENT_ERROR <text> | SERVER_ERROR <text>
 *
 * The answer is held against the question: its status must be one that the command can have, and the key that comes
 * back (`k`) must be the key that was asked for, or the mark (`O`) that of a base64 key; see `meta-encoder.ts`.
 */
import { EverfreshError } from "../errors.ts";
import type { Answer, AnswerKind } from "./answer.ts";
import { keyMark } from "./base64-key.ts";
import type { Command } from "./command.ts";
import { readErrorLine } from "./error-line.ts";
import { malformed, readNumber, tokenEnd } from "./tokens.ts";

const status = (text: string): number => (text.charCodeAt(0) << 8) | text.charCodeAt(1);
const VA = status("VA");
const HD = status("HD");
const EN = status("EN");
const NF = status("NF");
const NS = status("NS");
const EX = status("EX");
const MN = status("MN");
const ME = status("ME");
const SPACE = 32;

/**
 * Reads the reply in `line` from `start` to `end` to `command` into `answer`.
 *
 * @param key the key that this reply must name
 * @throws EverfreshError `EF_PROTOCOL` when it cannot be an answer to `command`
 */
export function readMeta(
  command: Command,
  key: string,
  line: Buffer,
  start: number,
  end: number,
  hasBlock: boolean,
  answer: Answer,
): void {
  const length = end - start;
  const code = ((line[start] ?? 0) << 8) | (line[start + 1] ?? 0);
  if (length > 2 && line[start + 2] !== SPACE) return readErrorLine(line, start, end, answer);
  answer.reset(kindOf(command, code, hasBlock));
  answer.hasData = hasBlock;
  if (code === MN) return;
  if (code === ME) {
    answer.text = line.toString("latin1", start + 3, end);
    if (answer.text !== key && !answer.text.startsWith(`${key} `)) throw wrongKey();
    return;
  }
  let at = start + 2;
  if (code === VA) {
    at++;
    while (at < end && line[at] !== SPACE) at++;
  }
  const named = readFlags(key, line, at, end, answer);
  // What brings or changes a value must name its key. Some versions answer a bare EN or NF; misses of `me` are bare always.
  if (!named && (code === VA || code === HD || length > 2) && answer.opaque !== keyMark(key)) throw wrongKey();
  if (answer.kind === "number") readCount(answer);
}

/** memcached pads a counter that got shorter with spaces (protocol.txt, "decr"). */
function readCount(answer: Answer): void {
  const text = answer.latin1Value();
  if (!/^\d{1,20} *$/.test(text))
    throw new EverfreshError("EF_PROTOCOL", "The server broke the protocol: a count is not a number.");
  answer.text = text.trimEnd();
}

/** What `code` means as an answer to `command`. */
function kindOf(command: Command, code: number, hasBlock: boolean): AnswerKind {
  switch (command.verb) {
    case "get":
    case "getMany":
      if (code === EN) return "miss";
      if (code === VA && (command.wanted & 1) === 1) return "hit";
      if (code === HD && (command.wanted & 1) === 0) return "hit";
      if (code === HD && command.details?.ifChangedFrom !== undefined) return "unchanged";
      break;
    case "store":
      if (code === HD) return "stored";
      if (code === NS) return "notStored";
      if (code === EX) return "exists";
      if (code === NF) return "notFound";
      break;
    case "delete":
      if (code === HD) return "deleted";
      if (code === EX) return "exists";
      if (code === NF) return "notFound";
      break;
    case "touch":
      if (code === HD) return "touched";
      if (code === EN || code === NF) return "notFound";
      break;
    case "arithmetic":
      if (code === VA && hasBlock) return "number";
      if (code === NF) return "notFound";
      if (code === NS) return "notStored";
      if (code === EX) return "exists";
      break;
    case "debug":
      if (code === ME) return "hit";
      if (code === EN) return "miss";
      break;
    case "noop":
      if (code === MN) return "ok";
      break;
    case "version":
    case "flush":
    case "stats":
    case "cluster":
    case "login":
    case "sasl":
      break;
  }
  throw new EverfreshError("EF_PROTOCOL", `The server's answer is not one that ${command.verb} can have.`);
}

/** Reads flags of the form `<letter><token>`, from the space before the first one. Returns whether `key` was named. */
function readFlags(key: string, line: Buffer, start: number, end: number, answer: Answer): boolean {
  let named = false;
  let at = start;
  // line[at] is a space. A letter must follow before the line's end: what lies behind it is another's.
  while (at + 1 < end) {
    const letter = line[at + 1] ?? 0;
    const token = at + 2;
    let next = token;
    switch (letter) {
      case 0x6b: {
        // k
        const keyEnd = token + key.length;
        if (keyEnd > end || (keyEnd < end && line[keyEnd] !== SPACE)) throw wrongKey();
        for (let index = 0; token + index < keyEnd; index++)
          if (line[token + index] !== key.charCodeAt(index)) throw wrongKey();
        named = true;
        next = keyEnd;
        break;
      }
      case 0x66: // f
        next = tokenEnd(line, token, end);
        answer.clientFlags = readNumber(line, token, next);
        break;
      case 0x63: // c
        next = tokenEnd(line, token, end);
        answer.findCas(line, token, next);
        break;
      case 0x74: // t
        next = tokenEnd(line, token, end);
        answer.ttl = next > token && line[token] === 0x2d ? -1 : readNumber(line, token, next);
        break;
      case 0x73: // s
        next = tokenEnd(line, token, end);
        answer.size = readNumber(line, token, next);
        break;
      case 0x68: // h
        next = tokenEnd(line, token, end);
        answer.hitBefore = readNumber(line, token, next) > 0;
        break;
      case 0x6c: // l
        next = tokenEnd(line, token, end);
        answer.lastAccess = readNumber(line, token, next);
        break;
      case 0x4f: // O
        next = tokenEnd(line, token, end);
        answer.opaque = line.toString("latin1", token, next);
        break;
      case 0x57: // W
        answer.won = true;
        break;
      case 0x58: // X
        answer.stale = true;
        break;
      case 0x5a: // Z
        answer.leased = true;
        break;
      case SPACE:
        next = at + 1;
        break;
      default:
        next = tokenEnd(line, token, end);
    }
    if (next < end && line[next] !== SPACE) throw malformed();
    at = next;
  }
  return named;
}

function wrongKey(): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", "The server answered for another key than the one it was asked for.");
}
