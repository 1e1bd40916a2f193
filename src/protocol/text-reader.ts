/**
 * Classic text replies read as answers (protocol.txt, "Storage commands" to "Other commands").
 *
 *     VALUE <key> <flags> <bytes> [<cas unique>]\r\n<data block>\r\n ... END
 *     STORED | NOT_STORED | EXISTS | NOT_FOUND | DELETED | TOUCHED | OK | RESET | <number>
 *     STAT <name> <value> ... END      VERSION <text>      CONFIG <name> <n> <bytes>\r\n<data block>\r\nEND
 */
import { EverfreshError } from "../errors.ts";
import type { Answer, AnswerKind } from "./answer.ts";
import type { Command } from "./command.ts";
import { readErrorLine } from "./error-line.ts";
import { textKey, textKeys } from "./text-encoder.ts";

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
  const text = line.toString("latin1", start, end);
  if (hasBlock) {
    if (text.startsWith("VALUE ")) readValue(command, text, answer);
    else if (command.verb === "cluster" && text.startsWith("CONFIG ")) answer.reset("line");
    else throw unexpected(command);
    answer.hasData = true;
    return false;
  }
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

/** `VALUE <key> <flags> <bytes> [<cas unique>]`: the key must be one that was asked for, in the order of asking. */
function readValue(command: Command, text: string, answer: Answer): void {
  const [, key = "", flags = "", , cas] = text.split(" ");
  if (!/^\d{1,10}$/.test(flags)) throw unexpected(command);
  if (command.verb === "get") {
    if (key !== textKey(command.key, command.base64) || answer.index >= 0) throw wrongKey();
    answer.index = 0;
  } else if (command.verb === "getMany") {
    const keys = textKeys(command);
    const next = keys.indexOf(key, answer.index + 1);
    // Proxies put the answers of several servers together, in any order.
    const index = next < 0 ? keys.indexOf(key) : next;
    if (index < 0) throw wrongKey();
    answer.index = index;
  } else {
    throw unexpected(command);
  }
  answer.reset("hit");
  answer.clientFlags = Number(flags);
  answer.cas = cas;
}

function wrongKey(): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", "The server answered for another key than the one it was asked for.");
}

function unexpected(command: Command): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", `The server's answer is not one that ${command.verb} can have.`);
}
