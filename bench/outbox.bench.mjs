/**
 * What does the outbox cost per write transaction?
 *
 * One writer, one row at a time: the bare transaction; the same with `cache.invalidate` after the commit, which a kill in
 * between loses; and the same through the outbox. Interleaved rounds, median of the rounds, microseconds per transaction.
 * PostgreSQL waits for the disk as it does by default; SQLite in WAL mode, with synchronous = NORMAL and FULL.
 *
 * It does not show: networks slower than the loopback, many writers at a time (they share the disk's waits), triggers.
 *
 * `npm run bench outbox`; `ROUNDS=7 TRANSACTIONS=500 npm run bench outbox`
 */
import { join } from "node:path";
import { createCache, memcached } from "everfresh";
import { createOutbox, tag } from "everfresh/outbox";
import { Kysely, PostgresDialect, sql } from "kysely";
import Sqlite from "libsql";
import pg from "pg";
import { end, folder, median, print, startMemcached, startPostgres } from "./parts.mjs";

const rounds = Number(process.env.ROUNDS ?? 5);
const transactions = Number(process.env.TRANSACTIONS ?? 200);

try {
  const cache = createCache({ backend: memcached(await startMemcached()), namespace: "bench" });
  try {
    for (const synchronous of ["NORMAL", "FULL"]) await measureSqlite(cache, synchronous);
    const port = await startPostgres();
    if (port === undefined) print("PostgreSQL is not installed: it is left out.");
    else await measurePostgres(cache, `postgres://postgres@127.0.0.1:${port}/postgres`);
  } finally {
    await cache.close();
  }
} finally {
  await end();
}

async function measureSqlite(cache, synchronous) {
  const db = new Sqlite(join(folder, `bench-${synchronous}.db`));
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}`);
  db.exec("CREATE TABLE items (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO items VALUES (1, 0)");
  const outbox = createOutbox({ db, caches: cache });
  await outbox.install();
  const update = db.prepare("UPDATE items SET n = n + 1 WHERE id = 1");
  const bare = () => {
    db.exec("BEGIN IMMEDIATE");
    update.run();
    db.exec("COMMIT");
  };
  await compare(`SQLite, synchronous = ${synchronous}`, {
    "bare transaction": bare,
    "and invalidate after it": async () => {
      bare();
      await Promise.all([cache.invalidate("item:1"), cache.invalidateTags(["items"])]);
    },
    "through the outbox": () =>
      outbox.transaction(db, (_tx, invalidate) => {
        update.run();
        invalidate("item:1", tag("items"));
      }),
  });
  await outbox.close();
  db.close();
}

async function measurePostgres(cache, url) {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  pool.on("error", () => undefined);
  const kysely = new Kysely({ dialect: new PostgresDialect({ pool }) });
  const outbox = createOutbox({ db: pool, caches: cache });
  await outbox.install();
  await pool.query("CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL); INSERT INTO items VALUES (1, 0)");
  const update = "UPDATE items SET n = n + 1 WHERE id = 1";
  const bare = async () => {
    const client = await pool.connect();
    await client.query("BEGIN");
    await client.query(update);
    await client.query("COMMIT");
    client.release();
  };
  await compare("PostgreSQL", {
    "bare transaction": bare,
    "and invalidate after it": async () => {
      await bare();
      await Promise.all([cache.invalidate("item:1"), cache.invalidateTags(["items"])]);
    },
    "through the outbox": () =>
      outbox.transaction(pool, async (tx, invalidate) => {
        await tx.query(update);
        invalidate("item:1", tag("items"));
      }),
    "through the outbox, by Kysely": () =>
      outbox.transaction(kysely, async (tx, invalidate) => {
        await sql.raw(update).execute(tx);
        invalidate("item:1", tag("items"));
      }),
  });
  await outbox.close();
  await pool.end();
}

async function compare(where, ways) {
  const samples = new Map(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1)
    for (const [name, run] of Object.entries(ways)) {
      const began = process.hrtime.bigint();
      const cpu = process.cpuUsage();
      for (let n = 0; n < transactions; n += 1) await run();
      const used = process.cpuUsage(cpu);
      const us = Number(process.hrtime.bigint() - began) / 1_000 / transactions;
      // The first round warms up.
      if (round > 0) samples.get(name).push({ us, cpu: (used.user + used.system) / transactions });
    }
  process.stdout.write(`\n${where}\n`);
  for (const [name, all] of samples)
    process.stdout.write(
      `  ${name.padEnd(32)}${whole(median(all.map(({ us }) => us)))} us/transaction${whole(median(all.map((s) => s.cpu)))} us CPU in this process\n`,
    );
}

function whole(us) {
  return us.toFixed(0).padStart(8);
}
