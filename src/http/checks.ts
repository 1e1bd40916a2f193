/**
 * What pages are told, held against what may be said, when a page is declared. Types say the same, but not everybody has
 * them, and here a misspelled word would open a fence: what is not exactly "bypass" does not bypass.
 */
import { disown, EverfreshError, shown } from "../errors.ts";

/** @throws EverfreshError `EF_OPTION` that names what was given and what would be right */
export function refuse(name: string, given: unknown, allowed: string): never {
  // What an async function gave is refused as it is.
  disown(given);
  throw new EverfreshError("EF_OPTION", `${name} is ${shown(given)}; it is ${allowed}`);
}

export function checkObject(name: string, given: unknown, allowed: string): void {
  if (typeof given !== "object" || given === null || Array.isArray(given)) refuse(name, given, allowed);
}

/** A list of texts, none of them empty. */
export function checkTexts(name: string, given: unknown, allowed: string): void {
  if (!Array.isArray(given) || !given.every((each) => typeof each === "string" && each !== ""))
    refuse(name, given, allowed);
}

/** A function, or nothing. */
export function checkFunction(name: string, given: unknown, allowed: string): void {
  if (given !== undefined && typeof given !== "function") refuse(name, given, allowed);
}

/** True, false, or nothing. */
export function checkFlag(name: string, given: unknown): void {
  if (given !== undefined && typeof given !== "boolean") refuse(name, given, "true or false");
}
