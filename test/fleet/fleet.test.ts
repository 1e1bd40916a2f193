/**
 * Two processes of the queue app on one database and one memcached, many visitors at once.
 *
 * Every page is compared with what it may and must show at its moment (history.ts): never stale, nothing lost, nothing doubled;
 * also while memcached is killed and comes back.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startApp, Visitor, type AppProcess } from "../support/app.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { startPostgres, type RealPostgres } from "../support/postgres.ts";
import { needs } from "../support/programs.ts";
import { moreLoad } from "../support/thoroughness.ts";
import { History, type Finding, type View } from "./history.ts";

/** What one run of visitors saw. */
interface Run {
  readonly history: History;
  readonly views: readonly View[];
  readonly failures: readonly string[];
  readonly fromCache: number;
}

interface Plan {
  readonly readers: number;
  readonly writers: number;
  /** How many changes each writer makes; the readers look again and again until the last one is answered. */
  readonly writes: number;
  /** Something that happens to the fleet while the visitors are at it; `seen(n)` waits until n pages were answered. */
  readonly meanwhile?: (seen: (pages: number) => Promise<void>) => Promise<void>;
}

let runs = 0;

/** Readers look, writers add and remove; each on whichever process is next. Ends when the writing is done. */
async function visit(apps: readonly AppProcess[], plan: Plan): Promise<Run> {
  runs += 1;
  const prefix = `run ${runs}`;
  const history = new History();
  const views: View[] = [];
  const failures: string[] = [];
  let fromCache = 0;
  const waiting: { readonly pages: number; readonly resolve: () => void }[] = [];
  const seen = (pages: number): Promise<void> => new Promise((resolve) => waiting.push({ pages, resolve }));

  const ended = new AbortController();

  async function read(reader: number): Promise<void> {
    const visitor = new Visitor();
    for (let turn = 0; !ended.signal.aborted; turn += 1) {
      const sentAt = performance.now();
      const { status, body } = await visitor.look(turnOf(apps, reader + turn));
      if (status !== 200) failures.push(`a page was answered with ${status}`);
      else {
        const { front, back } = body.view;
        views.push({ texts: [...front, ...back].map((item) => item.text), sentAt, answeredAt: performance.now() });
        if (body.panel.source === "cache") fromCache += 1;
        for (const each of waiting) if (views.length >= each.pages) each.resolve();
      }
    }
    visitor.leave();
  }

  async function write(writer: number): Promise<void> {
    const visitor = new Visitor();
    await visitor.look(turnOf(apps, writer));
    for (let turn = 0; turn < plan.writes; turn += 1) {
      const sentAt = performance.now();
      // As many removes as adds, so that the queue stays short enough for its whole to be shown.
      if (turn % 2 === 0) {
        const text = `${prefix} writer ${writer} item ${turn}`;
        const { status } = await visitor.add(turnOf(apps, writer + turn), text);
        if (status !== 201) failures.push(`an add was answered with ${status}`);
        history.note({ kind: "add", text, sentAt, answeredAt: status === 201 ? performance.now() : Infinity });
      } else {
        const { status, body } = await visitor.remove(turnOf(apps, writer + turn));
        if (status === 200)
          history.note({ kind: "remove", text: body.removed.text, sentAt, answeredAt: performance.now() });
        else if (status !== 409) failures.push(`a remove was answered with ${status}`);
      }
    }
    visitor.leave();
  }

  const written = Promise.all([
    ...Array.from({ length: plan.writers }, (_, writer) => write(writer)),
    plan.meanwhile?.(seen),
  ]).finally(() => ended.abort());
  await Promise.all([written, ...Array.from({ length: plan.readers }, (_, reader) => read(reader))]);
  return { history, views, failures, fromCache };
}

/** The process whose turn it is. */
function turnOf(apps: readonly AppProcess[], turn: number): AppProcess {
  return apps[turn % apps.length] ?? assert.fail("no app");
}

function findings({ history, views }: Run): Finding[] {
  return [...history.lossesAndDoubles(), ...views.flatMap((view) => history.judge(view))];
}

/** Takes what is left out of the queue, through the app, so that the next test starts with an empty one. */
async function drain(app: AppProcess): Promise<string[]> {
  const visitor = new Visitor();
  await visitor.look(app);
  const taken: string[] = [];
  for (;;) {
    const { status, body } = await visitor.remove(app);
    if (status === 409) break;
    assert.equal(status, 200);
    taken.push(body.removed.text);
  }
  visitor.leave();
  return taken;
}

function fleetTests(start: () => Promise<{ apps: AppProcess[]; memcached: RealMemcached }>): void {
  let apps: AppProcess[] = [];
  let memcached: RealMemcached;

  before(async () => {
    ({ apps, memcached } = await start());
  });
  after(async () => {
    for (const app of apps) await app.stop();
    await memcached?.stop();
  });

  test("never shows an old page, loses nothing and doubles nothing", async () => {
    const run = await visit(apps, { readers: 6, writers: 4, writes: 50 * moreLoad });
    assert.deepEqual(run.failures, []);
    assert.deepEqual(findings(run), []);
    assert.ok(run.fromCache > 0, "no page came from the cache: this proved nothing");
    assert.deepEqual((await drain(apps[0] ?? assert.fail())).toSorted(), run.history.remaining().toSorted());
  });

  test("answers every page while memcached is killed and comes back, and none of them is old", async () => {
    const run = await visit(apps, {
      readers: 6,
      writers: 2,
      writes: 40 * moreLoad,
      meanwhile: async (seen) => {
        for (let round = 0; round < 2; round += 1) {
          await seen((round * 2 + 1) * 100);
          await memcached.kill();
          await seen((round * 2 + 2) * 100);
          await memcached.restart();
        }
      },
    });
    assert.deepEqual(run.failures, []);
    assert.deepEqual(findings(run), []);
    assert.deepEqual((await drain(apps[0] ?? assert.fail())).toSorted(), run.history.remaining().toSorted());
  });

  test("says on /healthz that the cache is gone and comes back, and serves pages all the while", async () => {
    const [app = assert.fail()] = apps;
    const visitor = new Visitor();
    const state = async (): Promise<string> => {
      const { status, body } = await visitor.health(app);
      assert.equal(status, 200);
      assert.equal(body.database.state, "up");
      assert.equal((await visitor.look(app)).status, 200);
      return body.cache.state;
    };
    await visitor.look(app);
    assert.equal(await state(), "up");
    await memcached.kill();
    const until = performance.now() + 20_000;
    while ((await state()) !== "down") assert.ok(performance.now() < until, "the loss was not noticed");
    await memcached.restart();
    while ((await state()) !== "up") assert.ok(performance.now() < until, "the return was not noticed");
    visitor.leave();
  });

  test("hands every item to exactly one of many who remove at once", async () => {
    const visitors = Array.from({ length: 12 }, () => new Visitor());
    const [first = assert.fail()] = visitors;
    await Promise.all(visitors.map((visitor, turn) => visitor.look(turnOf(apps, turn))));
    for (let item = 0; item < 30; item += 1)
      assert.equal((await first.add(turnOf(apps, item), `one of thirty: ${item}`)).status, 201);
    const taken: string[] = [];
    await Promise.all(
      visitors.map(async (visitor, turn) => {
        for (;;) {
          const { status, body } = await visitor.remove(turnOf(apps, turn));
          if (status === 409) return;
          assert.equal(status, 200);
          taken.push(body.removed.text);
        }
      }),
    );
    for (const visitor of visitors) visitor.leave();
    assert.deepEqual([taken.length, new Set(taken).size], [30, 30]);
  });
}

describe("two processes on PostgreSQL and one memcached", needs("memcached", "postgresql"), () => {
  let postgres: RealPostgres;
  after(() => postgres?.stop());
  fleetTests(async () => {
    postgres = await startPostgres();
    const memcached = await startMemcached();
    const env = {
      DATABASE_URL: await postgres.createDatabase(),
      MEMCACHE_SERVERS: memcached.address,
      EVERFRESH_MIGRATE: "1",
    };
    return { apps: [await startApp(env), await startApp(env)], memcached };
  });
});

describe("two processes on one SQLite file and one memcached", needs("memcached"), () => {
  const folder = mkdtempSync(join(tmpdir(), "everfresh-fleet-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  fleetTests(async () => {
    const memcached = await startMemcached();
    const env = {
      DATABASE_URL: `sqlite:///${join(folder, "queue.sqlite")}`,
      MEMCACHE_SERVERS: memcached.address,
      EVERFRESH_MIGRATE: "1",
    };
    return { apps: [await startApp(env), await startApp(env)], memcached };
  });
});

describe("a cold fleet", needs("memcached"), () => {
  test("runs the slow query once for 200 visitors of two fresh processes", async () => {
    const folder = mkdtempSync(join(tmpdir(), "everfresh-cold-"));
    const memcached = await startMemcached();
    const env = {
      DATABASE_URL: `sqlite:///${join(folder, "queue.sqlite")}`,
      MEMCACHE_SERVERS: memcached.address,
      EVERFRESH_MIGRATE: "1",
      SLOW_QUERY_MS: "2000",
      LOG_LEVEL: "info",
    };
    const apps = [await startApp(env), await startApp(env)];
    const visitors = Array.from({ length: 200 }, () => new Visitor());
    const answers = await Promise.all(visitors.map((visitor, at) => visitor.look(turnOf(apps, at))));
    for (const visitor of visitors) visitor.leave();
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    const queries = apps.map((app) => app.output().split("the database was asked for the queue").length - 1);
    for (const app of apps) await app.stop();
    await memcached.stop();
    rmSync(folder, { recursive: true, force: true });
    assert.equal(
      queries.reduce((sum, count) => sum + count, 0),
      1,
      `queries per process: ${queries.join(" and ")}`,
    );
  });
});
