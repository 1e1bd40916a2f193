// `npm test`: installs what is missing, builds, starts the real parts, runs the tests.
// `npm test -- test/client apps/queue` runs only the files whose path contains one of these words.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { buildTests, install, root } from "./run.mjs";

install();
buildTests();

const words = process.argv.slice(2);
const files = ["dist-test", "apps/queue/dist/test"]
  .flatMap((folder) => walk(join(root, folder)))
  .filter((file) => file.endsWith(".test.js"))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word.replace(/\.ts$/, ""))));

const result = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {
  cwd: root,
  stdio: "inherit",
});
process.exitCode = result.status ?? 1;

function walk(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .flatMap((entry) => (entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)]));
}
