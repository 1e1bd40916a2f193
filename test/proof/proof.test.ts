/**
 * The promise with real processes: four of them, a real memcached and PostgreSQL, a few keys that all of them read and write,
 * and faults while they run. Every read is compared with what had been acknowledged before it began, by one clock.
 *
 * By default every mode and every fault meet at least once; `EVERFRESH_TEST_PROOF=20` lets every mode meet every fault, for
 * twenty times as long.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { createClient } from "everfresh/client";
import { startMemcached } from "../support/memcached.ts";
import { needsPostgres, startPostgres, type RealPostgres } from "../support/postgres.ts";
import { needs } from "../support/programs.ts";
import { needsSasl, startSaslMemcached } from "../support/sasl.ts";
import { memcachedWithTls, startTlsMemcached, testAuthority } from "../support/tls.ts";
import { moreProof } from "../support/thoroughness.ts";
import { faults, inWords, type Place } from "./faults.ts";
import { judge, runFleet, type FleetPlan, type Verdict } from "./fleet.ts";
import { installOutbox } from "./source.ts";

const ms = 800 * moreProof;

let postgres: RealPostgres | undefined;
let database = "";

type Fault = keyof typeof faults;

interface Mode {
  readonly name: string;
  readonly plan: Pick<FleetPlan, "strategy" | "local" | "pages" | "options" | "padBytes" | "itemBytes">;
  /** How its servers are started; memcached as it is by default. */
  readonly start?: Place["start"];
  /** What this machine must have for it. */
  readonly needs?: () => { readonly skip: string | false };
  /** Whether the values are in a SQLite file, not in PostgreSQL. */
  readonly onSqlite?: boolean;
  /** What it meets by default. */
  readonly meets: readonly Fault[];
}

const login = { username: "user", password: "secret" };
const binary = { protocol: "binary", ...login };
const sasl: Pick<Mode, "start" | "needs"> = {
  start: (flags) => startSaslMemcached(login.username, login.password, flags),
  needs: needsSasl,
};
const text = { protocol: "text" };

const modes: readonly Mode[] = [
  { name: "leases", plan: { strategy: "invalidate" }, meets: ["nothing", "server", "processes", "rollout"] },
  { name: "leases and the tier", plan: { strategy: "invalidate", local: true }, meets: ["nothing", "connections"] },
  {
    name: "leases over TLS",
    plan: { strategy: "invalidate", options: { tls: { ca: testAuthority } } },
    start: startTlsMemcached,
    needs: memcachedWithTls,
    meets: ["connections"],
  },
  { name: "tags", plan: { strategy: "tags" }, meets: ["pool"] },
  {
    name: "tags and the tier",
    plan: { strategy: "tags", local: true },
    meets: ["nothing", "server", "memory", "rollout"],
  },
  { name: "classic text", plan: { strategy: "invalidate", options: text }, meets: ["nothing", "server", "processes"] },
  { name: "classic text, tags", plan: { strategy: "tags", options: text }, meets: ["connections", "pool"] },
  { name: "binary with SASL", plan: { strategy: "invalidate", options: binary }, ...sasl, meets: ["server", "memory"] },
  {
    name: "binary with SASL, tags and the tier",
    plan: { strategy: "tags", options: binary, local: true },
    ...sasl,
    meets: ["nothing", "connections"],
  },
  {
    name: "pages made from values, and several connections",
    plan: { strategy: "invalidate", pages: true, options: { connections: 3 } },
    meets: ["nothing", "connections"],
  },
  {
    name: "pages, tags and the tier",
    plan: { strategy: "tags", pages: true, local: true },
    meets: ["nothing", "server", "memory"],
  },
  {
    name: "classic text, pages and values in chunks",
    plan: { strategy: "invalidate", pages: true, options: text, itemBytes: 2_048, padBytes: 3_000 },
    meets: ["nothing", "connections"],
  },
  {
    name: "values in chunks",
    plan: { strategy: "tags", itemBytes: 2_048, padBytes: 3_000 },
    meets: ["server", "rollout"],
  },
  { name: "the outbox", plan: { strategy: "outbox" }, meets: ["server", "processes"] },
  { name: "the outbox and pages", plan: { strategy: "outbox", pages: true }, meets: ["connections"] },
  { name: "the outbox on SQLite", plan: { strategy: "outbox" }, onSqlite: true, meets: ["server", "processes"] },
];

/** Says what was seen, and holds it to the promise. */
function mustBeFresh(t: TestContext, verdict: Verdict, least: number): void {
  const { reads, hits, stale, writes, pending, loads, errors } = verdict;
  t.diagnostic(
    `${reads} reads (${hits} hits), ${stale} stale; ${writes} writes and ${pending} pending; ${loads} loads, ${errors.length} errors`,
  );
  assert.equal(stale, 0, verdict.example);
  assert.deepEqual(verdict.wrongAtTheEnd, []);
  assert.ok(reads >= least && writes >= least / 20, "too little happened to prove anything");
}

async function meet(t: TestContext, mode: Mode, fault: Fault): Promise<void> {
  const start = mode.start ?? startMemcached;
  const folder = mode.onSqlite === true ? await mkdtemp(join(tmpdir(), "everfresh-proof-")) : undefined;
  const source = folder === undefined ? database : `sqlite:${join(folder, "db")}`;
  if (folder !== undefined) await installOutbox(source);
  const patience = {
    timeoutMs: fault === "memory" || fault === "nothing" ? 1_000 : 250,
    backoff: { firstMs: 20, longestMs: 200 },
  };
  const client: Place["client"] = (servers) => createClient({ ...mode.plan.options, servers });
  const scene = await faults[fault]({ ms, scale: moreProof, start, client });
  try {
    const options = { ...mode.plan.options, ...patience };
    const plan = { ...mode.plan, servers: scene.servers, database: source, options, invalidationTimeoutMs: 300 };
    const verdict = await runFleet(plan, scene.ms, (fleet) => scene.meanwhile(fleet));
    // Killed between commit and invalidation, only the outbox brings the new value to everybody.
    const isLost = fault === "processes" && mode.plan.strategy !== "outbox";
    mustBeFresh(t, isLost ? { ...verdict, wrongAtTheEnd: [] } : verdict, fault === "nothing" ? 100 : 50);
    if (scene.check) t.diagnostic(await scene.check());
    if (fault !== "nothing") return;
    assert.deepEqual(verdict.errors, []);
    assert.ok(verdict.loads <= 1.1 * verdict.writes + 10, `${verdict.loads} loads for ${verdict.writes} invalidations`);
  } finally {
    await scene.close();
    if (folder !== undefined) await rm(folder, { recursive: true });
  }
}

describe("four processes on memcached and a database", skipWhereMissing(), () => {
  before(async () => {
    postgres = await startPostgres();
    database = await postgres.createDatabase();
    await installOutbox(database);
  });
  after(() => postgres?.stop());

  for (const strategy of ["delete after write", "set after write"] as const)
    test(`the article's "${strategy}" shows old values, so this harness can see them`, async (t) => {
      const server = await startMemcached();
      let stale = 0;
      try {
        for (let attempt = 0; attempt < 5 && stale === 0; attempt += 1) {
          const plan = { strategy, servers: server.address, database };
          const verdict = await runFleet(plan, ms, done);
          t.diagnostic(
            `${verdict.reads} reads, ${verdict.stale} stale, ${verdict.loads} loads, ${verdict.writes} writes`,
          );
          ({ stale } = verdict);
        }
      } finally {
        await server.stop();
      }
      assert.ok(stale > 0);
    });

  for (const mode of modes)
    for (const fault of Object.keys(faults) as Fault[])
      if (moreProof > 1 || mode.meets.includes(fault))
        test(`${mode.name}, while ${inWords[fault]}: nothing stale`, mode.needs?.() ?? {}, (t) => meet(t, mode, fault));
});

test("the judge sees a stale read, and only a stale read", () => {
  const log = ["a 1 5 1000", "r 1 999 4 hit", "r 1 1001 5 hit", "r 2 1001 0 miss", "a 1 4 2000", "r 1 2001 5 hit"];
  assert.equal(judge([log.join("\n")]).stale, 0);
  assert.equal(judge([[...log, "r 1 1001 4 hit"].join("\n")]).stale, 1);
  assert.equal(judge(["p 1 7 10\nr 1 20 6 hit", ""]).stale, 1);
  assert.equal(judge(["p 1 7 10", "r 1 20 6 hit"]).stale, 0);
});

function done(): Promise<void> {
  return Promise.resolve();
}

function skipWhereMissing(): { skip: string | false } {
  return needs("memcached").skip === false ? needsPostgres() : needs("memcached");
}
