/**
 * Values over the server's item limit: cut into parts, read back whole or not at all.
 *
 *     key            -> manifest, marked in the flags: { id, size, parts }
 *     ef:part:<id>:0 -> the first bytes       ef:part:<id>:1 -> the next       ...
 *
 * The id is drawn anew for each writing, so parts of two writings can never be put together. The parts are stored before
 * the manifest: who finds the manifest finds the parts, unless the server has dropped one; then the value is a miss.
 */
import { EverfreshError } from "../errors.ts";
import type { Random } from "../clock.ts";

/** How a value was cut. */
export interface Manifest {
  readonly id: string;
  readonly size: number;
  readonly parts: number;
}

/** Values over this size are cut, where that is asked for: a little less than memcached's 1 MiB for key, header and value. */
export const partBytes = 1_000_000;

/** Cuts `data`; every part but the last is full. */
export function cut(data: Uint8Array, random: Random): { manifest: Manifest; parts: readonly Uint8Array[] } {
  const id = Buffer.from(random.bytes(15)).toString("base64url");
  const parts: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += partBytes) parts.push(data.subarray(at, at + partBytes));
  return { manifest: { id, size: data.length, parts: parts.length }, parts };
}

/** The key of a part. */
export function partKey({ id }: Manifest, part: number): string {
  return `ef:part:${id}:${part}`;
}

/** The keys of all parts, in their order. */
export function partKeys(manifest: Manifest): string[] {
  return Array.from({ length: manifest.parts }, (_, part) => partKey(manifest, part));
}

/**
 * Reads a manifest.
 *
 * @throws EverfreshError `EF_VALUE` when it is none, `EF_VALUE_TOO_LARGE` when it describes more than `limitBytes`
 */
export function parseManifest(text: string, limitBytes: number): Manifest {
  const match = /^\{"id":"([\w-]{20})","size":(\d{1,10}),"parts":(\d{1,5})\}$/.exec(text);
  const manifest = { id: match?.[1] ?? "", size: Number(match?.[2]), parts: Number(match?.[3]) };
  if (match === null || manifest.parts !== Math.ceil(manifest.size / partBytes))
    throw new EverfreshError("EF_VALUE", "The stored bytes are marked as a value in parts and do not describe one.");
  if (manifest.size > limitBytes)
    throw new EverfreshError(
      "EF_VALUE_TOO_LARGE",
      `The value in parts has ${manifest.size} bytes; the client's limit is ${limitBytes}.`,
    );
  return manifest;
}

/** The whole value, or undefined where a part is missing or has another size than it must have. */
export function join(manifest: Manifest, parts: readonly (Uint8Array | undefined)[]): Buffer | undefined {
  const found = parts.filter((part, at) => {
    const size = at === manifest.parts - 1 ? manifest.size - at * partBytes : partBytes;
    return part !== undefined && part.length === size;
  }) as Uint8Array[];
  return found.length === manifest.parts ? Buffer.concat(found) : undefined;
}
