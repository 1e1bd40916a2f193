/** Keys in base64, as the flag `b` of the meta commands carries them. */

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const codes = Uint8Array.from(alphabet, (letter) => letter.charCodeAt(0));
const values = new Int8Array(256).fill(-1);
for (const [value, code] of codes.entries()) values[code] = value;
const pad = 61;

/** Decodes `bytes[start, end)` into `target`; returns the length, or 0 for what is no base64. */
export function decodeBase64(bytes: Uint8Array, start: number, end: number, target: Uint8Array): number {
  if (end === start || (end - start) % 4 !== 0) return 0;
  let length = 0;
  for (let at = start; at < end; at += 4) {
    let group = 0;
    let pads = 0;
    for (let i = 0; i < 4; i++) {
      const code = bytes[at + i] as number;
      const value = code === pad && at + 4 === end && i >= 2 ? 0 : (values[code] as number);
      if (value < 0 || (pads > 0 && code !== pad)) return 0;
      if (code === pad) pads++;
      group = (group << 6) | value;
    }
    target[length++] = group >>> 16;
    if (pads < 2) target[length++] = (group >>> 8) & 0xff;
    if (pads < 1) target[length++] = group & 0xff;
  }
  return length;
}

/** Writes `bytes[start, end)` as base64 at `at`; returns where it ends. */
export function writeBase64(bytes: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  let to = at;
  for (let from = start; from < end; from += 3) {
    const left = end - from;
    const group =
      ((bytes[from] as number) << 16) |
      (left > 1 ? (bytes[from + 1] as number) << 8 : 0) |
      (left > 2 ? (bytes[from + 2] as number) : 0);
    target[to++] = codes[group >>> 18] as number;
    target[to++] = codes[(group >>> 12) & 63] as number;
    target[to++] = left > 1 ? (codes[(group >>> 6) & 63] as number) : pad;
    target[to++] = left > 2 ? (codes[group & 63] as number) : pad;
  }
  return to;
}

/**
 * A mark of the base64 text of a key, by which an answer is told from that to another key: 64 bits by two runs of FNV-1a
 * (RFC 9923), the second from another beginning. It is no secret, and need not withstand anybody.
 */
export function keyMark(text: string): string {
  let one = 0x811c9dc5;
  let other = 0x01000193;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 0x01000193);
    other = Math.imul(other ^ code, 0x01000193);
  }
  return (one >>> 0).toString(36) + (other >>> 0).toString(36);
}
