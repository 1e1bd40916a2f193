/** `everfresh outbox`: install, watch, status, relay, as a deployment runs them. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, symlinkSync } from "node:fs";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { join, resolve as absolute } from "node:path";
import { test, type TestContext } from "node:test";
import { databaseTarget } from "@everfresh/queue";
import { createCache, memcached } from "everfresh";
import { createServer } from "everfresh/server";
import { sqliteFileOf } from "#src/cli/outbox-database.ts";
import pg from "pg";
import { eventually, openSqlite, sqliteFile } from "../outbox/support.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { freePort, startMemcached } from "../support/memcached.ts";
import { needsPostgres, startPostgres } from "../support/postgres.ts";
import { needs } from "../support/programs.ts";
import { scratchFolder } from "../support/scratch.ts";

const program = "dist/cli/main.js";

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly error: string;
}

function outbox(db: string, ...args: string[]): Ran {
  return outboxIn({}, db, ...args);
}

/** The status is null where it did not end by itself. */
function outboxIn({ cwd, ...env }: Record<string, string>, db: string, ...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [absolute(program), "outbox", ...args], {
    env: { ...process.env, DATABASE_URL: db, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    encoding: "utf8",
    timeout: 20_000,
  });
  return { status, out: stdout, error: stderr };
}

test("without a database, a command or a known table it says what is missing", (t) => {
  const file = sqliteFile();
  t.after(() => file.remove());
  assert.match(outbox("", "install").error, /set DATABASE_URL, or give --db/);
  assert.equal(outbox("", "install").status, 1);
  assert.equal(outbox(file.path).status, 2);
  assert.deepEqual(
    [outbox(file.path, "watch"), outbox(file.path, "status", "items"), outbox(file.path, "wacth", "items")].map(
      ({ status, error }) => [status, error.split("\n", 1)[0]],
    ),
    [
      [2, "everfresh outbox: watch takes one table"],
      [2, "everfresh outbox: status takes nothing else"],
      [2, "everfresh outbox: there is no command wacth"],
    ],
  );
  assert.match(outbox(file.path, "install", "--no-such-flag").error, /no-such-flag/);
  assert.match(outbox(file.path, "watch", "items").error, /1 to 16 tags/);
  assert.match(outbox(file.path, "--help").out, /unwatch/);
});

test("a database that refuses at each of its addresses is named as refusing", () => {
  const twoAddresses = `import dns from "node:dns";
dns.lookup = (_name, _options, done) => done(null, [1, 2].map((n) => ({ address: "127.0.0." + n, family: 4 })));`;
  const env = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(twoAddresses)}` };
  const { error } = outboxIn(env, "postgres://localhost:1/nowhere", "status");
  assert.equal(error, "everfresh outbox: connect ECONNREFUSED 127.0.0.1:1; connect ECONNREFUSED 127.0.0.2:1\n");
});

test("a database that hangs up is told in one line, although its driver gives no code", async (t) => {
  const rude = createTcpServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(rude, "listening");
  t.after(() => rude.close());
  const { port } = rude.address() as AddressInfo;
  const child = spawn(process.execPath, [
    program,
    "outbox",
    "status",
    "--db",
    `postgres://u@127.0.0.1:${port}/nowhere`,
  ]);
  let error = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (error += text));
  assert.deepEqual(await once(child, "close"), [1, null]);
  assert.match(error, /^everfresh outbox: Connection terminated unexpectedly\n$/);
});

test("on SQLite: installed, watched, and what another program writes shows in the status", (t) => {
  const file = sqliteFile();
  const handle = openSqlite(t, file);
  assert.deepEqual(outbox(`sqlite:${file.path}`, "install"), { status: 0, out: "install: done\n", error: "" });
  assert.equal(outbox(file.path, "watch", "items", "--tag", "items", "--tag", "item:{id}").status, 0);
  handle.exec("INSERT INTO items (id, text) VALUES (7, 'x')");
  assert.match(outbox(file.path, "status").out, /everfresh: 2 rows/);
  assert.equal(outbox(file.path, "unwatch", "items").status, 0);
  handle.exec("UPDATE everfresh_outbox SET created_at = created_at - 60000");
  assert.equal(outbox(file.path, "status").status, 1, "rows of a minute mean that no relay runs");
  handle.exec("DELETE FROM items; DELETE FROM everfresh_outbox");
  assert.match(outbox(file.path, "status").out, /nothing waits/);
});

test("the relay refuses a cache that nobody else sees, and leaves the rows alone", (t) => {
  const file = sqliteFile();
  t.after(() => file.remove());
  assert.equal(outbox(file.path, "install").status, 0);
  const handle = file.open();
  handle.exec("INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('everfresh', 'tag', 'songs')");
  for (const env of [{}, { EVERFRESH_BACKEND: "memory" }, { EVERFRESH_BACKEND: "none" }, { NODE_ENV: "production" }]) {
    const { status, out, error } = outboxIn(env, file.path, "relay", "--once");
    assert.deepEqual({ status, out }, { status: 1, out: "" });
    assert.match(error, /MEMCACHIER_SERVERS.*MEMCACHE_SERVERS/);
    assert.equal(outboxIn(env, file.path, "relay").status, 1);
  }
  assert.deepEqual(handle.prepare("SELECT name FROM everfresh_outbox").all(), [{ name: "songs" }]);
  handle.close();
});

test("a relay that looks once leaves with 1 and says why when rows were not delivered", async (t) => {
  const file = sqliteFile();
  t.after(() => file.remove());
  assert.equal(outbox(file.path, "install").status, 0);
  const handle = file.open();
  handle.exec("INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('everfresh', 'tag', 'songs')");
  handle.close();
  const env = { MEMCACHE_SERVERS: `127.0.0.1:${await freePort()}` };
  const { status, out, error } = outboxIn(env, file.path, "relay", "--once");
  assert.deepEqual([status, out], [1, "relay: 0 rows delivered, 1 were not\n"]);
  assert.match(error, /^relay: 1 rows were not delivered: .+; they stay for the next relay\n$/);
  assert.equal(outboxIn(env, file.path, "status").status, 0);
});

test("the relay ends when its options are refused", (t) => {
  const file = sqliteFile();
  t.after(() => file.remove());
  for (const env of [{}, { MEMCACHE_SERVERS: "127.0.0.1:1" }])
    for (const wrong of [
      ["--namespace", "a b"],
      ["--table", "a;b"],
    ])
      assert.equal(outboxIn(env, file.path, "relay", "--once", ...wrong).status, 1);
  assert.equal(outboxIn({ MEMCACHE_SERVERS: "127.0.0.1:1" }, "sqlite:///no/such/file", "relay").status, 1);
});

test("the URL of a SQLite database means what it means to the queue app", (t) => {
  const folder = scratchFolder(t);
  for (const url of ["sqlite:///a.sqlite", `sqlite:///${join(folder, "b.sqlite")}`, "SQLITE:///with%20space.db"]) {
    const problems: string[] = [];
    const target = databaseTarget({ DATABASE_URL: url }, { production: false, heroku: false }, problems);
    assert.deepEqual(problems, []);
    assert.ok(target.kind === "sqlite");
    assert.equal(absolute(sqliteFileOf(url)), target.file);
  }
  // The driver is that of the project in whose folder it is run.
  symlinkSync(absolute("node_modules"), join(folder, "node_modules"), "junction");
  assert.equal(outboxIn({ cwd: folder }, "sqlite:///a.sqlite", "install").status, 0);
  assert.deepEqual(readdirSync(folder), ["a.sqlite", "node_modules"]);
  assert.match(outboxIn({ cwd: folder }, "file:a.sqlite", "status").out, /nothing waits/);
  assert.equal(sqliteFileOf("sqlite:a.sqlite"), "a.sqlite");
  assert.equal(sqliteFileOf("file:///tmp/a%20b.sqlite"), "/tmp/a b.sqlite");
});

test("only install makes a file, and a database that cannot be meant is refused", (t) => {
  const folder = scratchFolder(t);
  for (const command of ["status", "relay", "unwatch items", "watch items --tag items"]) {
    const { status, error } = outboxIn(
      { cwd: folder, MEMCACHE_SERVERS: "127.0.0.1:1" },
      "sqlite:///none.sqlite",
      ...command.split(" "),
    );
    assert.equal(status, 1);
    assert.match(error, /there is no file none\.sqlite/);
  }
  for (const [url, why] of [
    ["mysql://root:s3cret@db/app", /mysql:, which is not known here; give postgres/],
    ["sqlite://host/a.sqlite", /name of a host/],
    ["sqlite::memory:", /in memory/],
    ["sqlite:///a.sqlite?mode=ro", /parameters/],
    ["sqlite:///", /without the name of a file/],
  ] as const) {
    const { status, error } = outboxIn({ cwd: folder }, url, "install");
    assert.equal(status, 1);
    assert.match(error, why);
    assert.doesNotMatch(error, /s3cret/);
  }
  assert.deepEqual(readdirSync(folder), []);
});

test("on PostgreSQL: the relay tells the cache what psql did", skipWhereMissing(), async (t: TestContext) => {
  const postgres = await startPostgres();
  const server = await startMemcached();
  t.after(async () => {
    await server.stop();
    await postgres.stop();
  });
  const db = await postgres.createDatabase();
  const client = new pg.Client(db);
  await client.connect();
  await client.query("CREATE TABLE items (id int PRIMARY KEY, text text)");
  assert.equal(outbox(db, "install").status, 0);
  assert.equal(outbox(db, "watch", "items", "--tag", "items").status, 0);

  const cache = createCache({ backend: memcached(server.address) });
  const read = () => cache.getOrSetEntry("list", () => "loaded", { tags: ["items"] });
  await read();
  assert.equal((await read()).status, "hit");
  const env = { ...process.env, DATABASE_URL: db, MEMCACHE_SERVERS: server.address };
  const relay = spawn(process.execPath, [program, "outbox", "relay"], { env, stdio: ["ignore", "pipe", "inherit"] });
  await once(relay.stdout, "data");
  await client.query("INSERT INTO items VALUES (1, 'typed')");
  const until = performance.now() + 5_000;
  while ((await read()).status === "hit") {
    assert.ok(performance.now() < until, "the relay did not deliver");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const left = once(relay, "exit");
  relay.kill("SIGTERM");
  assert.deepEqual(await left, [0, null]);
  assert.match(outbox(db, "status").out, /nothing waits/);
  await cache.close();
  await client.end();
});

/** `everfresh outbox relay`, and what it says on one of its outputs until that matches. */
function startRelay(db: string, cacheAddress: string) {
  const env = { ...process.env, DATABASE_URL: db, MEMCACHE_SERVERS: cacheAddress };
  const child = spawn(process.execPath, [program, "outbox", "relay"], { env, stdio: ["ignore", "pipe", "pipe"] });
  const left = once(child, "exit");
  const said = async (output: "stdout" | "stderr", pattern: RegExp): Promise<string> => {
    let text = "";
    for await (const part of child[output].setEncoding("utf8").iterator({ destroyOnReturn: false })) {
      text += String(part);
      if (pattern.test(text)) return text;
    }
    throw new Error(`it ended, and said ${text}`);
  };
  return { child, left, said };
}

test("on SQLite the relay runs until it is told to end", async (t) => {
  const file = sqliteFile();
  const handle = file.open();
  const server = await createServer().listen();
  t.after(async () => {
    await server.close();
    handle.close();
    file.remove();
  });
  outbox(file.path, "install");
  handle.exec("INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('everfresh', 'key', 'queue')");
  const { child, left, said } = startRelay(file.path, server.address);
  await said("stdout", /running/);
  await eventually(() => handle.prepare("SELECT id FROM everfresh_outbox").all().length === 0);
  child.kill("SIGTERM");
  assert.match(await said("stdout", /delivered/), /relay: 1 rows delivered/);
  assert.deepEqual(await left, [0, null]);
});

test("a relay whose PostgreSQL is not there yet says so once, and goes on trying", needsPostgres(), async () => {
  const { child, left, said } = startRelay(`postgres://nobody@127.0.0.1:${await freePort()}/nowhere`, "127.0.0.1:1");
  await said("stderr", /relay: .*ECONNREFUSED.*goes on trying/);
  child.kill("SIGTERM");
  assert.match(await said("stdout", /delivered/), /looks failed/);
  assert.deepEqual(await left, [0, null]);
});

test(
  "a relay whose PostgreSQL hangs asks again, and ends all the same when it is told to",
  needsPostgres(),
  async (t) => {
    const postgres = await startPostgres();
    const db = new URL(await postgres.createDatabase());
    assert.equal(outbox(db.href, "install").status, 0);
    const between = await startFaultProxy(Number(db.port));
    t.after(async () => {
      await between.close();
      await postgres.stop();
    });
    const client = new pg.Client(db.href);
    await client.connect();
    db.host = between.address;
    const { child, left, said } = startRelay(db.href, "127.0.0.1:1");
    t.after(() => child.kill("SIGKILL"));
    // As soon as it listens it has looked, and will look again.
    await eventually(async () => {
      const { rowCount } = await client.query("SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
      return rowCount === 1;
    }, 5_000);
    await client.end();
    between.blackHole(true);
    await said("stderr", /relay: .*timeout; it goes on trying/);
    child.kill("SIGTERM");
    assert.notEqual((await left)[0], null);
  },
);

test("a relay whose outputs nobody reads any more goes on", async (t) => {
  const database = createTcpServer().listen(0, "127.0.0.1");
  t.after(() => database.close());
  await once(database, "listening");
  const { port } = database.address() as AddressInfo;
  const { child, left, said } = startRelay(`postgres://nobody@127.0.0.1:${port}/nowhere`, "127.0.0.1:1");
  child.stderr.destroy();
  await said("stdout", /running/);
  child.stdout.destroy();
  // It says why the first look failed before it looks again.
  const early = left.then(() => Promise.reject(new Error("it ended by itself")));
  for (let look = 0; look < 3; look += 1) {
    const [connection] = (await Promise.race([once(database, "connection"), early])) as [Socket];
    connection.destroy();
  }
  early.catch(() => undefined);
  child.kill("SIGTERM");
  assert.deepEqual(await left, [0, null]);
});

test("a relay that is told to end as soon as it says that it runs ends in order", async () => {
  const { child, left } = startRelay(`postgres://nobody@127.0.0.1:${await freePort()}/nowhere`, "127.0.0.1:1");
  child.stdout.once("data", () => child.kill("SIGTERM"));
  assert.deepEqual(await left, [0, null]);
});

function skipWhereMissing(): { skip: string | false } {
  return needs("memcached").skip === false ? needsPostgres() : needs("memcached");
}
