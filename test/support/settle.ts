import { setImmediate as turn } from "node:timers/promises";

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let count = 0; count < 20; count++) await turn();
}
