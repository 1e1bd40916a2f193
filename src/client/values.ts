/** Values to bytes and back: the profile's flags, and compression above a threshold. */
import { EverfreshError } from "../errors.ts";
import { Answer } from "../protocol/index.ts";
import { badArgument, wireValue } from "./arguments.ts";
import { canCompress, compress, decompress } from "./compression.ts";
import {
  profiles,
  type CompressionName,
  type Encoded,
  type Profile,
  type ProfileName,
  type Value,
} from "./profiles.ts";

/** When values are compressed, and how. */
export interface CompressionOptions {
  /** Values from this size on are compressed, if that makes them smaller. Default 4096 bytes. */
  readonly aboveBytes?: number | undefined;
  /** Default: zstd where this Node has it, else brotli, as far as the profile's other clients can read it. */
  readonly method?: CompressionName | undefined;
}

/** Turns values into what is sent, and answers into values. */
export class Values {
  readonly profile: Profile;
  /** Of the value that was encoded last, before it was compressed: its bytes or characters. */
  lastLength = 0;
  readonly #method: CompressionName | undefined;
  readonly #aboveBytes: number;
  readonly #limitBytes: number;
  /** All bits that mean "compressed". */
  readonly #compressed: number;

  constructor(profile: ProfileName, compression: CompressionOptions | undefined, limitBytes: number) {
    this.profile = profiles[profile];
    this.#limitBytes = limitBytes;
    this.#aboveBytes = compression?.aboveBytes ?? 4096;
    this.#method = compression === undefined ? undefined : chosenMethod(profile, compression.method);
    this.#compressed = Object.values(this.profile.compression).reduce((sum, bit) => sum | bit, 0);
  }

  /** What is to be stored for `value`; a promise only where compressing takes long. */
  encode(value: Value): Encoded | Promise<Encoded> {
    const encoded = this.profile.encode(value);
    const data = wireValue(encoded.data);
    this.lastLength = data.length;
    if (this.#method === undefined || !isLonger(data, this.#aboveBytes - 1)) return encoded;
    return this.#pack(this.#method, data, encoded.flags);
  }

  /** The value of an answer; a promise only where unpacking takes long. */
  decode(answer: Answer): unknown {
    const flags = answer.clientFlags;
    if ((flags & this.#compressed) === 0) return this.profile.decode(answer, flags);
    const { compression } = this.profile;
    for (const name of ["zstd", "brotli", "deflate"] as const) {
      const bit = compression[name] ?? 0;
      if ((flags & bit) === 0) continue;
      const unpacked = decompress(name, answer.bytes(), this.#limitBytes);
      const plain = (bytes: Buffer): unknown => this.profile.decode(holding(bytes), flags & ~bit);
      return unpacked instanceof Promise ? unpacked.then(plain) : plain(unpacked);
    }
    throw new EverfreshError("EF_VALUE", "The value is compressed in a way that nobody knows.");
  }

  #pack(method: CompressionName, data: string | Uint8Array, flags: number): Encoded | Promise<Encoded> {
    const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
    const bit = this.profile.compression[method] ?? 0;
    const choose = (packed: Buffer): Encoded =>
      packed.length < bytes.length ? { data: packed, flags: flags | bit } : { data, flags };
    const packed = compress(method, bytes);
    return packed instanceof Promise ? packed.then(choose) : choose(packed);
  }
}

/** Whether `data` has more than `limit` bytes. */
export function isLonger(data: string | Uint8Array, limit: number): boolean {
  // No character of a text has more than three bytes.
  if (typeof data === "string" && data.length <= limit && data.length * 3 > limit)
    return Buffer.byteLength(data, "utf8") > limit;
  return data.length > limit;
}

function chosenMethod(profile: ProfileName, asked: CompressionName | undefined): CompressionName {
  const readable = profiles[profile].compression;
  const names = asked === undefined ? (["zstd", "brotli", "deflate"] as const) : [asked];
  const method = names.find((name) => readable[name] !== undefined && canCompress(name));
  if (method === undefined)
    throw badArgument(`compression: ${asked ?? "it"} cannot be used with the profile ${profile} on this Node`);
  return method;
}

/** An answer that holds bytes of its own. */
export function holding(bytes: Buffer): Answer {
  const answer = new Answer();
  answer.hasData = true;
  answer.data = bytes;
  answer.dataStart = 0;
  answer.dataEnd = bytes.length;
  answer.owned = true;
  return answer;
}
