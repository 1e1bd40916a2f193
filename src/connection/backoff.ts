/** How long to wait before the next try: a pure function. */

/** The bounds of the waiting, in milliseconds. */
export interface BackoffOptions {
  /** Before the first try, at most. */
  readonly firstMs: number;
  /** However many tries have failed, at most. */
  readonly longestMs: number;
}

/**
 * Milliseconds to wait after `failures` failures in a row: doubling from `firstMs` to `longestMs`, and between half and
 * the whole of that by `chance` in [0, 1), so that many clients do not come back in one moment.
 */
export function backoffMs(failures: number, options: BackoffOptions, chance: number): number {
  const doublings = Math.min(Math.max(failures - 1, 0), 30);
  const bound = Math.min(options.longestMs, options.firstMs * 2 ** doublings);
  return bound / 2 + (bound / 2) * chance;
}
