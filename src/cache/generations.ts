/**
 * Generations: invalidate many values at once.
 *
 * A tag, and each namespace on each server, has a generation: 64 random bits under a key of its own. A value records
 * the generations that were current before it was computed; a reader compares them with those that are current
 * after it came. A new generation is drawn for every attempt to invalidate, so that an attempt that arrives late
 * cannot bring an old generation back; a missing one is created with `add`, so that two creators agree. What is
 * missing, unreachable or different is a miss.
 */
import type { Backend, Item, Reading, ReadSink } from "../backend/index.ts";
import type { Random } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import type { Deliveries } from "./deliveries.ts";
import { generationBytes, type Generation, type KnownProvenance } from "./envelope.ts";
import { nextMoment } from "./moments.ts";

/** One question for one generation, and its answer once that is there. */
export class GenerationRead implements ReadSink {
  readonly wire: string;
  /** When it was asked; the answer is good for whoever came before. */
  readonly moment = nextMoment();
  /** The answer; undefined where it is missing, not there yet or unreachable. */
  current: Generation | undefined;
  state: "asked" | "known" | "missing" | "unreachable" = "asked";
  /**
   * Of a namespace's generation: a provenance that was found current by questions asked after this one's moment. What
   * has the same provenance and was asked with this question is current, too.
   */
  proven: KnownProvenance | undefined;
  readonly #questions: Questions;
  #answered: Deferred | undefined;

  constructor(wire: string, questions: Questions) {
    this.wire = wire;
    this.#questions = questions;
    questions.latest = this;
  }

  /** Resolves, never rejects, when the answer is there. */
  get answered(): Promise<void> {
    if (this.state !== "asked") return Promise.resolve();
    this.#answered ??= defer();
    return this.#answered.promise;
  }

  glance(data: Buffer, start: number, end: number): boolean {
    if (end - start !== generationBytes) return false;
    this.#know(data.toString("latin1", start, end) as Generation);
    return true;
  }

  found(reading: Reading): void {
    this.#know(reading.kind === "item" ? generationOf(reading.item) : undefined);
  }

  #know(generation: Generation | undefined): void {
    this.current = generation;
    this.state = this.current === undefined ? "missing" : "known";
    this.#questions.known = this;
    this.#answered?.resolve();
  }

  failed(): void {
    this.state = "unreachable";
    this.#answered?.resolve();
  }
}

/** The questions for one generation that may still be shared. */
interface Questions {
  latest: GenerationRead | undefined;
  /** The latest that has an answer. Another may be on its way, which those who came before this one need not wait for. */
  known: GenerationRead | undefined;
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

function defer(): Deferred {
  let resolve: () => void = noop;
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}

function noop(): void {
  // Replaced before anybody can call it.
}

/** So many answers are remembered, to be shared by those who came before they were asked for. */
const limitRemembered = 2_000;

export class Generations {
  readonly #backend: Backend;
  readonly #deliveries: Deliveries;
  readonly #random: Random;
  readonly #asked = new Map<string, Questions>();
  readonly #creations = new Map<string, Promise<Generation | undefined>>();

  constructor(backend: Backend, deliveries: Deliveries, random: Random) {
    this.#backend = backend;
    this.#deliveries = deliveries;
    this.#random = random;
  }

  /** The generation under `wire`, asked for after the moment `after`; several who ask in one tick share a question. */
  read(wire: string, after: number): GenerationRead {
    let questions = this.#asked.get(wire);
    if (questions === undefined) {
      if (this.#asked.size >= limitRemembered) this.#asked.clear();
      this.#asked.set(wire, (questions = { latest: undefined, known: undefined }));
    }
    const { latest, known } = questions;
    if (known !== undefined && known.moment > after) return known;
    if (latest !== undefined && latest.moment > after) return latest;
    return this.#ask(wire, questions);
  }

  /** The generation if it is in this process; for backends that need not wait. */
  peek(wire: string): Generation | undefined {
    const item = this.#backend.peek?.(wire);
    return item && generationOf(item);
  }

  /** The answer, with what is missing created. Undefined when it is unreachable. */
  async settle(read: GenerationRead): Promise<Generation | undefined> {
    if (read.state === "asked") await read.answered;
    if (read.state !== "missing") return read.current;
    let creation = this.#creations.get(read.wire);
    if (creation === undefined) {
      creation = this.#create(read.wire).finally(() => this.#creations.delete(read.wire));
      this.#creations.set(read.wire, creation);
    }
    return await creation;
  }

  /** Stores a new generation, another one for each attempt. Resolves when the server has confirmed. */
  async renew(backend: Backend, wire: string): Promise<void> {
    if (backend.reach === "nobody") return;
    const stored = await backend.put(wire, this.#draw(), 0, "set");
    if (!stored) throw new EverfreshError("EF_SERVER_ERROR", "the server did not store a generation");
  }

  #ask(wire: string, questions: Questions): GenerationRead {
    const read = new GenerationRead(wire, questions);
    const backend = this.#backend;
    if (this.#deliveries.blocked(backend.serverOf(wire))) read.failed();
    else if (backend.readInto) backend.readInto(wire, nothingMore, read);
    else
      backend.read(wire, nothingMore).then(
        (reading) => read.found(reading),
        () => read.failed(),
      );
    return read;
  }

  /** Creates a missing generation, or answers the one that somebody else created first. */
  async #create(wire: string): Promise<Generation | undefined> {
    try {
      for (let attempt = 0; attempt < 3; attempt++) {
        const item = this.#draw();
        if (await this.#backend.put(wire, item, 0, "add")) return generationOf(item);
        const reading = await this.#backend.read(wire, nothingMore);
        const found = reading.kind === "item" ? generationOf(reading.item) : undefined;
        if (found !== undefined) return found;
        // Something that is no generation stands there; whoever put it there did not use our keys.
        if (reading.kind === "item") await this.#backend.drop(wire, reading.token);
      }
    } catch {
      return undefined;
    }
    return undefined;
  }

  #draw(): Item {
    // Not copied, so that a generation that stays in this process does not lie in a pool.
    const { buffer, byteOffset, length } = this.#random.bytes(generationBytes);
    return { bytes: Buffer.from(buffer, byteOffset, length), flags: 0 };
  }
}

const nothingMore = {};

function generationOf(item: Item): Generation | undefined {
  if (item.bytes.length !== generationBytes) return undefined;
  return (item.memo ??= item.bytes.toString("latin1")) as Generation;
}
