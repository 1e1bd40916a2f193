/**
 * The real programs that tests speak to, and what to do when a machine lacks one.
 *
 * Where `CI` is set nothing may be skipped, so a missing program fails the test; elsewhere it is skipped and named.
 */
import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs that the tests know. `npm test` installs them where it may. */
export type ProgramName = "memcached" | "chromium" | "postgresql";

const names: Record<ProgramName, readonly string[]> = {
  memcached: ["memcached"],
  chromium: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
  postgresql: ["initdb"],
};

/** Folders outside of PATH in which packages put these programs; Debian keeps PostgreSQL's by version. */
const folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin", ...debianPostgres()];

/**
 * The file of a program, or undefined where it is not installed. `EVERFRESH_TEST_MEMCACHED` and `_CHROMIUM` name another
 * file, `EVERFRESH_TEST_POSTGRESQL` the `initdb` beside which PostgreSQL's other programs are.
 */
export function findProgram(program: ProgramName): string | undefined {
  const chosen = process.env[`EVERFRESH_TEST_${program.toUpperCase()}`];
  if (chosen !== undefined && chosen !== "") return chosen;
  const path = [...(process.env["PATH"] ?? "").split(delimiter), ...folders];
  return names[program].flatMap((name) => path.map((folder) => join(folder, name))).find(isExecutable);
}

/** Options for a test or suite that needs `programs`: skipped where one is missing, except in CI. */
export function needs(...programs: readonly ProgramName[]): { skip: string | false } {
  const missing = programs.filter((program) => findProgram(program) === undefined);
  return { skip: missing.length > 0 && !process.env["CI"] && `not installed: ${missing.join(", ")}` };
}

/** The file of a program; throws where it is missing, so that CI fails instead of skipping. */
export function programFile(name: ProgramName): string {
  const file = findProgram(name);
  if (file === undefined) throw new Error(`${name} is not installed, and CI skips nothing: install it`);
  return file;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function debianPostgres(): string[] {
  try {
    return readdirSync("/usr/lib/postgresql").map((version) => `/usr/lib/postgresql/${version}/bin`);
  } catch {
    return [];
  }
}
