/** The contract suite that is published for authors of other backends: it must not pass those that are wrong. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("a backend that breaks a rule fails the contract suite, and one that breaks none passes", () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const file = fileURLToPath(new URL("wrong-backends.js", import.meta.url));
  const { stdout } = spawnSync(process.execPath, ["--test-reporter=tap", file], { env, encoding: "utf8" });
  const suites = [...stdout.matchAll(/^(ok|not ok) \d+ - the contract of a backend: (.*)$/gm)];
  const passed = suites.filter(([, outcome]) => outcome === "ok").map(([, , name]) => name);
  assert.equal(suites.length, 13, stdout);
  assert.deepEqual(passed, ["none: this one is right"]);
});
