/** Our client's own tests on real memcached, run once more on the embedded server: they must not see a difference. */
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
  await run(process.execPath, ["--enable-source-maps", "--test", ...files], { env, maxBuffer: 64 * 1024 * 1024 });
});
