/** Debian's pylibmc and pymemcache, used against our server as against memcached: they must see the same. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { suite, test } from "node:test";
import { promisify } from "node:util";
import { createServer } from "everfresh/server";
import { startMemcached } from "../support/memcached.ts";
import { findProgram } from "../support/programs.ts";

const python = "/usr/bin/python3";

/** In CI nothing is skipped: there the packages python3-pylibmc and python3-pymemcache must be installed. */
function needsModule(name: string): { skip: string | false } {
  const has = spawnSync(python, ["-c", `import ${name}`]).status === 0 && findProgram("memcached") !== undefined;
  return { skip: has || process.env["CI"] ? false : `python3-${name} or memcached is not installed` };
}

async function sees(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(python, ["test/support/python-clients.py", ...args]);
  return JSON.parse(stdout) as Record<string, unknown>;
}

suite("pylibmc", needsModule("pylibmc"), () => {
  test("sees our server as it sees memcached, in text", async () => {
    const [real, ours] = [await startMemcached(), await createServer().listen()];
    const seen = await sees("pylibmc", String(ours.port));
    assert.deepEqual(seen, await sees("pylibmc", String(real.port)));
    assert.equal(seen["get"], "hallo");
    await real.stop();
    await ours.close();
  });

  test("logs in by SASL and sees the same in binary", async () => {
    const users = [{ name: "ann", password: "pw" }];
    const [real, ours] = [await startMemcached(), await createServer({ users }).listen()];
    const seen = await sees("pylibmc", String(ours.port), "binary", "ann", "pw");
    assert.deepEqual(seen, await sees("pylibmc", String(real.port), "binary"));
    assert.equal(seen["get"], "hallo");
    await assert.rejects(sees("pylibmc", String(ours.port), "binary", "ann", "wrong"));
    await real.stop();
    await ours.close();
  });
});

suite("pymemcache", needsModule("pymemcache"), () => {
  test("sees our server as it sees memcached", async () => {
    const [real, ours] = [await startMemcached(), await createServer({ version: "1.6.18" }).listen()];
    const seen = await sees("pymemcache", String(ours.port));
    assert.deepEqual(seen, await sees("pymemcache", String(real.port)));
    assert.equal(seen["get"], "hallo");
    await real.stop();
    await ours.close();
  });
});
