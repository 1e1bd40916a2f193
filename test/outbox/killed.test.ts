/** Processes that are killed at the worst moment: after a commit, and while a relay delivers. */
import assert from "node:assert/strict";
import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createOutbox } from "everfresh/outbox";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { databaseForTests } from "../support/postgres.ts";
import { needs } from "../support/programs.ts";
import { placesOn, type Place } from "./places.ts";
import { eventually, RememberingCache } from "./support.ts";

const postgres = databaseForTests();

/** Starts a process, waits until it says something, and answers a way to kill it. */
async function untilItSays(script: string, args: readonly string[]): Promise<() => Promise<void>> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const gone = once(child, "exit");
  const early = gone.then(() => Promise.reject(new Error(`${script} ended by itself`)));
  await Promise.race([once(child.stdout, "data"), early]);
  early.catch(() => undefined);
  return async () => {
    child.kill("SIGKILL");
    await gone;
  };
}

interface Reader {
  readonly child: ChildProcess;
  /** The number of items that it saw last, and when. */
  seen: number;
  at: number;
}

function startReader(args: readonly string[]): Reader {
  const child = fork(fileURLToPath(new URL("watching-reader.js", import.meta.url)), [...args]);
  const reader: Reader = { child, seen: -1, at: 0 };
  child.on("message", (seen) => {
    reader.seen = Number(seen);
    reader.at = performance.now();
  });
  return reader;
}

for (const place of placesOn(postgres))
  describe(`on ${place.name}`, place.needs, () => {
    let it: Place;
    // One for each database: what they hold under a key is not the same.
    let memcached: RealMemcached | undefined;
    before(async () => {
      if (needs("memcached").skip === false) memcached = await startMemcached();
      it = await place.make();
      await createOutbox({ db: it.db, caches: new RememberingCache(), relay: false }).install();
    });
    after(async () => {
      await memcached?.stop();
      await it.close();
    });

    test(
      "a writer killed between commit and invalidation: every process sees the new value within a second",
      needs("memcached"),
      async (t) => {
        const readers = Array.from({ length: 3 }, () => startReader([memcached?.address ?? "", ...it.args]));
        try {
          for (let written = 0; written < 3; written += 1) {
            await eventually(() => readers.every(({ seen }) => seen === written), 20_000);
            const kill = await untilItSays("killed-writer.js", it.args);
            const committedAt = performance.now();
            await kill();
            await eventually(() => readers.every(({ seen }) => seen === written + 1), 10_000);
            const slowestMs = Math.max(...readers.map(({ at }) => at)) - committedAt;
            t.diagnostic(`the last of three processes saw it after ${Math.round(slowestMs)} ms`);
            assert.ok(slowestMs < 1_000, `${slowestMs} ms`);
          }
        } finally {
          for (const { child } of readers) {
            const left = child.exitCode === null ? once(child, "exit") : undefined;
            child.send("stop");
            await left;
          }
        }
      },
    );

    test("a relay killed while it delivers: another one delivers the same rows, and none is lost", async () => {
      const rows = Array.from({ length: 20 }, (_, n) => `k${n}`);
      await it.run(
        `INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ${rows.map((name) => `('shop', 'key', '${name}')`).join(", ")}`,
      );
      const kill = await untilItSays("killed-relay.js", it.args);
      const cache = new RememberingCache();
      const other = createOutbox({ db: it.db, caches: cache });
      try {
        await kill();
        await eventually(() => cache.told.length >= rows.length, 5_000);
        assert.deepEqual(cache.told.toSorted(), rows.map((name) => `key ${name}`).toSorted());
        await eventually(async () => (await other.status()).waiting.length === 0);
      } finally {
        await other.close();
      }
    });
  });
