/** The whole test suite of our client, which speaks to a real memcached, spoken to our server instead. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const folder = "dist-test/test/client";

test("our client finds in our server what it finds in memcached", async () => {
  const files = readdirSync(folder).filter((file) => file.endsWith(".test.js"));
  const env = {
    ...process.env,
    EVERFRESH_TEST_MEMCACHED: join(process.cwd(), "test/support/everfresh-as-memcached.mjs"),
  };
  Reflect.deleteProperty(env, "NODE_TEST_CONTEXT");
  const child = spawn(
    process.execPath,
    ["--test", "--test-reporter=tap", "--test-timeout=60000", ...files.map((file) => join(folder, file))],
    {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  const report = Buffer.concat(chunks).toString();
  const failed = report.split("\n").filter((line) => /^\s*(not ok|error:)/.test(line));
  assert.equal(code, 0, failed.join("\n"));
  assert.match(report, /# pass [1-9]\d/);
});
