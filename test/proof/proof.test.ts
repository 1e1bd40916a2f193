/**
 * The promise with real processes: four of them, a real memcached and PostgreSQL, a few keys that all of them read and write,
 * and faults while they run. Every read is compared with what had been acknowledged before it began, by one clock.
 *
 * `EVERFRESH_TEST_PROOF=20` lets every part run twenty times as long.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test, type TestContext } from "node:test";
import { createOutbox } from "everfresh/outbox";
import pg from "pg";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needsPostgres, startPostgres, type RealPostgres } from "../support/postgres.ts";
import { needs } from "../support/programs.ts";
import { needsSasl, startSaslMemcached } from "../support/sasl.ts";
import { judge, pause, runFleet, type Verdict } from "./fleet.ts";

const scale = Number(process.env["EVERFRESH_TEST_PROOF"] ?? 1);
const ms = 800 * scale;

let postgres: RealPostgres | undefined;
let database = "";
let memcached: RealMemcached | undefined;

/** Says what was seen, and holds it to the promise. */
function mustBeFresh(t: TestContext, verdict: Verdict, least = 200): void {
  const { reads, hits, stale, writes, pending, loads, errors } = verdict;
  t.diagnostic(
    `${reads} reads (${hits} hits), ${stale} stale; ${writes} writes and ${pending} pending; ${loads} loads, ${errors.length} errors`,
  );
  assert.equal(stale, 0, verdict.example);
  assert.deepEqual(verdict.wrongAtTheEnd, []);
  assert.ok(reads >= least && writes >= least / 20, "too little happened to prove anything");
}

const servers = () => memcached?.address ?? "";
const nothing = () => Promise.resolve();

describe("four processes on memcached and PostgreSQL", skipWhereMissing(), () => {
  before(async () => {
    postgres = await startPostgres();
    database = await postgres.createDatabase();
    memcached = await startMemcached();
    const pool = new pg.Pool({ connectionString: database });
    const cache = { name: "proof", invalidate: nothing, invalidateTags: nothing };
    await createOutbox({ db: pool, caches: cache, relay: false }).install();
    await pool.end();
  });
  after(async () => {
    await memcached?.stop();
    await postgres?.stop();
  });
  for (const strategy of ["delete after write", "set after write"] as const)
    test(`the article's "${strategy}" shows old values, so this harness can see them`, async (t) => {
      let stale = 0;
      for (let attempt = 0; attempt < 5 && stale === 0; attempt += 1) {
        const verdict = await runFleet({ strategy, servers: servers(), database }, ms, nothing);
        t.diagnostic(
          `${verdict.reads} reads, ${verdict.stale} stale, ${verdict.loads} loads, ${verdict.writes} writes`,
        );
        ({ stale } = verdict);
      }
      assert.ok(stale > 0);
    });

  test("leases: nothing stale, and hardly a load more than invalidations", async (t) => {
    const verdict = await runFleet({ strategy: "invalidate", servers: servers(), database }, 2 * ms, nothing);
    mustBeFresh(t, verdict);
    assert.deepEqual(verdict.errors, []);
    assert.ok(verdict.loads <= 1.1 * verdict.writes + 10, `${verdict.loads} loads for ${verdict.writes} invalidations`);
  });

  for (const [name, strategy, local] of [
    ["the tier", "invalidate", true],
    ["tags and the tier", "tags", true],
  ] as const)
    test(`${name}: nothing stale`, async (t) => {
      const verdict = await runFleet({ strategy, servers: servers(), database, local }, ms, nothing);
      mustBeFresh(t, verdict);
      assert.deepEqual(verdict.errors, []);
    });

  test("classic text, without meta commands: nothing stale", async (t) => {
    const options = { protocol: "text" };
    mustBeFresh(t, await runFleet({ strategy: "invalidate", servers: servers(), database, options }, ms, nothing));
  });

  test("binary with SASL: nothing stale", needsSasl(), async (t) => {
    const server = await startSaslMemcached("user", "secret");
    const options = { protocol: "binary", username: "user", password: "secret" };
    try {
      mustBeFresh(
        t,
        await runFleet({ strategy: "tags", servers: server.address, database, options, local: true }, ms, nothing),
      );
    } finally {
      await server.stop();
    }
  });

  for (const strategy of ["invalidate", "tags", "outbox"] as const)
    test(`${strategy}, while memcached is killed and restarted, stopped and continued, and flushed: nothing stale`, async (t) => {
      const server = await startMemcached();
      const options = { timeoutMs: 250, backoff: { firstMs: 20, longestMs: 200 } };
      const plan = { strategy, servers: server.address, database, options, local: strategy === "tags" };
      try {
        const verdict = await runFleet(plan, 2 * ms, async () => {
          await pause(ms / 4);
          await server.kill();
          await pause(50);
          await server.restart();
          await pause(ms / 3);
          server.signal("SIGSTOP");
          await pause(350);
          server.signal("SIGCONT");
          await pause(ms / 4);
          await flush(server.port);
        });
        mustBeFresh(t, verdict, 100);
      } finally {
        await server.stop();
      }
    });

  test("in a memory so small that everything is evicted all the time: nothing stale", async (t) => {
    const server = await startMemcached(["-m", "2"]);
    const options = { timeoutMs: 1_000 };
    try {
      const verdict = await runFleet(
        { strategy: "tags", servers: server.address, database, options, local: true },
        ms,
        async () => {
          const until = performance.now() + ms * 0.8;
          while (performance.now() < until) {
            await fill(server.port, 4_000);
            await pause(20);
          }
        },
      );
      mustBeFresh(t, verdict);
      const evictions = /STAT evictions (\d+)/.exec(await say(server.port, "stats\r\n", "END\r\n"))?.[1];
      t.diagnostic(`${evictions} evictions`);
      assert.ok(Number(evictions) > 1_000);
    } finally {
      await server.stop();
    }
  });

  test("through connections that are cut, delayed and black-holed: nothing stale", async (t) => {
    const proxy = await startFaultProxy(memcached?.port ?? 0);
    const options = { timeoutMs: 200, backoff: { firstMs: 20, longestMs: 200 } };
    try {
      const verdict = await runFleet(
        { strategy: "invalidate", servers: proxy.address, database, options, local: true },
        2 * ms,
        async () => {
          for (let round = 0; round < 2; round += 1) {
            await pause(ms / 5);
            proxy.cut();
            await pause(ms / 10);
            proxy.cut();
            proxy.delay(30);
            await pause(ms / 5);
            proxy.delay(0);
            proxy.blackHole(true);
            await pause(300);
            proxy.blackHole(false);
          }
        },
      );
      mustBeFresh(t, verdict, 100);
    } finally {
      await proxy.close();
    }
  });

  test("a pool of three that loses one and gets it back: nothing stale", async (t) => {
    const pool = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
    const options = { timeoutMs: 250, backoff: { firstMs: 20, longestMs: 200 } };
    const addresses = pool.map((server) => server.address).join(",");
    try {
      const verdict = await runFleet({ strategy: "tags", servers: addresses, database, options }, 2 * ms, async () => {
        await pause(ms / 2);
        await pool[1]?.kill();
        await pause(ms / 2);
        await pool[1]?.restart();
      });
      mustBeFresh(t, verdict, 100);
    } finally {
      for (const server of pool) await server.stop();
    }
  });

  for (const strategy of ["invalidate", "outbox"] as const)
    test(`${strategy}, while processes are killed at any moment: nothing stale`, async (t) => {
      const verdict = await runFleet({ strategy, servers: servers(), database }, 2 * ms, async (fleet) => {
        for (let kills = 0; kills < 4 * scale; kills += 1) {
          await pause((ms / 4 / scale) * Math.random());
          await fleet.respawn(kills % fleet.children.length);
        }
      });
      // Killed between commit and invalidation, only the outbox brings the new value to everybody.
      const held = strategy === "outbox" ? verdict : { ...verdict, wrongAtTheEnd: [] };
      mustBeFresh(t, held, 100);
    });
});

test("the judge sees a stale read, and only a stale read", () => {
  const log = ["a 1 5 1000", "r 1 999 4 hit", "r 1 1001 5 hit", "r 2 1001 0 miss", "a 1 4 2000", "r 1 2001 5 hit"];
  assert.equal(judge([log.join("\n")]).stale, 0);
  assert.equal(judge([[...log, "r 1 1001 4 hit"].join("\n")]).stale, 1);
  assert.equal(judge(["p 1 7 10\nr 1 20 6 hit", ""]).stale, 1);
  assert.equal(judge(["p 1 7 10", "r 1 20 6 hit"]).stale, 0);
});

function skipWhereMissing(): { skip: string | false } {
  return needs("memcached").skip === false ? needsPostgres() : needs("memcached");
}

async function flush(port: number): Promise<void> {
  await say(port, "flush_all\r\n", "OK");
}

/** Items of the sizes that the cache's own have, so that they push those out of a small memory. */
async function fill(port: number, items: number): Promise<void> {
  const sets = Array.from({ length: items }, () => {
    const value = "x".repeat(8 + Math.floor(Math.random() * 120));
    return `set f${Math.random()} 0 0 ${value.length} noreply\r\n${value}\r\n`;
  });
  await say(port, `${sets.join("")}version\r\n`, "VERSION");
}

/** Says something to memcached, and returns what it says until `end` is there. */
async function say(port: number, text: string, end: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    let said = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
      if (!said.includes(end)) return;
      socket.destroy();
      resolve(said);
    });
  });
}
