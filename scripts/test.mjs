// `npm test`: installs what is missing, builds, runs the tests.
// `npm test -- test/client apps/queue` runs only the files whose path contains one of these words.
// Where CI is set nothing may be skipped: a missing program ends the run.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { buildTests, install, root } from "./run.mjs";
import { installPrograms } from "./system.mjs";

install();
const missing = installPrograms();
if (missing.length > 0 && process.env.CI) {
  process.stderr.write(`CI skips nothing, and this is missing: ${missing.join(", ")}\n`);
  process.exit(1);
}
buildTests();

const words = process.argv.slice(2);
const files = ["dist-test", "apps/queue/dist/test"]
  .flatMap((folder) => walk(join(root, folder)))
  .filter((file) => file.endsWith(".test.js"))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word.replace(/\.ts$/, ""))));
if (files.length === 0) {
  process.stderr.write(`No test file has ${words.join(" or ")} in its path.\n`);
  process.exit(1);
}

// The long runs of the simulation and of the proof take hours on a small machine; a test file has five minutes otherwise.
const isLong = [
  "EVERFRESH_TEST_SIMULATION",
  "EVERFRESH_TEST_PROOF",
  "EVERFRESH_TEST_RUNS",
  "EVERFRESH_TEST_LOAD",
  "EVERFRESH_TEST_FUZZ",
].some((name) => process.env[name]);
const timeoutMs = (isLong ? 240 : 5) * 60_000;
const result = spawnSync(
  process.execPath,
  ["--enable-source-maps", "--test", `--test-timeout=${timeoutMs}`, ...reporters(), ...files],
  {
    cwd: root,
    stdio: "inherit",
  },
);
if (missing.length > 0)
  process.stdout.write(`Skipped the tests that need ${missing.join(", ")}: not installed on this machine.\n`);
process.exitCode = result.status ?? 1;

/** What Node would choose (TAP where nobody watches), and the failures once more at the end. */
function reporters() {
  const usual = process.stdout.isTTY ? "spec" : "tap";
  return [usual, join(root, "scripts/failures.mjs")].flatMap((reporter) => [
    `--test-reporter=${reporter}`,
    `--test-reporter-destination=${reporter === usual ? "stdout" : "stderr"}`,
  ]);
}

function walk(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .flatMap((entry) => (entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)]));
}
