/**
 * Binary replies read as answers (protocol-binary.txt).
 *
 *     magic 0x81 | opcode | key length u16 | extras length u8 | 0 | status u16 | body length u32 | opaque u32 | cas u64 | extras | key | value
 *
 * A reply must carry the number and the opcode of its command, and the key where it names one.
 */
import { EverfreshError } from "../errors.ts";
import { Answer, type AnswerKind } from "./answer.ts";
import { firstOpaque, opcode } from "./binary-encoder.ts";
import { want, type Command } from "./command.ts";
import { decodedKey } from "./key.ts";
import { longestValue, type Asker, type ReadLimits } from "./reader.ts";

const headerBytes = 24;
const none = Buffer.alloc(0);

/** Statuses (protocol-binary.txt, "Response Status"). */
const status = {
  ok: 0x00,
  notFound: 0x01,
  exists: 0x02,
  tooLarge: 0x03,
  invalid: 0x04,
  notStored: 0x05,
  notANumber: 0x06,
  authFailed: 0x20,
  authContinue: 0x21,
  unknown: 0x81,
} as const;

/** Reads the replies of one connection that speaks binary. */
export class BinaryReader {
  readonly #asker: Asker;
  readonly #limits: ReadLimits;
  readonly #answer = new Answer();
  /** A frame whose end has not come: what is there of it, and how much. */
  #partial: Buffer = none;
  #have = 0;
  /** Of a value over the limit: its size, 0 where there is none, and how much of it has been counted away. */
  #oversize = 0;
  #counted = 0;
  /** The number of the oldest command. */
  #opaque = firstOpaque;
  #heard = false;
  #seen = 0;

  constructor(asker: Asker, limits: ReadLimits) {
    this.#asker = asker;
    this.#limits = limits;
  }

  feed(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#have > 0 || chunk.length - at < headerBytes) at = this.#collect(chunk, at);
      else {
        const length = this.#frameLength(chunk, at);
        if (at + length > chunk.length) at = this.#collect(chunk, at);
        else {
          const last = this.#frame(chunk, at, at + length, false);
          this.#asker.answered(this.#answer, last);
          at += length;
        }
      }
    }
  }

  /** Copies what belongs to a cut frame; hands it on when it is whole. */
  #collect(chunk: Buffer, start: number): number {
    let at = start;
    if (this.#have < headerBytes) {
      if (this.#have === 0) this.#partial = Buffer.allocUnsafeSlow(headerBytes);
      at += this.#copy(chunk, at, headerBytes);
      if (this.#have < headerBytes) {
        this.#checkMagic(this.#partial, 0, this.#have);
        return at;
      }
      const length = this.#frameLength(this.#partial, 0);
      const whole = Buffer.allocUnsafeSlow(length === Infinity ? this.#openOversized() : length);
      this.#partial.copy(whole, 0, 0, headerBytes);
      this.#partial = whole;
    }
    at += this.#copy(chunk, at, this.#partial.length);
    if (this.#have < this.#partial.length) return at;
    if (this.#counted < this.#oversize) {
      const part = Math.min(this.#oversize - this.#counted, chunk.length - at);
      this.#counted += part;
      at += part;
      if (this.#counted < this.#oversize) return at;
    }
    const whole = this.#partial;
    this.#partial = none;
    this.#have = 0;
    const last = this.#frame(whole, 0, whole.length, true);
    if (this.#oversize > 0) this.#answer.makeOversized(this.#oversize, this.#limits.valueBytes);
    this.#oversize = 0;
    this.#asker.answered(this.#answer, last);
    return at;
  }

  /** Of a frame whose value is over the limit, only what comes before the value is kept; returns how much that is. */
  #openOversized(): number {
    const keyAndExtras = partsLength(this.#partial, 0);
    this.#oversize = this.#partial.readUInt32BE(8) - keyAndExtras;
    this.#counted = 0;
    return headerBytes + keyAndExtras;
  }

  #copy(chunk: Buffer, at: number, upTo: number): number {
    const part = Math.min(upTo - this.#have, chunk.length - at);
    chunk.copy(this.#partial, this.#have, at, at + part);
    this.#have += part;
    return part;
  }

  #checkMagic(buffer: Buffer, at: number, have: number): void {
    if (buffer[at] === 0x81) return;
    // What memcached says before it hangs up, in text whatever is spoken.
    if (!this.#heard && /^ERROR Too many/i.test(buffer.toString("latin1", at, at + have)))
      throw new EverfreshError("EF_SERVER_DOWN", "The server has too many open connections.");
    if (!this.#heard) throw new EverfreshError("EF_UNSUPPORTED", "The server does not speak the binary protocol.");
    throw broken("a reply does not begin with 0x81");
  }

  /** How long the frame is; Infinity where its value is over the limit. */
  #frameLength(buffer: Buffer, at: number): number {
    this.#checkMagic(buffer, at, headerBytes);
    this.#heard = true;
    const body = buffer.readUInt32BE(at + 8);
    const keyAndExtras = partsLength(buffer, at);
    if (keyAndExtras > body) throw broken("a reply is shorter than its parts");
    if (body - keyAndExtras > this.#limits.valueBytes) return this.#overLimit(buffer, at, body, body - keyAndExtras);
    return headerBytes + body;
  }

  /** Texts of the server's may be as long as a line; only values are counted away. */
  #overLimit(buffer: Buffer, at: number, body: number, size: number): number {
    const isValue = valueOpcodes.has(buffer[at + 1] ?? 0) && buffer.readUInt16BE(at + 6) === status.ok;
    if (isValue && size <= longestValue) return Infinity;
    if (isValue || size > this.#limits.valueBytes + this.#limits.lineBytes)
      throw broken(`a reply of ${body} bytes is over the limit`);
    return headerBytes + body;
  }

  /** Reads a reply to the oldest command; returns whether it was the last one. */
  #frame(buffer: Buffer, at: number, end: number, own: boolean): boolean {
    const command = this.#asker.oldest();
    if (command === undefined) throw broken("a reply came that nobody had asked for");
    if (buffer.readUInt32BE(at + 12) !== this.#opaque) throw broken("a reply has another number than its command");
    const code = buffer[at + 1] ?? 0;
    const keyLength = buffer.readUInt16BE(at + 2);
    const extras = buffer[at + 4] ?? 0;
    const answer = this.#answer;
    const keyStart = at + headerBytes + extras;
    answer.data = buffer;
    answer.dataStart = keyStart + keyLength;
    answer.dataEnd = end;
    // A cut frame lies in memory of its own; it may go with the value where that is most of it.
    answer.owned = own && 2 * (end - answer.dataStart) >= buffer.length;
    const last = read(command, code, buffer.readUInt16BE(at + 6), buffer, at, keyStart, answer, this.#seen);
    // Only a hit says which of the keys it is about.
    if (last) this.#seen = 0;
    else if (answer.kind === "hit") this.#seen = answer.index + 1;
    if (last) this.#opaque = (this.#opaque + 1) >>> 0;
    return last;
  }
}

/** How much of a frame's body comes before its value. */
function partsLength(buffer: Buffer, at: number): number {
  return buffer.readUInt16BE(at + 2) + (buffer[at + 4] ?? 0);
}

/** Reads one frame into `answer`; returns whether it was the last of the command's. */
function read(
  command: Command,
  code: number,
  state: number,
  buffer: Buffer,
  at: number,
  keyStart: number,
  answer: Answer,
  seen: number,
): boolean {
  const key = buffer.toString("latin1", keyStart, answer.dataStart);
  if (state !== status.ok && command.verb === "getMany" && code === opcode.getKeyQuiet && state === status.notFound) {
    throw broken("a quiet read told of a miss");
  }
  answer.reset("ok");
  const kind = kindOf(command, code, state, key);
  answer.reset(kind);
  if (kind === "hit") {
    answer.index = command.verb === "getMany" ? indexOf(command, key, seen) : 0;
    if (command.verb === "get" && key !== (command.base64 ? decodedKey(command.key) : command.key)) throw wrongKey();
    answer.hasData = true;
    answer.clientFlags = keyStart - at >= headerBytes + 4 ? buffer.readUInt32BE(at + headerBytes) : 0;
    answer.cas = String(buffer.readBigUInt64BE(at + 16));
    return command.verb === "get";
  }
  if (kind === "stored") answer.cas = String(buffer.readBigUInt64BE(at + 16));
  if (kind === "line") {
    answer.text = `${key} ${answer.latin1Value()}`;
    return false;
  }
  if (kind === "number") {
    if (answer.dataEnd - answer.dataStart !== 8) throw broken("a number does not have 8 bytes");
    answer.text = String(buffer.readBigUInt64BE(answer.dataStart));
    if ((command.wanted & want.cas) !== 0) answer.cas = String(buffer.readBigUInt64BE(at + 16));
    return true;
  }
  answer.text = answer.latin1Value().slice(0, 1000);
  // An error among the answers of a batch: its last answer is that of the no-op.
  return !(command.verb === "getMany" && code === opcode.getKeyQuiet);
}

const errors: Readonly<Record<number, AnswerKind>> = {
  [status.tooLarge]: "tooLarge",
  [status.invalid]: "clientError",
  [status.notANumber]: "clientError",
  [status.authFailed]: "authError",
  [status.authContinue]: "authError",
  [status.unknown]: "unsupported",
};

function kindOf(command: Command, code: number, state: number, key: string): AnswerKind {
  const { verb, details } = command;
  if (!opcodes(command).includes(code)) throw broken(`its opcode does not answer ${verb}`);
  if (state === status.ok) {
    if (verb === "stats") return key === "" ? "ok" : "line";
    if (verb === "getMany") return code === opcode.noop ? "ok" : "hit";
    return done[verb] ?? "ok";
  }
  const error = errors[state];
  if (error !== undefined) return error;
  const guarded = details?.compareCas !== undefined;
  if (state === status.notStored) return "notStored";
  if (state === status.notFound) {
    if (verb === "get") return "miss";
    // It has no numbers of that name.
    if (verb === "stats") return "unsupported";
    return verb === "store" && !guarded ? "notStored" : "notFound";
  }
  if (state === status.exists) return verb === "store" && !guarded ? "notStored" : "exists";
  return "serverError";
}

const done: Partial<Record<Command["verb"], AnswerKind>> = {
  get: "hit",
  store: "stored",
  delete: "deleted",
  touch: "touched",
  arithmetic: "number",
};

/** The opcodes whose replies carry a value that somebody stored. */
const valueOpcodes: ReadonlySet<number> = new Set([opcode.getKey, opcode.getKeyQuiet, opcode.getAndTouchKey]);

/** The opcodes that a reply to `command` may have. */
function opcodes({ verb, ttl, details }: Command): readonly number[] {
  if (verb === "get") return ttl === undefined ? [opcode.getKey] : [opcode.getAndTouchKey];
  if (verb === "store") return [opcode[details?.mode ?? "set"]];
  if (verb === "arithmetic") return [details?.subtract === true ? opcode.decrement : opcode.increment];
  return fixedOpcodes[verb] ?? [];
}

const fixedOpcodes: Partial<Record<Command["verb"], readonly number[]>> = {
  getMany: [opcode.getKeyQuiet, opcode.noop],
  delete: [opcode.delete],
  touch: [opcode.touch],
  noop: [opcode.noop],
  version: [opcode.version],
  flush: [opcode.flush],
  stats: [opcode.stat],
  sasl: [opcode.saslAuth],
};

/** Which of the command's keys is meant; answers come in the order of asking. */
function indexOf(command: Command, key: string, from: number): number {
  const { keys = [], encoded } = command.details ?? {};
  for (let at = from; at < keys.length; at++) {
    const asked = keys[at] ?? "";
    if ((encoded?.[at] === true ? decodedKey(asked) : asked) === key) return at;
  }
  throw wrongKey();
}

function wrongKey(): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", "The server answered for another key than the one it was asked for.");
}

function broken(what: string): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", `The server broke the protocol: ${what}.`);
}
