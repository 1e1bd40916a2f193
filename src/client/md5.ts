/**
 * MD5 (RFC 1321) of short texts, as libmemcached uses it to place keys. Not for anything secret.
 *
 * Asking `node:crypto` costs more than a whole pipelined get; for the one or two blocks of a key this is several times
 * cheaper.
 */

const shifts = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const;

/** For each of the 64 steps: which word, by how much to turn, what to add (RFC 1321, section 3.4). */
const word = new Uint8Array(64);
const turn = new Uint8Array(64);
const sine = new Int32Array(64);
for (let step = 0; step < 64; step++) {
  const round = step >> 4;
  word[step] = [step, 5 * step + 1, 3 * step + 5, 7 * step].map((index) => index & 15)[round] ?? 0;
  turn[step] = shifts[round as 0 | 1 | 2 | 3][(step & 3) as 0 | 1 | 2 | 3];
  sine[step] = Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32) | 0;
}

const block = new Int32Array(16);
const state = new Int32Array(4);

/** The four words of the digest of `text` (latin1), little-endian as they stand in it. The result is reused. */
export function md5Words(text: string): Int32Array {
  state.set([0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476]);
  const { length } = text;
  const blocks = (length + 8) >> 6;
  for (let at = 0; at <= blocks; at++) {
    block.fill(0);
    const start = at << 6;
    const end = Math.min(start + 64, length);
    for (let index = start; index < end; index++) put(index - start, text.charCodeAt(index));
    if (length >= start && length < start + 64) put(length - start, 0x80);
    if (at === blocks) block[14] = length << 3;
    mix();
  }
  return state;
}

function put(index: number, byte: number): void {
  block[index >> 2] = (block[index >> 2] ?? 0) | (byte << ((index & 3) << 3));
}

function mix(): void {
  let a = state[0] ?? 0;
  let b = state[1] ?? 0;
  let c = state[2] ?? 0;
  let d = state[3] ?? 0;
  for (let step = 0; step < 64; step++) {
    const sum = (a + choose(step, b, c, d) + (sine[step] ?? 0) + (block[word[step] ?? 0] ?? 0)) | 0;
    const by = turn[step] ?? 0;
    a = d;
    d = c;
    c = b;
    b = (b + ((sum << by) | (sum >>> (32 - by)))) | 0;
  }
  state[0] = ((state[0] ?? 0) + a) | 0;
  state[1] = ((state[1] ?? 0) + b) | 0;
  state[2] = ((state[2] ?? 0) + c) | 0;
  state[3] = ((state[3] ?? 0) + d) | 0;
}

function choose(step: number, b: number, c: number, d: number): number {
  if (step < 16) return (b & c) | (~b & d);
  if (step < 32) return (d & b) | (~d & c);
  if (step < 48) return b ^ c ^ d;
  return c ^ (b | ~d);
}
