/**
 * Copies `source[start, end)` to `target` at `at`. Short pieces are copied in a loop: the view that `set` needs costs
 * more than they do.
 */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start > 128) {
    target.set(source.subarray(start, end), at);
    return;
  }
  let to = at;
  for (let from = start; from < end; from++) target[to++] = source[from] as number;
}
