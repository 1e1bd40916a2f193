/**
 * Commands in memcached's classic text protocol (protocol.txt, "Storage commands" to "Other commands").
 *
 *     <set|add|replace|append|prepend> <key> <flags> <exptime> <bytes>\r\n<data block>\r\n
 *     cas <key> <flags> <exptime> <bytes> <cas unique>\r\n<data block>\r\n
 *     get|gets <key>*\r\n      gat|gats <exptime> <key>*\r\n
 *     delete <key>\r\n         incr|decr <key> <value>\r\n      touch <key> <exptime>\r\n
 *
 * Nothing is ever said with `noreply`: its errors still come back, and nobody would know to which command they belong.
 */
import { want, type Command, type Details } from "./command.ts";
import { decodedKey, hashedKey } from "./key.ts";
import type { Outgoing } from "./outgoing.ts";

/** The key of `command` as classic text can carry it: what meta says in base64 is named by its hash here. */
export function textKey(key: string, base64: boolean | undefined): string {
  return base64 === true ? hashedKey(decodedKey(key)) : key;
}

/** Keys that are named by their hash, made once for each command: every line of an answer is held against them. */
const hashedKeys = new WeakMap<Details, readonly string[]>();

/** The keys of `command`, as {@link textKey} has them. */
export function textKeys({ details = {} }: Command): readonly string[] {
  const { keys = [], encoded } = details;
  if (encoded === undefined) return keys;
  let named = hashedKeys.get(details);
  if (named === undefined) hashedKeys.set(details, (named = keys.map((key, at) => textKey(key, encoded[at]))));
  return named;
}

/** Adds `command` to `out`. */
export function encodeText(command: Command, out: Outgoing): void {
  const { details, ttl = 0 } = command;
  const key = textKey(command.key, command.base64);
  switch (command.verb) {
    case "get":
    case "getMany": {
      const letter = (command.wanted & want.cas) === 0 ? "" : "s";
      const keys = command.verb === "get" ? key : textKeys(command).join(" ");
      out.text += command.ttl === undefined ? `get${letter} ${keys}\r\n` : `gat${letter} ${ttl} ${keys}\r\n`;
      return;
    }
    case "store":
      return encodeStore(command, key, out);
    case "delete":
      out.text += `delete ${key}\r\n`;
      return;
    case "touch":
      out.text += `touch ${key} ${ttl}\r\n`;
      return;
    case "arithmetic":
      out.text += `${details?.subtract === true ? "decr" : "incr"} ${key} ${details?.delta ?? 1n}\r\n`;
      return;
    case "version":
      out.text += "version\r\n";
      return;
    case "flush":
      out.text += command.ttl === undefined ? "flush_all\r\n" : `flush_all ${ttl}\r\n`;
      return;
    case "stats":
      out.text += details?.argument === undefined ? "stats\r\n" : `stats ${details.argument}\r\n`;
      return;
    case "cluster":
      out.text += `config get ${details?.argument ?? "cluster"}\r\n`;
      return;
    case "login":
      // memcached -Y: any key, "user password"; MemCachier: the user as key, the password as value.
      out.block("set ", command.key, " 0 0 ", command.data ?? "", "\r\n");
      return;
    case "noop":
      // The cheapest question that every server answers with one line.
      out.text += "version\r\n";
      return;
    case "debug":
    case "sasl":
      throw new TypeError(`the classic text protocol has no ${command.verb}`);
  }
}

function encodeStore(command: Command, key: string, out: Outgoing): void {
  const { details, ttl = 0, data = "" } = command;
  const compare = details?.compareCas;
  const name = compare === undefined ? (details?.mode ?? "set") : "cas";
  const end = compare === undefined ? "\r\n" : ` ${compare}\r\n`;
  out.block(`${name} `, key, ` ${details?.clientFlags ?? 0} ${ttl} `, data, end);
}
