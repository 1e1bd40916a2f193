// `npm run bench`: every benchmark; `npm run bench:app`, or `npm run bench app`: one of them.
// Each is a program bench/<name>.bench.mjs. The peers that they compare with are installed from bench/package-lock.json first.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { build, install, installIn, root, run } from "./run.mjs";

const all = readdirSync(join(root, "bench"))
  .filter((file) => file.endsWith(".bench.mjs"))
  .map((file) => file.slice(0, -".bench.mjs".length));
const [name, ...args] = process.argv.slice(2);
if (name !== undefined && !all.includes(name)) {
  process.stderr.write(`There is no benchmark "${name}"; there are ${all.join(", ")}.\n`);
  process.exit(1);
}
install();
build();
if (existsSync(join(root, "bench", "package-lock.json"))) installIn("bench");
for (const each of name === undefined ? all : [name])
  run(process.execPath, [join("bench", `${each}.bench.mjs`), ...args]);
