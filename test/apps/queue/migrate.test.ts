/** Bringing the tables up to date: as often as one likes, from as many processes as one likes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { migrate, QueueStore } from "@everfresh/queue";
import { queueMain, runToEnd } from "../../support/queue-process.ts";
import { openAt, testDatabases } from "../../support/queue-databases.ts";

for (const databases of testDatabases())
  describe(databases.name, databases.options, () => {
    test("the second time there is nothing to do, and what is in the tables stays", async (t) => {
      const database = await openAt(await databases.url());
      t.after(() => database.close());
      assert.deepEqual(await migrate(database), ["001-queue-item", "002-outbox"]);
      const item = await new QueueStore(database).add("stays");
      assert.deepEqual(await migrate(database), []);
      assert.deepEqual((await new QueueStore(database).window()).front, [item]);
    });

    test("several processes at once do it once", async () => {
      const DATABASE_URL = await databases.url();
      const ends = await Promise.all(Array.from({ length: 3 }, () => runToEnd(queueMain("migrate"), { DATABASE_URL })));
      assert.deepEqual(
        ends.map((end) => end.code),
        [0, 0, 0],
        ends.map((end) => end.output).join(""),
      );
      assert.equal(ends.filter((end) => end.output.includes("Migrated: 001-queue-item, 002-outbox.")).length, 1);
      assert.equal(ends.filter((end) => end.output.includes("up to date")).length, 2);
    });
  });

test("a migration that cannot reach its database fails with a sentence and without the password", async () => {
  const end = await runToEnd(queueMain("migrate"), { DATABASE_URL: "postgres://u:hush@127.0.0.1:1/queue" });
  assert.equal(end.code, 1);
  assert.match(end.output, /^The tables of PostgreSQL \(database queue on 127\.0\.0\.1:1\).*ECONNREFUSED/);
  assert.doesNotMatch(end.output, /hush/);
});

test("a database that refuses at each of its addresses is named as refusing, by the migration and at the start", async () => {
  const twoAddresses = `import dns from "node:dns";
dns.lookup = (_name, _options, done) => done(null, [1, 2].map((n) => ({ address: "127.0.0." + n, family: 4 })));`;
  const env = {
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(twoAddresses)}`,
    DATABASE_URL: "postgres://localhost:1/queue",
    EVERFRESH_MIGRATE: "1",
  };
  for (const program of ["migrate", "main"] as const)
    assert.match(
      (await runToEnd(queueMain(program), env)).output,
      /127\.0\.0\.1:1; connect ECONNREFUSED 127\.0\.0\.2:1/,
    );
});
