/** The protocols, each behind the same two functions: say a command, read what comes back. */
import { AsciiReader } from "./ascii-reader.ts";
import { encodeBinary, firstOpaque } from "./binary-encoder.ts";
import { BinaryReader } from "./binary-reader.ts";
import type { Command } from "./command.ts";
import { encodeMeta } from "./meta-encoder.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Asker, Reader, ReadLimits } from "./reader.ts";
import { encodeText } from "./text-encoder.ts";

/** The protocols that memcached speaks. */
export type ProtocolName = "meta" | "binary" | "text";

/** A protocol on one connection. Commands must be answered in the order in which they were encoded. */
export interface Dialect extends Reader {
  encode(command: Command, out: Outgoing): void;
}

/** Begins to speak `name` on a fresh connection. */
export function speak(name: ProtocolName, asker: Asker, limits: ReadLimits): Dialect {
  if (name === "meta") return new Meta(asker, limits, true);
  if (name === "text") return new ClassicText(asker, limits, false);
  return new Binary(asker, limits);
}

class Meta extends AsciiReader implements Dialect {
  encode(command: Command, out: Outgoing): void {
    encodeMeta(command, out);
  }
}

class ClassicText extends AsciiReader implements Dialect {
  encode(command: Command, out: Outgoing): void {
    encodeText(command, out);
  }
}

class Binary extends BinaryReader implements Dialect {
  #next = firstOpaque;

  encode(command: Command, out: Outgoing): void {
    encodeBinary(command, this.#next, out);
    this.#next = (this.#next + 1) >>> 0;
  }
}
