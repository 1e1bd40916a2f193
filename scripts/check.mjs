// `npm run check`: everything that CI checks, in the order in which it is cheap to fail.
import { install, root, run, runTool } from "./run.mjs";

install();
runTool("oxfmt", "oxfmt", ["--check", "."]);
runTool("oxlint", "oxlint", ["--type-aware", "--deny-warnings"]);
runTool("typescript", "tsc", ["-p", "tsconfig.json"]);
run(process.execPath, ["scripts/test.mjs"], { cwd: root });
