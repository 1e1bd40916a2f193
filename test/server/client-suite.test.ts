/** Our client's own tests on real memcached, run once more on the embedded server: they must not see a difference. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const files = ["client", "connection"].flatMap((folder) =>
  readdirSync(`dist-test/test/${folder}`)
    .filter((file) => file.endsWith(".test.js"))
    .map((file) => `dist-test/test/${folder}/${file}`),
);

test("the client's suite passes on the embedded server as it does on memcached", async () => {
  const env = { ...process.env, EVERFRESH_TEST_MEMCACHED: resolve("test/support/everfresh-as-memcached") };
  // The runner that runs this file would take the results of the runner within for its own.
  delete (env as NodeJS.ProcessEnv)["NODE_TEST_CONTEXT"];
  const flags = ["--enable-source-maps", "--test", "--test-reporter=tap"];
  await run(process.execPath, [...flags, ...files], { env, maxBuffer: 64 * 1024 * 1024 }).catch((error: unknown) => {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    // From each test that failed to the end of what it says of itself.
    const failed = stdout.match(/^ *not ok [^]*?^ *\.\.\.$/gm) ?? [];
    assert.fail(`${failed.join("\n")}\n${stderr}`);
  });
});
