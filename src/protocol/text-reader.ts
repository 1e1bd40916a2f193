/**
 * Classic text replies read as answers (protocol.txt, "Storage commands" to "Other commands").
 *
 *     VALUE <key> <flags> <bytes> [<cas unique>]\r\n<data block>\r\n ... END
 *     STORED | NOT_STORED | EXISTS | NOT_FOUND | DELETED | TOUCHED | OK | RESET | <number>
 *     STAT <name> <value> ... END      VERSION <text>      CONFIG <name> <n> <bytes>\r\n<data block>\r\nEND
 */
import { EverfreshError } from "../errors.ts";
import type { Answer, AnswerKind } from "./answer.ts";
import { readErrorLine } from "./error-line.ts";
import { want, type Command } from "./command.ts";
import { readNumber, SPACE, tokenEnd } from "./tokens.ts";
import { textKey, textKeys } from "./text-encoder.ts";

const C = 0x43;
const L = 0x4c;
const V = 0x56;

const words: Readonly<Record<string, AnswerKind>> = {
  STORED: "stored",
  NOT_STORED: "notStored",
  EXISTS: "exists",
  NOT_FOUND: "notFound",
  DELETED: "deleted",
  TOUCHED: "touched",
  OK: "ok",
  RESET: "ok",
};

/** Which words each command can be answered with. */
const allowed: Readonly<Record<string, readonly AnswerKind[]>> = {
  store: ["stored", "notStored", "exists", "notFound"],
  login: ["stored"],
  delete: ["deleted", "notFound"],
  touch: ["touched", "notFound"],
  arithmetic: ["notFound"],
  flush: ["ok"],
  stats: ["ok"],
};

/** Whether the command is answered by any number of lines and a last one. */
function hasManyLines(command: Command): boolean {
  const { verb } = command;
  return verb === "get" || verb === "getMany" || verb === "stats" || verb === "cluster";
}

/**
 * Reads one line, with its block if it has one, into `answer`; returns whether it was the last of the command's.
 *
 * Before the first line of a command's answer, `answer.index` must be -1.
 *
 * @throws EverfreshError `EF_PROTOCOL` when it cannot be an answer to `command`
 */
export function readText(
  command: Command,
  line: Buffer,
  start: number,
  end: number,
  hasBlock: boolean,
  answer: Answer,
): boolean {
  if (hasBlock) {
    // Only lines that begin with VALUE, CONFIG or VA have a block.
    if (line[start] === V && line[start + 2] === L) readValue(command, line, start + 6, end, answer);
    else if (command.verb === "cluster" && line[start] === C) answer.reset("line");
    else throw unexpected(command);
    answer.hasData = true;
    return false;
  }
  const text = line.toString("latin1", start, end);
  if (text === "END" && hasManyLines(command)) {
    answer.reset(command.verb === "get" || command.verb === "getMany" ? "miss" : "ok");
    return true;
  }
  const kind = words[text];
  if (kind !== undefined) {
    if (allowed[command.verb]?.includes(kind) !== true) throw unexpected(command);
    answer.reset(kind);
    return true;
  }
  // `stats detail dump` answers with PREFIX lines, `stats cachedump` with ITEM lines.
  if (command.verb === "stats" && /^(?:STAT|PREFIX|ITEM) /.test(text)) {
    answer.reset("line");
    answer.text = text.slice(text.indexOf(" ") + 1);
    return false;
  }
  if (text.startsWith("VERSION ") && (command.verb === "version" || command.verb === "noop")) {
    answer.reset("ok");
    answer.text = text.slice(8);
    return true;
  }
  if (command.verb === "arithmetic" && /^\d{1,20} *$/.test(text)) {
    answer.reset("number");
    answer.text = text.trimEnd();
    return true;
  }
  readErrorLine(line, start, end, answer);
  return true;
}

/** `<key> <flags> <bytes> [<cas unique>]`: the key must be one that was asked for. */
function readValue(command: Command, line: Buffer, start: number, end: number, answer: Answer): void {
  if (command.verb !== "get" && command.verb !== "getMany") throw unexpected(command);
  const before = answer.index;
  const expected = expectedKey(command, before);
  let keyEnd = start + (expected?.length ?? 0);
  if (expected !== undefined && line[keyEnd] === SPACE && isKey(line, start, keyEnd, expected)) {
    answer.index = before + 1;
  } else {
    keyEnd = tokenEnd(line, start, end);
    answer.index = findKey(command, line.toString("latin1", start, keyEnd), before + 2);
  }
  const flagsEnd = tokenEnd(line, keyEnd + 1, end);
  answer.reset("hit");
  answer.clientFlags = readNumber(line, keyEnd + 1, flagsEnd);
  if ((command.wanted & want.cas) === 0) return;
  const casAt = tokenEnd(line, flagsEnd + 1, end) + 1;
  if (casAt < end) answer.findCas(line, casAt, tokenEnd(line, casAt, end));
}

/** The key that follows the one that was named last, in the order of asking. */
function expectedKey(command: Command, before: number): string | undefined {
  if (command.verb === "getMany") return textKeys(command)[before + 1];
  return before < 0 ? textKey(command.key, command.base64) : undefined;
}

/** Which of many keys is meant, from `from` on: those that are not there were left out. */
function findKey(command: Command, key: string, from: number): number {
  const keys = textKeys(command);
  const next = keys.indexOf(key, from);
  // Proxies put the answers of several servers together, in any order.
  const index = next < 0 ? keys.indexOf(key) : next;
  if (index < 0) throw wrongKey();
  return index;
}

function isKey(line: Buffer, start: number, end: number, key: string): boolean {
  for (let at = start; at < end; at++) if (line[at] !== key.charCodeAt(at - start)) return false;
  return true;
}

function wrongKey(): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", "The server answered for another key than the one it was asked for.");
}

function unexpected(command: Command): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", `The server's answer is not one that ${command.verb} can have.`);
}
