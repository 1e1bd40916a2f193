/** Names of options: one that nobody knows is a mistake in one that somebody does, and would be passed over in silence. */
import { EverfreshError, shown } from "./errors.ts";

/**
 * Refuses options that nobody knows.
 *
 * @param known the names that there are, as those of its fields
 * @param whose who has these options; the message begins with it
 * @throws EverfreshError `EF_OPTION`, also for what is no object
 */
export function checkNames(options: object, known: object, whose: string): void {
  if (typeof options !== "object" || options === null)
    throw wrong(`${whose} takes an object of options (${namesOf(known)}); got ${shown(options)}`);
  for (const name in options)
    if (!Object.hasOwn(known, name)) throw wrong(`${whose} has no option ${name}; there are ${namesOf(known)}`);
}

function namesOf(known: object): string {
  return Object.keys(known).join(", ");
}

function wrong(message: string): EverfreshError {
  return new EverfreshError("EF_OPTION", message);
}
