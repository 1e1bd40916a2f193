/**
 * Compression: small values at once, where it costs microseconds; large ones in Node's thread pool.
 *
 * Output is bounded both ways, so that a few hostile bytes cannot become gigabytes.
 */
import { promisify } from "node:util";
import { EverfreshError } from "../errors.ts";
import type { CompressionName } from "./profiles.ts";

/** From this size on the work is done in the thread pool. */
const poolBytes = 16 * 1024;

type Sync = (data: Uint8Array, options?: object) => Buffer;
type Async = (data: Uint8Array, options?: object) => Promise<Buffer>;

interface Method {
  readonly pack: Sync;
  readonly packInPool: Async;
  readonly unpack: Sync;
  readonly unpackInPool: Async;
}

/** zstd came with Node 22.15; the types of the oldest Node that is supported do not know it. */
type Zlib = Partial<Record<string, (...args: unknown[]) => unknown>>;

function methodsOf(zlib: typeof import("node:zlib")): Partial<Record<CompressionName, Method>> {
  const newer = zlib as unknown as Zlib;
  const pool = (name: string): Async => promisify(newer[name] as never);
  const brotliSpeed = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } };
  const brotliInPool = pool("brotliCompress");
  return {
    deflate: {
      pack: (data) => zlib.deflateSync(data),
      packInPool: pool("deflate"),
      unpack: (data, options) => zlib.inflateSync(data, options),
      unpackInPool: pool("inflate"),
    },
    brotli: {
      pack: (data) => zlib.brotliCompressSync(data, brotliSpeed),
      packInPool: (data) => brotliInPool(data, brotliSpeed),
      unpack: (data, options) => zlib.brotliDecompressSync(data, options),
      unpackInPool: pool("brotliDecompress"),
    },
    ...(newer["zstdCompressSync"] === undefined
      ? {}
      : {
          zstd: {
            pack: newer["zstdCompressSync"] as Sync,
            packInPool: pool("zstdCompress"),
            unpack: newer["zstdDecompressSync"] as Sync,
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
 * @throws EverfreshError `EF_VALUE` when the bytes are damaged or larger than `limitBytes` when unpacked
 */
export function decompress(name: CompressionName, data: Uint8Array, limitBytes: number): Buffer | Promise<Buffer> {
  const method = methodOf(name);
  const options = { maxOutputLength: limitBytes };
  if (data.length >= poolBytes)
    return method.unpackInPool(data, options).catch((error: unknown) => damaged(name, error));
  try {
    return method.unpack(data, options);
  } catch (error) {
    return damaged(name, error);
  }
}

function damaged(name: CompressionName, cause: unknown): never {
  throw new EverfreshError("EF_VALUE", `The stored bytes are marked as ${name} and cannot be unpacked.`, { cause });
}

function methodOf(name: CompressionName): Method {
  const method = methods()[name];
  if (method === undefined) throw new EverfreshError("EF_VALUE", `This Node has no ${name}.`);
  return method;
}
