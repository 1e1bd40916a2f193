// The real programs that the tests speak to, installed by the system's package manager where it may.
// `EVERFRESH_TEST_INSTALL=0` leaves the system as it is.
import { spawnSync } from "node:child_process";
import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Each program (or module of the system's Python): its names, and the package that brings it, by package manager. */
const programs = {
  memcached: {
    names: ["memcached"],
    // The second package is SASL PLAIN, for the tests of logins.
    packages: { "apt-get": ["memcached", "libsasl2-modules"], dnf: "memcached", apk: "memcached", brew: "memcached" },
  },
  PostgreSQL: {
    names: ["initdb"],
    packages: { "apt-get": "postgresql", dnf: "postgresql-server", apk: "postgresql", brew: "postgresql" },
  },
  Chromium: {
    names: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    packages: { "apt-get": "chromium", dnf: "chromium", apk: "chromium" },
  },
  pylibmc: { names: [], module: "pylibmc", packages: { "apt-get": "python3-pylibmc" } },
  pymemcache: { names: [], module: "pymemcache", packages: { "apt-get": "python3-pymemcache" } },
};

/** How each package manager is asked, in the order in which they are looked for. */
const managers = {
  "apt-get": { refresh: ["update", "-q"], install: ["install", "-y", "-q", "--no-install-recommends"], asRoot: true },
  dnf: { install: ["install", "-y", "-q"], asRoot: true },
  apk: { install: ["add", "--quiet"], asRoot: true },
  brew: { install: ["install", "--quiet"], asRoot: false },
};

/** Installs what is missing, where it may, and returns the names of the programs that are still missing. */
export function installPrograms() {
  if (missing().length > 0 && process.env.EVERFRESH_TEST_INSTALL !== "0") tryToInstall(missing());
  return missing();
}

function missing() {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/bin", "/usr/sbin", ...postgresFolders()];
  return Object.keys(programs).filter(
    (name) =>
      !isChosen(name) &&
      !hasModule(programs[name].module) &&
      !programs[name].names.some((file) => folders.some((folder) => isExecutable(join(folder, file)))),
  );
}

function hasModule(module) {
  return module !== undefined && succeeds("/usr/bin/python3", ["-c", `import ${module}`]);
}

/** `EVERFRESH_TEST_MEMCACHED`, `_CHROMIUM` name a program's file, `_POSTGRESQL` that of PostgreSQL's initdb. */
function isChosen(name) {
  return Boolean(process.env[`EVERFRESH_TEST_${name.toUpperCase()}`]);
}

function tryToInstall(names) {
  const name = Object.keys(managers).find((candidate) => succeeds(candidate, ["--version"]));
  if (name === undefined) return;
  const { refresh, install, asRoot } = managers[name];
  const packages = names.flatMap((program) => programs[program].packages[name] ?? []);
  if (packages.length === 0) return;
  const sudo = asRoot && process.getuid?.() !== 0 ? ["sudo", "-n"] : [];
  if (sudo.length > 0 && !succeeds("sudo", ["-n", "true"])) return;
  process.stdout.write(`Installing ${packages.join(", ")} with ${name} for the tests ...\n`);
  // Output only when it fails. RUNLEVEL keeps Debian from starting the services: the tests start their own.
  const ask = (args) => {
    const [program, ...rest] = [...sudo, name, ...args];
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
    return spawnSync(program, rest, { env, encoding: "utf8", timeout: 15 * 60_000 });
  };
  if (refresh) ask(refresh);
  const result = ask([...install, ...packages]);
  if (result.status !== 0) process.stdout.write(`${name} could not install them:\n${result.stderr ?? ""}\n`);
}

function postgresFolders() {
  try {
    return readdirSync("/usr/lib/postgresql").map((version) => `/usr/lib/postgresql/${version}/bin`);
  } catch {
    return [];
  }
}

function succeeds(program, args) {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
