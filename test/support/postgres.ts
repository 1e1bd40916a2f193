/**
 * A real PostgreSQL of the test's own: a cluster made for this process, on a free port of the loopback, gone at the end.
 *
 * `EVERFRESH_TEST_POSTGRES` names a server to use instead (`postgres://user:password@host:5432/postgres`, a user who may create
 * databases); then only databases are made and dropped.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before } from "node:test";
import pg from "pg";
import { answering, freePort } from "./memcached.ts";
import { needs, programFile } from "./programs.ts";

export interface RealPostgres {
  /** Makes an empty database and returns its URL. */
  createDatabase(): Promise<string>;
  /** Ends it without grace, as a crash would, and waits until it is gone. Only for clusters of our own. */
  kill(): Promise<void>;
  /** Starts it again on the same port with the same data, after `kill()`. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Options for a test that needs PostgreSQL: skipped where there is none, except in CI. */
export function needsPostgres(): { skip: string | false } {
  return serverUrl() === undefined ? needs("postgresql") : { skip: false };
}

/** A database for the tests of one file: made before the first of them, where there is PostgreSQL, and gone after the last. */
export function databaseForTests(): { readonly url: string } {
  const made = { url: "" };
  let postgres: RealPostgres | undefined;
  before(async () => {
    if (needsPostgres().skip !== false) return;
    postgres = await startPostgres();
    made.url = await postgres.createDatabase();
  });
  after(() => postgres?.stop());
  return made;
}

/** Starts PostgreSQL and waits until it answers. */
export async function startPostgres(): Promise<RealPostgres> {
  const url = serverUrl();
  if (url === undefined) return await ownCluster();
  const names: string[] = [];
  return {
    createDatabase: () => createDatabase(url, names),
    kill: notOurs,
    restart: notOurs,
    stop: () => dropDatabases(url, names),
  };
}

function notOurs(): Promise<never> {
  return Promise.reject(new Error("this PostgreSQL is not ours to end"));
}

function serverUrl(): string | undefined {
  const url = process.env["EVERFRESH_TEST_POSTGRES"];
  return url === undefined || url === "" ? undefined : url;
}

async function ownCluster(): Promise<RealPostgres> {
  const programs = dirname(programFile("postgresql"));
  const folder = mkdtempSync(join(tmpdir(), "everfresh-postgres-"));
  const user = unprivileged();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = join(folder, "data");
  const flags = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"];
  execFileSync(join(programs, "initdb"), ["-D", data, ...flags], { ...user, stdio: "ignore", cwd: folder });
  const port = await freePort();
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    const settings = ["fsync=off", "full_page_writes=off", "shared_buffers=16MB"];
    const own = [
      "listen_addresses=127.0.0.1",
      `port=${port}`,
      `unix_socket_directories=${folder}`,
      "logging_collector=off",
    ];
    // The shell waits for its input to end, which it does when this process does, however that comes about.
    child = spawn(
      "/bin/sh",
      [
        "-c",
        '"$@" </dev/null & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid',
        "sh",
        join(programs, "postgres"),
        "-D",
        data,
        ...[...settings, ...own].flatMap((setting) => ["-c", setting]),
      ],
      { ...user, stdio: ["pipe", "ignore", "ignore"], cwd: folder },
    );
    await answering(port);
    await accepting(url());
  }

  async function kill(): Promise<void> {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null) return;
    const gone = once(running, "exit");
    running.stdin?.end();
    await gone;
  }

  const url = (): string => `postgres://postgres@127.0.0.1:${port}/postgres`;
  await start();
  return {
    createDatabase: () => createDatabase(url(), []),
    kill,
    restart: start,
    async stop() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** PostgreSQL refuses to run as root; Debian and its kin made a user for it. */
function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  return { uid: idOfPostgres("-u"), gid: idOfPostgres("-g") };
}

function idOfPostgres(flag: "-u" | "-g"): number {
  return Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
}

let made = 0;

async function createDatabase(serverAddress: string, names: string[]): Promise<string> {
  const name = `everfresh_test_${process.pid}_${(made += 1)}`;
  await administer(serverAddress, `create database ${name}`);
  names.push(name);
  const url = new URL(serverAddress);
  url.pathname = `/${name}`;
  return url.href;
}

async function dropDatabases(serverAddress: string, names: readonly string[]): Promise<void> {
  for (const name of names) await administer(serverAddress, `drop database if exists ${name} with (force)`);
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on("error", () => undefined);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The port opens before the server is ready: until then it says "starting up". */
async function accepting(url: string): Promise<void> {
  const until = performance.now() + 20_000;
  for (;;) {
    try {
      await administer(url, "select 1");
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
