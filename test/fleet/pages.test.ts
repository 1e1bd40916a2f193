/**
 * Never stale, on pages and fragments, with real processes, a real memcached and its failures.
 *
 * The test holds the rows, sends all requests itself and so knows what was acknowledged before each of them: a page that was asked
 * for after a write was acknowledged must show that write, or a later one.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { after, describe, test } from "node:test";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";
import { ask, type Got } from "../adapters/sites.ts";
import { deferred } from "../support/deferred.ts";
import { moreLoad } from "../support/thoroughness.ts";

const seconds = 4 * moreLoad;
const rows = ["a", "b", "c"];
const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.toReversed()) await end();
});

/** The rows, read slowly: what is read may be old by the time it arrives. */
async function startSource(): Promise<{ origin: string; reads: () => number; hold: () => () => void; server: Server }> {
  let held = Promise.resolve();
  const versions = new Map<string, number>();
  let reads = 0;
  const server = createServer((req, res) => {
    const row = (req.url ?? "").slice(1);
    if (req.method === "POST") {
      versions.set(row, (versions.get(row) ?? 0) + 1);
      res.end(String(versions.get(row)));
      return;
    }
    reads++;
    const seen = String(versions.get(row) ?? 0);
    setTimeout(() => void held.then(() => res.end(seen)), Math.random() * 8);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, reads: () => reads, hold, server };

  /** From now on nothing is answered, until the result is called. */
  function hold(): () => void {
    const gate = deferred();
    held = gate.promise;
    return () => gate.resolve();
  }
}

async function startProcess(memcached: string, source: string, variant: string): Promise<string> {
  const file = join(import.meta.dirname, "pages-process.js");
  const child: ChildProcess = spawn(process.execPath, [file, memcached, source, variant], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  ends.push(() => child.kill("SIGKILL"));
  if (child.stdout === null) throw new Error("no output");
  const [port] = (await once(createInterface(child.stdout), "line")) as [string];
  return `http://127.0.0.1:${port}`;
}

interface Tally {
  pages: number;
  hits: number;
  stale: number;
  writes: number;
  refused: number;
}

const isStale = (got: Got): boolean => /; hit; ttl=-/.test(String(got.headers["cache-status"]));
const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

/** Readers and writers until `until`; each page is judged by what was acknowledged before it was asked for. */
async function drive(origins: readonly string[], until: number, mustHit = true): Promise<Tally> {
  const tally: Tally = { pages: 0, hits: 0, stale: 0, writes: 0, refused: 0 };
  const acknowledged = new Map<string, number>();

  /** On a busy machine it goes on until enough was seen to mean something. */
  function going(): boolean {
    const isEnough = !mustHit || (tally.hits > 20 && tally.writes - tally.refused > 10);
    return performance.now() < until + (isEnough ? 0 : 30_000);
  }
  async function read(): Promise<void> {
    while (going()) {
      const row = any(rows);
      const least = acknowledged.get(row) ?? 0;
      const got = await ask(`${any(origins)}/${row}`);
      if (got.status !== 200) continue;
      tally.pages++;
      if (/; hit/.test(String(got.headers["cache-status"]))) tally.hits++;
      if (got.text.split(" ").some((version) => Number(version) < least)) tally.stale++;
    }
  }
  async function write(): Promise<void> {
    while (going()) {
      const row = any(rows);
      const got = await ask(`${any(origins)}/${row}`, {}, "POST");
      tally.writes++;
      if (got.status === 200) acknowledged.set(row, Math.max(acknowledged.get(row) ?? 0, Number(got.text)));
      else tally.refused++;
      await pause(Math.random() * 40);
    }
  }
  await Promise.all([...Array.from({ length: 10 }, read), write(), write()]);
  return tally;
}

async function fleet(
  variant: readonly string[],
): Promise<{ memcached: RealMemcached; origins: string[]; reads: () => number; hold: () => () => void }> {
  const memcached = await startMemcached(["-m", "8"]);
  ends.push(() => memcached.stop());
  const source = await startSource();
  const origins = await Promise.all(variant.map((each) => startProcess(memcached.address, source.origin, each)));
  return { memcached, origins, reads: source.reads, hold: source.hold };
}

describe("pages and fragments in three processes", needs("memcached"), () => {
  test("no page is stale", async (t) => {
    const { origins } = await fleet(["fresh", "fresh", "local"]);
    const tally = await drive(origins, performance.now() + seconds * 1000);
    t.diagnostic(JSON.stringify(tally));
    assert.equal(tally.stale, 0);
    assert.equal(tally.refused, 0);
    assert.ok(tally.hits > 20 && tally.writes > 10, "nothing was seen");
  });

  test("no page is stale while memcached is killed, restarted, stopped and continued", async (t) => {
    const { memcached, origins } = await fleet(["fresh", "fresh", "local"]);
    const until = performance.now() + (seconds + 2) * 1000;
    const driving = drive(origins, until);
    for (let round = 0; performance.now() < until - 1_500; round++) {
      await pause(300 + Math.random() * 300);
      if (round % 2 === 0) {
        await memcached.kill();
        await pause(100);
        await memcached.restart();
      } else {
        memcached.signal("SIGSTOP");
        await pause(250);
        memcached.signal("SIGCONT");
      }
    }
    const tally = await driving;
    t.diagnostic(JSON.stringify(tally));
    assert.equal(tally.stale, 0);
    assert.ok(tally.hits > 10 && tally.writes - tally.refused > 5, "nothing was seen");
  });

  test("twenty first requests in each of two processes are one rendering", async () => {
    const { origins, reads } = await fleet(["fresh", "fresh"]);
    for (const [round, row] of ["x", "y", "z"].entries()) {
      const all = origins.flatMap((origin) => Array.from({ length: 20 }, () => ask(`${origin}/${row}`)));
      for (const got of await Promise.all(all)) assert.equal(got.text, "0 0");
      // The page reads its row twice: by an entry and by a fragment.
      assert.equal(reads(), 2 * (round + 1));
    }
  });

  test("a page that was invalidated is not shown either where pages past their time are", async (t) => {
    const { origins } = await fleet(["relaxed", "relaxed", "relaxed"]);
    const tally = await drive(origins, performance.now() + seconds * 1000);
    t.diagnostic(JSON.stringify(tally));
    assert.equal(tally.stale, 0);
    assert.ok(tally.hits > 20 && tally.writes > 10, "nothing was seen");
  });

  test("a page past its time is rendered once by two processes, and nobody waits for it", async () => {
    const { origins, reads, hold } = await fleet(["relaxed", "relaxed"]);
    const page = (): Promise<Got> => ask(`${any(origins)}/z`, { host: "site.example" });
    await page();
    const before = reads();
    const release = hold();
    let stale = 0;
    while (stale < 40) if (isStale(await page())) stale++;
    assert.equal(reads(), before + 1);
    release();
    while (isStale(await page()));
  });

  test("the same harness catches pages that are deleted after a write", async (t) => {
    const { origins } = await fleet(["naive", "naive", "naive"]);
    let stale = 0;
    for (let round = 0; round < 15 && stale === 0; round++) {
      const tally = await drive(origins, performance.now() + 1_000, false);
      t.diagnostic(JSON.stringify(tally));
      ({ stale } = tally);
    }
    assert.ok(stale > 0, "it cannot see");
  });
});
