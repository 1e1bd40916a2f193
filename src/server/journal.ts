/**
 * What tests see of a server, and how they disturb it: every command is written down, and a fault that waits for such
 * a command strikes.
 */
import { EverfreshError } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import type { RequestLine } from "../protocol/index.ts";
import type { Session } from "./session.ts";

/** One command as it was received. */
export interface JournalEntry {
  /** Which visitor it came from: 1, 2, ... in the order of their first command. */
  readonly connection: number;
  /** Its name in the protocol: `get`, `mg`, `set`; binary commands by the name of their text twin. */
  readonly command: string;
  /** Its first key, or an empty text. */
  readonly key: string;
  /** The whole line of a text or meta command, without its data. */
  readonly line: string;
}

/**
 * What happens to a command:
 * - `cut`: the connection is reset, and the command not done
 * - `cutAfter`: the command is done, and the connection reset instead of the answer
 * - `stall`: the command is done, and neither it nor any later one of the connection is ever answered
 * - `slow`: the command is done, and its answer held for `delayMs`, by the server's clock
 * - `outOfMemory`: the command is not done; the answer is that there is no memory
 * - `evict`: the item of the command is dropped before the command is done
 */
export type FaultKind = "cut" | "cutAfter" | "stall" | "slow" | "outOfMemory" | "evict";

export interface Fault {
  readonly kind: FaultKind;
  /** The command it strikes. Default: any. */
  readonly command?: string;
  /** The key it strikes. Default: any. */
  readonly key?: string;
  /** How often it strikes. Default: once. */
  readonly times?: number;
  /** For `slow`: how long. */
  readonly delayMs?: number;
}

/** What a transport must be able to do to be disturbed. */
export interface Disturbed {
  /** Holds everything that is sent, for this long or (Infinity) for ever. */
  hold(ms: number): void;
  /** Resets the connection, now or instead of the next answer. */
  cut(when: "now" | "instead"): void;
}

/** Entries beyond this many are forgotten, oldest first. */
const longestJournal = 100_000;

export class Journal {
  readonly entries: JournalEntry[] = [];
  readonly #faults: { readonly fault: Fault; left: number }[] = [];
  readonly #connections = new WeakMap<Session, number>();
  #lastConnection = 0;

  /** `fault` strikes the next commands that fit it; the returned function takes it back. */
  add(fault: Fault): () => void {
    checkFault(fault);
    const waiting = { fault, left: fault.times ?? 1 };
    this.#faults.push(waiting);
    return () => {
      waiting.left = 0;
    };
  }

  clear(): void {
    this.entries.length = 0;
    this.#faults.length = 0;
  }

  /** A get whose keys begin at `at`; false when it must not be done. */
  line(session: Session, at: number): boolean {
    const { input, end } = session;
    let stop = input.indexOf(10, at);
    if (stop < 0 || stop > end) stop = end;
    const keys = latin1(input, at, stop).trim();
    const command = session.reading === 1 ? "get" : "gets";
    const proceeds = this.#note(session, command, keys.split(" ", 1)[0] ?? "", `${command} ${keys}`);
    if (!proceeds) {
      session.reading = 0;
      session.at = Math.min(end, stop + 1);
    }
    return proceeds;
  }

  /** A command that has been cut into words; false when it must not be done. */
  cut(session: Session, line: RequestLine): boolean {
    if (line.words === 0) return true;
    const key = line.words > 1 ? line.text(line.is(0, "gat") || line.is(0, "gats") ? 2 : 1) : "";
    const all = latin1(line.bytes, line.start[0] as number, line.end[line.words - 1] as number);
    return this.#note(session, line.text(0), key, all);
  }

  /** A binary command; false when it must not be done. */
  binary(session: Session, command: string, key: Uint8Array): boolean {
    return this.#note(session, command, latin1(key, 0, key.length), "");
  }

  #note(session: Session, command: string, key: string, line: string): boolean {
    let connection = this.#connections.get(session);
    if (connection === undefined) this.#connections.set(session, (connection = ++this.#lastConnection));
    if (this.entries.length >= longestJournal) this.entries.shift();
    this.entries.push({ connection, command, key, line });
    const waiting = this.#faults.find(
      ({ fault, left }) => left > 0 && (fault.command ?? command) === command && (fault.key ?? key) === key,
    );
    if (waiting === undefined) return true;
    waiting.left--;
    return strike(session, waiting.fault, key);
  }
}

const faultKinds: Record<FaultKind, true> = {
  cut: true,
  cutAfter: true,
  stall: true,
  slow: true,
  outOfMemory: true,
  evict: true,
};
const faultNames: Record<keyof Fault, true> = { kind: true, command: true, key: true, times: true, delayMs: true };

/** A fault that is misspelled never strikes, or strikes everything, and its test would prove nothing. */
function checkFault(fault: Fault): void {
  if (typeof fault !== "object" || fault === null || !Object.hasOwn(faultKinds, fault.kind))
    throw new EverfreshError("EF_OPTION", `a fault has a kind: ${Object.keys(faultKinds).join(", ")}`);
  checkNames(fault, faultNames, "a fault");
}

function strike(session: Session, fault: Fault, key: string): boolean {
  const { disturbed } = session;
  switch (fault.kind) {
    case "cut":
      session.closing = true;
      session.desk.writer.length = 0;
      disturbed?.cut("now");
      return false;
    case "cutAfter":
      disturbed?.cut("instead");
      return true;
    case "stall":
      disturbed?.hold(Infinity);
      return true;
    case "slow":
      disturbed?.hold(fault.delayMs ?? 0);
      return true;
    case "outOfMemory":
      session.desk.writer.line("SERVER_ERROR out of memory storing object");
      return false;
    case "evict":
      evict(session, key);
      return true;
    default:
      return true;
  }
}

function evict(session: Session, key: string): void {
  const store = session.account?.store;
  const bytes = Buffer.from(key, "latin1");
  const item = store?.find(bytes, 0, bytes.length) ?? 0;
  if (item !== 0) store?.remove(item);
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}
