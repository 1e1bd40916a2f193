/**
 * Commands in the words of memcached's meta protocol (protocol.txt, "Meta Commands").
 *
 *     mg <key> <flags>*\r\n
 *     ms <key> <datalen> <flags>*\r\n<data block>\r\n
 *     md <key> <flags>*\r\n
 *     ma <key> <flags>*\r\n
 *     me <key> <flags>*\r\n      mn\r\n
 *
 * Every command asks for its key to be sent back (`k`), so that the answer can be held against the question; an `mg` of a base64
 * key for a mark of it (`O`). memcached sends the key of a found item as the item has it: raw where the item was made by the binary
 * protocol, and, up to 1.6.18 at least, after `append`, `prepend` and a count that became longer. Such a key may break the line.
 * Commands that have no meta form are said in classic text, which the same connection understands.
 */
import { keyMark } from "./base64-key.ts";
import { want, type Command, type Details } from "./command.ts";
import type { Outgoing } from "./outgoing.ts";
import { encodeText } from "./text-encoder.ts";

const modeLetters = { add: " ME", append: " MA", prepend: " MP", replace: " MR" } as const;

/** Adds `command` to `out`. */
export function encodeMeta(command: Command, out: Outgoing): void {
  switch (command.verb) {
    case "get":
      out.text += "mg " + command.key + getFlags(command);
      return;
    case "getMany":
      return manyInText(command) ? encodeText(command, out) : encodeMany(command, out);
    case "store":
      return encodeStore(command, out);
    case "delete":
      out.text += `md ${command.key}${deleteFlags(command)}`;
      return;
    case "touch":
      // The classic `touch` leaves leases alone, where `mg T` would win one; but it cannot say a base64 key.
      if (command.base64) out.text += `mg ${command.key}${encodedKey(command.key)} T${command.ttl ?? 0}\r\n`;
      else encodeText(command, out);
      return;
    case "arithmetic":
      out.text += `ma ${command.key}${arithmeticFlags(command)}`;
      return;
    case "debug":
      out.text += `me ${command.key}${base64(command)}\r\n`;
      return;
    case "noop":
      out.text += "mn\r\n";
      return;
    case "version":
    case "flush":
    case "stats":
    case "cluster":
    case "login":
    case "sasl":
      return encodeText(command, out);
  }
}

/** The flags of a sum of {@link want}, made once for each sum; and the same as a whole end of a line. */
const wantedFlags: string[] = [];
const wantedEnds: string[] = [];

function flagsOf(wanted: number): string {
  return (wantedFlags[wanted] ??= makeFlags(wanted));
}

function makeFlags(wanted: number): string {
  const letters = ["v", "f", "c", "t", "s", "h", "l", "u"];
  return letters
    .filter((_, bit) => (wanted & (1 << bit)) !== 0)
    .map((letter) => ` ${letter}`)
    .join("");
}

/** What says that `key` is base64, and asks for its mark. */
function encodedKey(key: string): string {
  return ` b O${keyMark(key)}`;
}

function base64(command: Command): string {
  return command.base64 ? " b" : "";
}

function getFlags(command: Command): string {
  const { details, ttl, wanted } = command;
  if (details === undefined && ttl === undefined && !command.base64)
    return (wantedEnds[wanted] ??= ` k${flagsOf(wanted)}\r\n`);
  return `${command.base64 ? encodedKey(command.key) : " k"}${moreGetFlags(command)}`;
}

function moreGetFlags({ details, ttl, wanted }: Command): string {
  let flags = flagsOf(wanted);
  if (ttl !== undefined) flags += ` T${ttl}`;
  if (details !== undefined) {
    if (details.vivify !== undefined) flags += ` N${details.vivify}`;
    if (details.recache !== undefined) flags += ` R${details.recache}`;
    if (details.ifChangedFrom !== undefined) flags += ` C${details.ifChangedFrom}`;
    flags += commonFlags(details);
  }
  return `${flags}\r\n`;
}

/**
 * Whether a meta connection asks for many keys by the classic `get`. memcached answers that as one command, and `mg`
 * after `mg`: for a hundred keys the classic form costs it, and whoever reads the answers, less than half. It has no
 * base64 keys.
 */
export function manyInText({ details }: Command): boolean {
  return details?.encoded === undefined;
}

function encodeMany(command: Command, out: Outgoing): void {
  const keys = command.details?.keys ?? [];
  const encoded = command.details?.encoded ?? [];
  const flags = moreGetFlags(command);
  for (let at = 0; at < keys.length; at++) {
    const key = keys[at] ?? "";
    out.text += `mg ${key}${encoded[at] === true ? encodedKey(key) : " k"}`;
    out.text += flags;
    out.mark();
  }
}

/** The end that the last `ms` got which says nothing but flags and time to live: most that follow say the same. */
const plainEnd = { clientFlags: 0, ttl: 0, text: " k\r\n" };

function encodeStore(command: Command, out: Outgoing): void {
  out.block("ms ", command.key, " ", command.data ?? "", isPlain(command) ? endOfPlain(command) : endOfStore(command));
}

function isPlain(command: Command): boolean {
  const { wanted, details } = command;
  if (command.base64 || wanted !== 0) return false;
  if (details === undefined) return true;
  const { mode, compareCas, invalidate, vivify, newCas, opaque } = details;
  if (mode !== undefined && mode !== "set") return false;
  return (
    compareCas === undefined &&
    invalidate === undefined &&
    vivify === undefined &&
    newCas === undefined &&
    opaque === undefined
  );
}

function endOfPlain(command: Command): string {
  const clientFlags = command.details?.clientFlags ?? 0;
  const ttl = command.ttl ?? 0;
  if (plainEnd.clientFlags !== clientFlags || plainEnd.ttl !== ttl) {
    plainEnd.clientFlags = clientFlags;
    plainEnd.ttl = ttl;
    plainEnd.text = endOfStore(command);
  }
  return plainEnd.text;
}

function endOfStore(command: Command): string {
  const { details, ttl } = command;
  let flags = base64(command);
  if (ttl !== undefined && ttl !== 0) flags += ` T${ttl}`;
  if ((command.wanted & want.cas) !== 0) flags += " c";
  if (details !== undefined) {
    if (details.clientFlags !== undefined && details.clientFlags !== 0) flags += ` F${details.clientFlags}`;
    if (details.mode !== undefined && details.mode !== "set") flags += modeLetters[details.mode];
    if (details.compareCas !== undefined) flags += ` C${details.compareCas}`;
    if (details.invalidate === true) flags += " I";
    if (details.vivify !== undefined) flags += ` N${details.vivify}`;
    flags += commonFlags(details);
  }
  // `join` makes a flat text.
  return [" k", flags, "\r\n"].join("");
}

function deleteFlags(command: Command): string {
  const { details, ttl } = command;
  let flags = ` k${base64(command)}`;
  if (details !== undefined) {
    if (details.compareCas !== undefined) flags += ` C${details.compareCas}`;
    if (details.invalidate === true) flags += " I";
    if (details.dropValue === true) flags += " x";
    flags += commonFlags(details);
  }
  if (ttl !== undefined) flags += ` T${ttl}`;
  return `${flags}\r\n`;
}

function arithmeticFlags(command: Command): string {
  const { details = {}, ttl } = command;
  let flags = ` v k${flagsOf(command.wanted & (want.cas | want.ttl))}${base64(command)}`;
  if (details.subtract === true) flags += " MD";
  if (details.delta !== undefined) flags += ` D${details.delta}`;
  if (details.vivify !== undefined) flags += ` N${details.vivify}`;
  if (details.initial !== undefined) flags += ` J${details.initial}`;
  if (details.compareCas !== undefined) flags += ` C${details.compareCas}`;
  if (ttl !== undefined) flags += ` T${ttl}`;
  return `${flags}${commonFlags(details)}\r\n`;
}

function commonFlags(details: Details): string {
  let flags = "";
  if (details.newCas !== undefined) flags += ` E${details.newCas}`;
  if (details.opaque !== undefined) flags += ` O${details.opaque}`;
  return flags;
}
