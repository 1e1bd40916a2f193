/** The words of a reply line, where they lie. */
import { EverfreshError } from "../errors.ts";

export const SPACE = 32;

/** Where the token that begins at `start` ends: at the next space, or at `end`. */
export function tokenEnd(line: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && line[at] !== SPACE) at++;
  return at;
}

/**
 * `line[start, end)` as a whole number.
 *
 * @throws EverfreshError `EF_PROTOCOL` when it is none
 */
export function readNumber(line: Buffer, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (line[at] ?? 0) - 48;
    if (digit < 0 || digit > 9) throw malformed();
    value = value * 10 + digit;
  }
  if (start === end || !Number.isSafeInteger(value)) throw malformed();
  return value;
}

/** For a reply line whose words are not what they should be. */
export function malformed(): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", "The server sent a reply whose flags cannot be read.");
}
