/** The form of the tables in this folder: one row per case of the public suite. */
import type { Exchange, SiteName, Told, Values } from "./exchanges.ts";

/** A case of the public suite, played on a site. */
export interface Case {
  /** Its id there. */
  readonly id: string;
  readonly exchanges: readonly Exchange[];
  /** Why our outcome is another one than the suite's; undefined where it is the same. */
  readonly other?: string;
  readonly site?: SiteName;
}

/** What the suite wants of the second of two equal requests. */
type Wanted = "reused" | "rendered";

/** The suite lets so many seconds pass where it says `pause_after`. */
export const pause = 3;

/** Two equal requests, a pause apart; `other` says why ours ends the other way. */
export function twice(id: string, told: Told, wanted: Wanted, other?: string, site?: SiteName): Case {
  const opposite = wanted === "reused" ? "rendered" : "reused";
  const exchanges: Exchange[] = [
    { told, is: "rendered" },
    { after: pause, told, is: other === undefined ? wanted : opposite },
  ];
  return { id, exchanges, ...(other !== undefined && { other }), ...(site !== undefined && { site }) };
}

/** The same, for a table of fields. */
export function rows(
  table: readonly (readonly [id: string, fields: Values, wanted: Wanted, other?: string])[],
  site?: SiteName,
): Case[] {
  return table.map(([id, fields, wanted, other]) => twice(id, { fields }, wanted, other, site));
}
