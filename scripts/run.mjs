// What every script here shares: where the project is, how to run a program, how to install and build once.
// Plain JavaScript on Node alone, because it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const oldest = [20, 19];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  process.stderr.write(`Everfresh needs Node ${oldest.join(".")} or newer; this is ${process.versions.node}.\n`);
  process.exit(1);
}

/** Runs a program to its end; leaves the script with its exit code when it fails. */
export function run(program, args, options = {}) {
  const result = spawnSync(program, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** Runs the tool `bin` of an installed package, on this very Node. */
export function runTool(pkg, bin, args) {
  const manifest = JSON.parse(readFileSync(join(root, "node_modules", pkg, "package.json"), "utf8"));
  const file = typeof manifest.bin === "string" ? manifest.bin : manifest.bin[bin];
  run(process.execPath, [join(root, "node_modules", pkg, file), ...args]);
}

/** Installs the packages of the lock file, unless that very lock file was installed already. */
export function install() {
  installIn(".");
}

/** The same for a folder that has a lock file of its own. */
export function installIn(folder) {
  const lock = createHash("sha256")
    .update(readFileSync(join(root, folder, "package-lock.json")))
    .digest("hex");
  const stamp = join(root, folder, "node_modules", ".everfresh-installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  process.stdout.write(`Installing the packages of ${join(folder, "package-lock.json")} ...\n`);
  const args = ["ci", "--include=dev", "--loglevel=error"];
  // npm's own path where npm runs us, so that it is the same npm; a shell only on Windows, where npm is a script.
  const cli = process.env.npm_execpath;
  const cwd = join(root, folder);
  if (cli?.endsWith(".js")) run(process.execPath, [cli, ...args], { cwd });
  else run("npm", args, { cwd, shell: process.platform === "win32" });
  writeFileSync(stamp, lock);
}

/** Compiles one project into `out`, unless nothing that it is made from has changed since. */
export function compile(project, out, sources) {
  const print = createHash("sha256").update(process.version);
  for (const file of [project, "tsconfig.json", "package.json", "package-lock.json"])
    print.update(readFileSync(join(root, file)));
  for (const source of sources) fingerprint(join(root, source), print);
  const digest = print.digest("hex");
  const stamp = join(root, out, ".stamp");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  rmSync(join(root, out), { recursive: true, force: true });
  runTool("typescript", "tsc", ["-p", project]);
  mkdirSync(join(root, out), { recursive: true });
  writeFileSync(stamp, digest);
}

/** Builds the library, and the app on top of it. */
export function build() {
  compile("tsconfig.build.json", "dist", ["src"]);
  compile("apps/queue/tsconfig.json", "apps/queue/dist", ["src", "apps/queue/src", "apps/queue/test"]);
}

/** Builds everything that `npm test` runs. */
export function buildTests() {
  build();
  compile("tsconfig.test.json", "dist-test", ["src", "test", "examples"]);
}

function fingerprint(path, print) {
  if (!existsSync(path)) return;
  const stats = statSync(path);
  if (stats.isFile()) print.update(`${path}\0${stats.size}\0${stats.mtimeMs}\0`);
  else for (const name of readdirSync(path).toSorted()) fingerprint(join(path, name), print);
}
