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
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, chownSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCache, memcached } from "everfresh";
import { createOutbox, tag } from "everfresh/outbox";
import { Kysely, PostgresDialect, sql } from "kysely";
import Sqlite from "libsql";
import pg from "pg";

const rounds = Number(process.env.ROUNDS ?? 5);
const transactions = Number(process.env.TRANSACTIONS ?? 200);
const folder = mkdtempSync(join(tmpdir(), "everfresh-bench-"));
/** @type {(() => unknown)[]} */
const cleanups = [() => rmSync(folder, { recursive: true, force: true })];

try {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  start("memcached", ["-l", "127.0.0.1", "-p", String(port), "-U", "0", ...user]);
  await answering(port);
  const cache = createCache({ backend: memcached(`127.0.0.1:${port}`), namespace: "bench" });
  cleanups.push(() => cache.close());
  for (const synchronous of ["NORMAL", "FULL"]) await measureSqlite(cache, synchronous);
  await measurePostgres(cache);
} finally {
  for (const cleanup of cleanups.toReversed()) await cleanup();
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

async function measurePostgres(cache) {
  const url = await startPostgres();
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
      `  ${name.padEnd(32)}${median(all.map(({ us }) => us)).padStart(8)} us/transaction${median(all.map((s) => s.cpu)).padStart(8)} us CPU in this process\n`,
    );
}

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)].toFixed(0);
}

async function startPostgres() {
  const programs = ["/usr/lib/postgresql", ""].flatMap((base) => {
    try {
      return base === "" ? (process.env.PATH ?? "").split(":") : readdirSync(base).map((v) => join(base, v, "bin"));
    } catch {
      return [];
    }
  });
  const bin = programs.find((path) => {
    try {
      accessSync(join(path, "initdb"));
      return true;
    } catch {
      return false;
    }
  });
  const data = mkdtempSync(join(tmpdir(), "everfresh-bench-pg-"));
  cleanups.push(() => rmSync(data, { recursive: true, force: true }));
  const user = process.getuid?.() === 0 ? { uid: idOfPostgres("-u"), gid: idOfPostgres("-g") } : {};
  if (user.uid !== undefined) chownSync(data, user.uid, user.gid);
  execFileSync(join(bin, "initdb"), ["-D", data, "-U", "postgres", "-A", "trust"], {
    ...user,
    stdio: "ignore",
    cwd: data,
  });
  const port = await freePort();
  const flags = ["-D", data, "-p", String(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
  start(join(bin, "postgres"), flags, { ...user, cwd: data }, "SIGINT");
  await answering(port);
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  for (;;) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await client.end();
      return url;
    } catch {
      await pause(50);
    }
  }
}

function idOfPostgres(flag) {
  return Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
}

function start(program, args, options = {}, signal = "SIGTERM") {
  const child = spawn(program, args, { stdio: "ignore", ...options });
  cleanups.push(async () => {
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  });
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  return port;
}

async function answering(port) {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const event = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (event) return;
    await pause(20);
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
