/** Arguments of calls that have the wrong form: what they are, and what would be right. */
import { EverfreshError, shown } from "../errors.ts";

/** The error for `given`, which is no function. */
export function noFunction(given: unknown, what: string): EverfreshError {
  const hint = given instanceof Promise ? "; write () => before what makes it" : "";
  return new EverfreshError("EF_OPTION", `${what} is a function; got ${shown(given)}${hint}`);
}

/** @throws EverfreshError `EF_OPTION` for what is no function */
export function checkFunction(given: unknown, what: string): void {
  if (typeof given !== "function") throw noFunction(given, what);
}

/** @throws EverfreshError `EF_OPTION` for what is no list: the characters of a text would be taken for its elements */
export function checkList(given: unknown, what: string): void {
  if (!Array.isArray(given)) throw new EverfreshError("EF_OPTION", `${what}; got ${shown(given)}`);
}

/** @throws EverfreshError `EF_OPTION` for what is no list of keys */
export function checkKeys(keys: unknown, method: string): void {
  checkList(keys, `${method} takes a list of keys, such as ["song:7", "song:8"]`);
}
