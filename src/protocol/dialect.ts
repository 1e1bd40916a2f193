/** The ways of saying and reading commands, each behind the same two functions. */
import { AsciiReader } from "./ascii-reader.ts";
import type { Command } from "./command.ts";
import { encodeMeta } from "./meta-encoder.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Asker, Reader, ReadLimits } from "./reader.ts";
import { encodeText } from "./text-encoder.ts";

/** The protocols that memcached speaks. */
export type ProtocolName = "meta" | "text";

/** One protocol: how to ask, and how to read the answers. */
export interface Dialect {
  readonly name: ProtocolName;
  encode(command: Command, out: Outgoing): void;
  reader(asker: Asker, limits: ReadLimits): Reader;
}

/** All protocols by their names. */
export const dialects: Readonly<Record<ProtocolName, Dialect>> = {
  meta: {
    name: "meta",
    encode: encodeMeta,
    reader: (asker, limits) => new AsciiReader(asker, limits, true),
  },
  text: {
    name: "text",
    encode: encodeText,
    reader: (asker, limits) => new AsciiReader(asker, limits, false),
  },
};
