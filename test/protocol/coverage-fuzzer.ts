/**
 * A coverage-guided fuzzer from what Node has: V8 tells which code ran, an input that reaches code for the first time is
 * kept, and the next inputs are made from those that were kept. So it finds its way through nested conditions, which
 * blind changes do not: see `fuzz.test.ts`.
 */
import { Session, type Profiler } from "node:inspector";

/** Draws a whole number from 0 to `below` - 1. */
export type Draw = (below: number) => number;

/** What is fuzzed. */
export interface Target {
  /** Throws when the input shows a bug. */
  readonly run: (input: Buffer) => void;
  readonly seeds: readonly Buffer[];
  /** Pieces that inputs are likely to need, such as the words of a protocol. */
  readonly words: readonly string[];
}

/** Asking V8 takes a while, so it is asked once for so many inputs, and one by one only where they reached something new. */
const batchInputs = 32;
const longestInput = 2048;

/** Which bytes of code ran, in the scripts whose address contains a word and that are loaded after this is made. */
export class Coverage {
  readonly #session = new Session();
  readonly #scripts: string;
  /** Of each script, which bytes of it ever ran. */
  readonly #ran = new Map<string, Uint8Array>();
  /** How many bytes ever ran. */
  reached = 0;

  constructor(scripts: string) {
    this.#scripts = scripts;
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** Whether anything ran since the last question that had never run before; with `remember` it counts as reached now. */
  reachedNew(remember: boolean): boolean {
    let isNew = false;
    for (const { url, functions } of this.#take()) {
      if (url.includes(this.#scripts)) isNew = this.#compare(url, functions, remember) || isNew;
    }
    return isNew;
  }

  stop(): void {
    this.#session.disconnect();
  }

  #compare(url: string, functions: readonly Profiler.FunctionCoverage[], remember: boolean): boolean {
    const ranges = functions.flatMap((each) => each.ranges);
    const length = Math.max(0, ...ranges.map((range) => range.endOffset));
    const ran = this.#ran.get(url) ?? new Uint8Array(length);
    this.#ran.set(url, ran);
    // Outer ranges come before those within them.
    const now = new Uint8Array(length);
    for (const { startOffset, endOffset, count } of ranges) now.fill(count > 0 ? 1 : 0, startOffset, endOffset);
    let fresh = 0;
    for (let at = 0; at < length; at++) if (now[at] === 1 && ran[at] !== 1) fresh++;
    if (remember && fresh > 0) {
      for (let at = 0; at < length; at++) if (now[at] === 1) ran[at] = 1;
      this.reached += fresh;
    }
    return fresh > 0;
  }

  #take(): readonly Profiler.ScriptCoverage[] {
    let result: readonly Profiler.ScriptCoverage[] = [];
    // In a session with the own thread the answer comes before `post` returns. The counts start at zero again.
    this.#session.post("Profiler.takePreciseCoverage", (error, answer) => {
      if (error !== null) throw error;
      ({ result } = answer);
    });
    return result;
  }
}

/**
 * Runs inputs until `goesOn` says no. Throws what `run` threw, with the input named.
 *
 * @param coverage left out: the seeds are changed blindly
 * @returns the number of inputs, and the seeds with all that was kept
 */
export function fuzz(
  { run, seeds, words }: Target,
  draw: Draw,
  goesOn: (inputs: number) => boolean,
  coverage?: Coverage,
): { inputs: number; corpus: readonly Buffer[] } {
  const attempt = (input: Buffer): void => {
    try {
      run(input);
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error);
      // Of a failed test its message is shown, not always its cause.
      throw new Error(`${found}\nFound by ${JSON.stringify(input.toString("latin1"))}`, { cause: error });
    }
  };
  const corpus = [...seeds];
  for (const seed of seeds) attempt(seed);
  coverage?.reachedNew(true);
  let inputs = 0;
  while (goesOn(inputs)) {
    const batch = Array.from({ length: batchInputs }, () => changed(corpus, words, draw));
    for (const input of batch) attempt(input);
    inputs += batch.length;
    if (coverage?.reachedNew(false) !== true) continue;
    for (const input of batch) {
      attempt(input);
      if (coverage.reachedNew(true)) corpus.push(input);
    }
  }
  return { inputs, corpus };
}

/** One of the inputs, the newer ones more often, with a few changes. */
function changed(corpus: readonly Buffer[], words: readonly string[], draw: Draw): Buffer {
  const pick = (): Buffer =>
    corpus[draw(2) === 0 ? draw(corpus.length) : corpus.length - 1 - draw(Math.min(8, corpus.length))] as Buffer;
  let input: Buffer = Buffer.from(pick());
  for (let changes = 1 + draw(4); changes > 0; changes--) input = change(input, pick, words, draw);
  return input.subarray(0, longestInput);
}

function change(input: Buffer, pick: () => Buffer, words: readonly string[], draw: Draw): Buffer {
  const at = draw(input.length + 1);
  const upTo = Math.min(input.length, at + draw(16));
  const spliced = (middle: Uint8Array, from = at, to = at): Buffer =>
    Buffer.concat([input.subarray(0, from), middle, input.subarray(to)]);
  switch (draw(8)) {
    case 0: // one byte becomes another
      return spliced(Buffer.from([draw(256)]), at, at + 1);
    case 1: // one bit
      return spliced(Buffer.from([(input[at] ?? 0) ^ (1 << draw(8))]), at, at + 1);
    case 2: // one digit
      return spliced(Buffer.from([48 + draw(10)]), at, at + draw(2));
    case 3: // a piece is left out
      return spliced(Buffer.alloc(0), at, upTo);
    case 4: // a piece comes twice
      return spliced(input.subarray(at, upTo));
    case 5: // the beginning of one, the end of another
      return spliced(pick().subarray(draw(input.length + 1)), at, input.length);
    default: // a word is put in, or replaces something
      return spliced(Buffer.from(words[draw(words.length)] ?? "", "latin1"), at, draw(2) === 0 ? at : upTo);
  }
}
