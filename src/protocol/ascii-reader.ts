/**
 * Meta and classic text replies, as they come, handed to whoever asked: which command each belongs to, and when its
 * answer is whole.
 */
import { EverfreshError } from "../errors.ts";
import { Answer } from "./answer.ts";
import { AsciiFrames, type FrameSink } from "./ascii-frames.ts";
import type { Asker, Reader, ReadLimits } from "./reader.ts";
import type { Command, Verb } from "./command.ts";
import { manyInText } from "./meta-encoder.ts";
import { readMeta } from "./meta-reader.ts";
import { readText } from "./text-reader.ts";

/** Reads the replies of one connection that speaks meta or classic text. */
export class AsciiReader implements Reader, FrameSink {
  readonly #asker: Asker;
  readonly #meta: boolean;
  readonly #limits: ReadLimits;
  readonly #frames: AsciiFrames;
  readonly #answer = new Answer();
  /** How many replies of the oldest command have come. */
  #seen = 0;

  /** @param meta whether commands that have a meta form were said in it */
  constructor(asker: Asker, limits: ReadLimits, meta: boolean) {
    this.#asker = asker;
    this.#meta = meta;
    this.#limits = limits;
    this.#frames = new AsciiFrames(this, this.#answer, limits);
  }

  feed(chunk: Buffer): void {
    this.#frames.feed(chunk);
  }

  keepsBlock(): boolean {
    return this.#asker.keepsBytes();
  }

  frame(line: Buffer, start: number, end: number, hasBlock: boolean): void {
    const last = this.#read(line, start, end, hasBlock);
    this.#asker.answered(this.#answer, last);
  }

  oversized(line: Buffer, start: number, end: number, size: number): void {
    const last = this.#read(line, start, end, true);
    this.#answer.makeOversized(size, this.#limits.valueBytes);
    this.#asker.answered(this.#answer, last);
  }

  /** Reads a reply to the oldest command; returns whether it was the last one. */
  #read(line: Buffer, start: number, end: number, hasBlock: boolean): boolean {
    const command = this.#asker.oldest();
    if (command === undefined)
      throw new EverfreshError("EF_PROTOCOL", "The server sent a reply that nobody had asked for.");
    const answer = this.#answer;
    if (this.#meta) {
      if (command.verb === "getMany") {
        if (!manyInText(command)) return this.#metaMany(command, line, start, end, hasBlock);
      } else if (saidInMeta(command)) {
        readMeta(command, command.key, line, start, end, hasBlock, answer);
        return true;
      }
    }
    if (this.#seen === 0) answer.index = -1;
    const last = readText(command, line, start, end, hasBlock, answer);
    this.#seen = last ? 0 : this.#seen + 1;
    return last;
  }

  #metaMany(command: Command, line: Buffer, start: number, end: number, hasBlock: boolean): boolean {
    const keys = command.details?.keys ?? [];
    const index = this.#seen;
    const last = index + 1 === keys.length;
    this.#answer.index = index;
    readMeta(command, keys[index] ?? "", line, start, end, hasBlock, this.#answer);
    this.#seen = last ? 0 : index + 1;
    return last;
  }
}

/** What a meta connection says in classic text. */
const classic: ReadonlySet<Verb> = new Set<Verb>(["version", "flush", "stats", "cluster", "login", "sasl"]);

/** Whether a meta connection says `command`, which is about one key, in meta words. */
function saidInMeta({ verb, base64 }: Command): boolean {
  // Most are one of the two, and a comparison is cheaper than a look into the set.
  if (verb === "get" || verb === "store") return true;
  return verb === "touch" ? base64 : !classic.has(verb);
}
