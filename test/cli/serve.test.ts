/** `everfresh serve`: memcached's flags, what it prints, how it stops. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { scratchFolder } from "../support/scratch.ts";
import { talk } from "../support/talk.ts";

const program = "dist/cli/main.js";

interface Served {
  readonly child: ChildProcess;
  readonly port: number;
  readonly variables: ReadonlyMap<string, string>;
}

async function serve(context: TestContext, flags: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Served> {
  const child = spawn(process.execPath, [program, "serve", "-p", "0", ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  context.after(() => child.kill("SIGKILL"));
  const [chunk] = (await once(child.stdout, "data")) as [Buffer];
  const lines = chunk.toString().trim().split("\n");
  const variables = new Map(lines.map((line) => line.split("=", 2) as [string, string]));
  const port = Number(variables.get("MEMCACHIER_SERVERS")?.split(":").at(-1));
  return { child, port, variables };
}

async function ask({ port }: Served, said: string, end: string): Promise<string> {
  const visitor = await talk(port);
  visitor.send(said);
  return visitor.hearUntil(end);
}

async function stopped({ child }: Served, signal: NodeJS.Signals): Promise<number | null> {
  const left = once(child, "exit");
  child.kill(signal);
  const [code] = (await left) as [number | null];
  return code;
}

function refused(flags: readonly string[]): string {
  const args = [program, "serve", ...flags];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 20_000 });
  // A server that went on listening would be killed, which is no status.
  assert.equal(status, 1);
  return stderr;
}

test("it serves with memcached's flags, says where, and stops when told", async (context) => {
  const served = await serve(context, ["-U", "0", "-m", "32", "-c", "10", "-I", "2m", "-l", "127.0.0.1"]);
  const visitor = await talk(served.port);
  visitor.send("stats settings\r\n");
  const settings = await visitor.hearUntil("END\r\n");
  assert.match(settings, /STAT maxbytes 33554432\r\n/);
  assert.match(settings, /STAT maxconns 10\r\n/);
  assert.match(settings, /STAT item_size_max 2097152\r\n/);
  assert.equal(await stopped(served, "SIGTERM"), 0);
});

test("with -S and no file somebody is made up who can log in, and shown as the variables of MemCachier", async (context) => {
  const served = await serve(context, ["-S"]);
  const user = served.variables.get("MEMCACHIER_USERNAME") ?? "";
  const password = served.variables.get("MEMCACHIER_PASSWORD") ?? "";
  assert.match(password, /^[0-9a-f]{32}$/);
  const visitor = await talk(served.port);
  const value = Buffer.from(`\0${user}\0${password}`);
  const header = Buffer.alloc(24);
  header.set([0x80, 0x21, 0, 5]);
  header.writeUInt32BE(5 + value.length, 8);
  visitor.send(Buffer.concat([header, Buffer.from("PLAIN"), value]));
  assert.match(await visitor.hear(37), /Authenticated$/);
});

test("with -Y the file names the users, and SIGHUP reads it again", async (context) => {
  const file = join(scratchFolder(context), "users");
  writeFileSync(file, "# users\nann:old\n");
  const served = await serve(context, ["-Y", file]);
  const before = await talk(served.port);
  before.send("set x 0 0 7\r\nann old\r\nset k 0 0 1\r\nv\r\n");
  assert.equal(await before.hearUntil("STORED\r\nSTORED\r\n"), "STORED\r\nSTORED\r\n");
  writeFileSync(file, "ann:new\n");
  served.child.kill("SIGHUP");
  for (;;) {
    const after = await talk(served.port);
    after.send("set x 0 0 7\r\nann new\r\nget k\r\n");
    const first = await after.hearUntil("\r\n");
    if (first !== "STORED\r\n") continue;
    assert.equal(await after.hearUntil("END\r\n"), "VALUE k 0 1\r\nv\r\nEND\r\n");
    break;
  }
});

test("with -e what is stored survives a planned stop, not a crash", async (context) => {
  const file = join(scratchFolder(context), "items");
  const first = await serve(context, ["-e", file]);
  await ask(first, "set k 0 0 4\r\nkept\r\n", "STORED\r\n");
  assert.equal(await stopped(first, "SIGUSR1"), 0);
  const second = await serve(context, ["-e", file, "-A"]);
  assert.equal(await ask(second, "get k\r\n", "END\r\n"), "VALUE k 0 4\r\nkept\r\nEND\r\n");
  const left = once(second.child, "exit");
  const visitor = await talk(second.port);
  visitor.send("shutdown graceful\r\n");
  await left;
  const third = await serve(context, ["-e", file]);
  assert.equal(await ask(third, "get k\r\n", "END\r\n"), "VALUE k 0 4\r\nkept\r\nEND\r\n");
  await stopped(third, "SIGKILL");
  const fourth = await serve(context, ["-e", file]);
  assert.equal(await ask(fourth, "get k\r\n", "END\r\n"), "END\r\n");
});

test("after an error it listens no longer, and the process ends", async (context) => {
  const folder = scratchFolder(context);
  assert.match(refused(["-p", "0", "-P", join(folder, "none", "pid")]), /ENOENT/);
  if (process.getuid?.() === 0) assert.match(refused(["-p", "0", "-u", "nosuchuser"]), /nosuchuser/);
  const taken = await serve(context, []);
  assert.match(refused(["-l", `127.0.0.1:0,127.0.0.1:${taken.port}`]), /EADDRINUSE/);
  const served = await serve(context, ["-e", folder]);
  assert.equal(await stopped(served, "SIGTERM"), 1, "what is stored could not be kept");
});

test("a server that is told to end as soon as it says where it listens ends in order", async (context) => {
  const child = spawn(process.execPath, [program, "serve", "-p", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => child.kill("SIGKILL"));
  child.stdout.once("data", () => child.kill("SIGTERM"));
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("what means nothing here is named, what is unknown or would be a lie is refused", () => {
  assert.match(refused(["--bogus"]), /bogus/);
  assert.match(refused(["-U", "11211"]), /UDP/);
  assert.match(refused(["-o", "ext_path=/x:1G"]), /ext_path/);
  assert.match(refused(["-I", "5x"]), /-I 5x/);
  assert.match(refused(["-I", "2g"]), /-I 2g: .*from 1k to 1g/);
  assert.match(refused(["-m", "0"]), /-m 0/);
  assert.match(refused(["-m", "99999"]), /-m 99999: a whole number from 1 to 4096/);
  assert.match(refused(["-p", "99999"]), /-p 99999: a whole number from 0 to 65535/);
  assert.match(refused(["-l", "127.0.0.1:99999"]), /-l 127\.0\.0\.1:99999/);
  assert.match(refused(["-Z"]), /ssl_chain_cert/);
  assert.match(refused(["-S", "-Y", "f"]), /one way or the other/);
  assert.match(
    refused(["-t", "4", "-o", "modern", "-Y", "/nowhere"]),
    /-t does nothing here[^]*-o modern does nothing/,
  );
});

test("help and version are shown without starting anything", () => {
  const help = spawnSync(process.execPath, [program, "serve", "--help"], { encoding: "utf8" });
  assert.match(help.stdout, /--memory-limit/);
  const version = spawnSync(process.execPath, [program, "serve", "-V"], { encoding: "utf8" });
  assert.match(version.stdout, /^everfresh \d+\.\d+\.\d+/);
  for (const flag of ["--version", "-V"]) {
    const own = spawnSync(process.execPath, [program, flag], { encoding: "utf8" });
    assert.deepEqual([own.status, own.stdout], [0, version.stdout]);
  }
  const nothing = spawnSync(process.execPath, [program, "sreve"], { encoding: "utf8" });
  assert.equal(nothing.status, 2);
  assert.match(nothing.stderr, /^everfresh: there is no command "sreve"\nUsage:\n[^]*everfresh serve/);
});
