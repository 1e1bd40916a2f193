// `npm run check`: everything that CI checks, in the order in which it is cheap to fail.
import { build, install, root, run, runTool } from "./run.mjs";

install();
runTool("oxfmt", "oxfmt", ["--check", "."]);
// The linter looks at the app as it is: on top of the built library.
build();
runTool("oxlint", "oxlint", ["--type-aware", "--deny-warnings"]);
runTool("typescript", "tsc", ["-p", "tsconfig.json"]);
run(process.execPath, ["scripts/test.mjs"], { cwd: root });
