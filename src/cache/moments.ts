/**
 * The order in which things began in this process, as counted numbers; no clock is involved.
 *
 * The promise is about what began after what: a caller may be given what was asked of a server after the caller
 * came. One counter for the whole process makes such moments comparable.
 */
let last = 0;

/** A number larger than all before. */
export function nextMoment(): number {
  return ++last;
}
