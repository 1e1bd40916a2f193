/**
 * The flags of a meta command (protocol.txt, "Meta Commands"): one letter each, some with a token behind it.
 *
 *     mg <key> <flags>*      ms <key> <length> <flags>*      md, ma <key> <flags>*
 *
 * They are read into fields that the next request overwrites; what must be answered is read off the words again.
 */
import { decodeBase64 } from "./base64-key.ts";
import { type RequestLine, longestKey } from "./request-line.ts";
import { type Halves } from "./u64.ts";

/** The longest opaque token, its letter included. */
export const longestOpaque = 32;

const badToken = "CLIENT_ERROR bad token in command line format";
const flagBit = (letter: string): number => letter.charCodeAt(0);

/** Letters of the flags that are known, with what follows them. */
const B = flagBit("b");
const known = new Uint8Array(128);
for (const letter of "bcCDEfFhIJklLMNOPqRstTuvx") known[flagBit(letter)] = 1;

export class MetaRequest {
  quiet = false;
  value = false;
  noBump = false;
  invalidates = false;
  drops = false;
  binaryKey = false;
  /** The mode letter of `M`, or 0. */
  mode = 0;
  /** The tokens of T, N and R, and whether they were given. */
  hasTtl = false;
  ttl = 0;
  vivifies = false;
  vivifyTtl = 0;
  recaches = false;
  recacheTtl = 0;
  clientFlags = 0;
  compares = false;
  readonly cas: Halves = { high: 0, low: 0 };
  chooses = false;
  readonly newCas: Halves = { high: 0, low: 0 };
  readonly delta: Halves = { high: 0, low: 1 };
  readonly initial: Halves = { high: 0, low: 0 };
  /** The key: in the line, or decoded. */
  key: Uint8Array = new Uint8Array(0);
  keyStart = 0;
  keyEnd = 0;
  readonly #decoded = new Uint8Array(longestKey);
  readonly #seen = new Uint32Array(128);
  #round = 0;

  /** Reads the flags from word `first` on; returns what is wrong with them, as memcached words it, or undefined. */
  read(line: RequestLine, first: number): string | undefined {
    this.#reset(line);
    const round = ++this.#round;
    const seen = this.#seen;
    let error: string | undefined;
    for (let word = first; word < line.words; word++) {
      const letter = line.letter(word);
      if (letter >= 127 || seen[letter] === round) return "CLIENT_ERROR duplicate flag";
      if (known[letter] !== 1) return "CLIENT_ERROR invalid flag";
      seen[letter] = round;
      error = this.#flag(line, word, letter) ?? error;
    }
    return error;
  }

  #reset(line: RequestLine): void {
    this.quiet = this.value = this.noBump = this.invalidates = this.drops = this.binaryKey = false;
    this.mode = 0;
    this.hasTtl = this.vivifies = this.recaches = this.compares = this.chooses = false;
    this.ttl = this.clientFlags = 0;
    this.delta.high = 0;
    this.delta.low = 1;
    this.initial.high = this.initial.low = 0;
    this.key = line.bytes;
    this.keyStart = line.start[1] as number;
    this.keyEnd = line.end[1] as number;
  }

  #flag(line: RequestLine, word: number, letter: number): string | undefined {
    switch (letter) {
      case B:
        return this.#decodeKey(line);
      case 113: // q
        this.quiet = true;
        return undefined;
      case 118: // v
        this.value = true;
        return undefined;
      case 117: // u
        this.noBump = true;
        return undefined;
      case 120: // x
        this.drops = true;
        return undefined;
      case 73: // I
        this.invalidates = true;
        return undefined;
      case 84: // T
        this.hasTtl = true;
        if (!line.integer(word, 1)) return badToken;
        this.ttl = line.number;
        return undefined;
      case 78: // N
        this.vivifies = true;
        if (!line.integer(word, 1)) return badToken;
        this.vivifyTtl = line.number;
        return undefined;
      case 82: // R
        this.recaches = true;
        if (!line.integer(word, 1)) return badToken;
        this.recacheTtl = line.number;
        return undefined;
      default:
        return this.#number(line, word, letter);
    }
  }

  #number(line: RequestLine, word: number, letter: number): string | undefined {
    switch (letter) {
      case 70: // F
        if (!line.unsigned(word, 1)) return "CLIENT_ERROR bad command line format";
        this.clientFlags = line.number | 0;
        return undefined;
      case 67: // C
        this.compares = true;
        return take(line, word, this.cas) ? undefined : badToken;
      case 69: // E
        this.chooses = true;
        return take(line, word, this.newCas) ? undefined : badToken;
      case 77: // M
        if (line.length(word) !== 2) return "CLIENT_ERROR incorrect length for M token";
        this.mode = line.bytes[(line.start[word] as number) + 1] as number;
        return undefined;
      case 74: // J
        return take(line, word, this.initial) ? undefined : "CLIENT_ERROR invalid numeric initial value";
      case 68: // D
        return take(line, word, this.delta) ? undefined : "CLIENT_ERROR invalid numeric delta value";
      default:
        return undefined;
    }
  }

  #decodeKey(line: RequestLine): string | undefined {
    this.binaryKey = true;
    const length = decodeBase64(line.bytes, line.start[1] as number, line.end[1] as number, this.#decoded);
    if (length === 0) return "CLIENT_ERROR error decoding key";
    this.key = this.#decoded;
    this.keyStart = 0;
    this.keyEnd = length;
    return undefined;
  }
}

function take(line: RequestLine, word: number, into: Halves): boolean {
  if (!line.unsigned64(word, 1)) return false;
  into.high = line.halves.high;
  into.low = line.halves.low;
  return true;
}
