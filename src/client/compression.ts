/**
 * Compression: small values at once, where it costs microseconds; large ones, packed or unpacked, in Node's thread pool.
 *
 * Output is bounded both ways, so that a few hostile bytes cannot become gigabytes.
 */
import { promisify } from "node:util";
import { EverfreshError } from "../errors.ts";
import type { CompressionName } from "./profiles.ts";

/** From this size on the work is done in the thread pool. */
const poolBytes = 16 * 1024;

/** What unpacks to more is unpacked in the thread pool, too: the packed size says little about that. */
const unpackedPoolBytes = 128 * 1024;

/** What came out, and who says how much of the input that took. */
interface Unpacked {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

type Sync<Result = Buffer> = (data: Uint8Array, options?: object) => Result;
type Async<Result = Buffer> = (data: Uint8Array, options?: object) => Promise<Result>;

interface Method {
  readonly pack: Sync;
  readonly packInPool: Async;
  readonly unpack: Sync<Unpacked>;
  readonly unpackInPool: Async<Unpacked>;
}

/** zstd came with Node 22.15; the types of the oldest Node that is supported do not know it. */
type Zlib = Partial<Record<string, (...args: unknown[]) => unknown>>;

function methodsOf(zlib: typeof import("node:zlib")): Partial<Record<CompressionName, Method>> {
  const newer = zlib as unknown as Zlib;
  const pool = <Result>(name: string): Async<Result> => promisify(newer[name] as never);
  const brotliSpeed = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } };
  const brotliInPool = pool<Buffer>("brotliCompress");
  return {
    deflate: {
      pack: (data) => zlib.deflateSync(data),
      packInPool: pool("deflate"),
      unpack: newer["inflateSync"] as Sync<Unpacked>,
      unpackInPool: pool("inflate"),
    },
    brotli: {
      pack: (data) => zlib.brotliCompressSync(data, brotliSpeed),
      packInPool: (data) => brotliInPool(data, brotliSpeed),
      unpack: newer["brotliDecompressSync"] as Sync<Unpacked>,
      unpackInPool: pool("brotliDecompress"),
    },
    ...(newer["zstdCompressSync"] === undefined
      ? {}
      : {
          zstd: {
            pack: newer["zstdCompressSync"] as Sync,
            packInPool: pool("zstdCompress"),
            unpack: newer["zstdDecompressSync"] as Sync<Unpacked>,
            unpackInPool: pool("zstdDecompress"),
          },
        }),
  };
}

let loaded: Partial<Record<CompressionName, Method>> | undefined;

/** Loaded when first used: most programs compress nothing. */
function methods(): Partial<Record<CompressionName, Method>> {
  return (loaded ??= methodsOf(process.getBuiltinModule("node:zlib")));
}

/** Whether this Node has the method. */
export function canCompress(name: CompressionName): boolean {
  return methods()[name] !== undefined;
}

/** Compresses `data`; at once when it is small. */
export function compress(name: CompressionName, data: Uint8Array): Buffer | Promise<Buffer> {
  const method = methodOf(name);
  return data.length < poolBytes ? method.pack(data) : method.packInPool(data);
}

/**
 * Undoes {@link compress}.
 *
 * @throws EverfreshError `EF_VALUE` when the bytes are damaged, have others behind them, or are larger than `limitBytes` when
 * unpacked
 */
export function decompress(name: CompressionName, data: Uint8Array, limitBytes: number): Buffer | Promise<Buffer> {
  const method = methodOf(name);
  const few = data.length < poolBytes ? unpackAtOnce(name, data, Math.min(limitBytes, unpackedPoolBytes)) : undefined;
  if (few !== undefined) return whole(name, data, few);
  return method.unpackInPool(data, { info: true, maxOutputLength: limitBytes }).then(
    (unpacked) => whole(name, data, unpacked),
    (error: unknown) => damaged(name, error),
  );
}

/** Undefined where more than `limitBytes` would come out. */
function unpackAtOnce(name: CompressionName, data: Uint8Array, limitBytes: number): Unpacked | undefined {
  try {
    return methodOf(name).unpack(data, { info: true, maxOutputLength: limitBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return undefined;
    return damaged(name, error);
  }
}

/** What was appended on the server lies behind the end of the packed bytes, where nobody would miss it. */
function whole(name: CompressionName, data: Uint8Array, { buffer, engine }: Unpacked): Buffer {
  if (engine.bytesWritten !== data.length)
    throw new EverfreshError("EF_VALUE", `Something was appended to a value that is packed by ${name}.`);
  return buffer;
}

function damaged(name: CompressionName, cause: unknown): never {
  throw new EverfreshError("EF_VALUE", `The stored bytes are marked as ${name} and cannot be unpacked.`, { cause });
}

function methodOf(name: CompressionName): Method {
  const method = methods()[name];
  if (method === undefined) throw new EverfreshError("EF_VALUE", `This Node has no ${name}.`);
  return method;
}
