/**
 * The cases of the public suite for HTTP caches (https://github.com/http-tests/cache-tests), by their ids there, played over real
 * sockets on a clock of the test's own. A case says `other` where our outcome is another one on purpose, and why.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import * as asking from "./asking.ts";
import * as changing from "./changing.ts";
import { elsewhere } from "./elsewhere.ts";
import { openSites } from "./exchanges.ts";
import * as freshness from "./freshness.ts";
import * as storing from "./storing.ts";
import type { Case } from "./table.ts";

const groups: Readonly<Record<string, readonly Case[]>> = { ...freshness, ...storing, ...asking, ...changing };
const cases = Object.values(groups).flat();
const sites = openSites();

for (const [group, rows] of Object.entries(groups))
  describe(group, () => {
    for (const { id, exchanges, other, site = "shared" } of rows)
      test(`${id}${other === undefined ? "" : `, not as in the suite: ${other}`}`, () =>
        sites[site].play(`/${id}`, exchanges));
  });

test("every case is there once, and the manual counts them", () => {
  const ids = [...cases.map(({ id }) => id), ...elsewhere.flatMap((group) => group.ids)];
  assert.deepEqual(
    ids.filter((id, at) => ids.indexOf(id) !== at),
    [],
  );
  const others = cases.filter(({ other }) => other !== undefined).length;
  const numbers = `${ids.length} cases: ${cases.length - others} as the suite wants it, ${others} otherwise on purpose, ${ids.length - cases.length} do not apply`;
  const manual = readFileSync("docs/pages.md", "utf8").replaceAll(/\s+/g, " ");
  assert.ok(manual.includes(numbers), `docs/pages.md does not say: ${numbers}`);
});
