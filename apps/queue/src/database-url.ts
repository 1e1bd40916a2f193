/**
 * `DATABASE_URL`, taken apart and checked. Pure: opens nothing, and never repeats the URL, because it holds a password.
 *
 *     postgres://user:password@host:5432/name?sslmode=require
 *     sqlite:///relative.db    sqlite:////absolute.db    sqlite::memory:
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

/**
 * Whether and how a connection to PostgreSQL is encrypted; the words are those of libpq's `sslmode`, the last one is that of
 * `pg`.
 */
export type SslMode = "disable" | "require" | "verify-ca" | "verify-full" | "no-verify";

const sslModes = ["disable", "require", "verify-ca", "verify-full", "no-verify"] as const satisfies readonly SslMode[];

export interface PostgresTarget {
  readonly kind: "postgres";
  /** A name, an address, or the folder of a unix socket. Undefined leaves it to `PGHOST` and the driver. */
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string;
  readonly sslMode: SslMode;
  /** The certificate of the authority that signs the server's, as PEM text. */
  readonly sslRoot: string | undefined;
  readonly applicationName: string;
  /** Safe to print. */
  readonly shown: string;
}

export interface SqliteTarget {
  readonly kind: "sqlite";
  /** An absolute path, or `:memory:`. */
  readonly file: string;
  /** Whether the folder of the file may be made: only that of our own default. */
  readonly makeFolder: boolean;
  /** Safe to print. */
  readonly shown: string;
}

export type DatabaseTarget = PostgresTarget | SqliteTarget;

const forms =
  "Write postgres://user:password@host:5432/name, sqlite:///relative.db, sqlite:////absolute.db or sqlite::memory:.";
const encoded =
  "Characters such as # ? / @ : % and spaces in the user name or the password must be percent-encoded there (# is %23).";

/** What is left to say when a URL has been refused; reported together with every other problem. */
class UrlProblem extends Error {}

/** The database that the environment asks for. What is wrong is added to `problems`. */
export function databaseTarget(
  env: NodeJS.ProcessEnv,
  where: { readonly production: boolean; readonly heroku: boolean },
  problems: string[],
): DatabaseTarget {
  const url = env["DATABASE_URL"]?.trim() ?? "";
  try {
    if (url === "") return byDefault(where.production);
    if (/^sqlite:/i.test(url)) return sqliteTarget(url, where.heroku);
    if (/^postgres(ql)?:/i.test(url)) return postgresTarget(url, env, where.heroku);
    const scheme = /^[a-z][a-z0-9+.-]{0,19}(?=:)/i.exec(url)?.[0];
    throw new UrlProblem(
      scheme === undefined ? `is not a URL. ${forms}` : `begins with ${scheme}: which is not known. ${forms}`,
    );
  } catch (error) {
    if (!(error instanceof UrlProblem)) throw error;
    problems.push(`DATABASE_URL ${error.message}`);
    return { kind: "sqlite", file: ":memory:", makeFolder: false, shown: "" };
  }
}

function byDefault(production: boolean): SqliteTarget {
  if (production) throw new UrlProblem(`is missing. In production it must be set. ${forms}`);
  return {
    kind: "sqlite",
    file: resolve(".everfresh/queue.sqlite"),
    makeFolder: true,
    shown: ".everfresh/queue.sqlite",
  };
}

function sqliteTarget(url: string, heroku: boolean): SqliteTarget {
  const rest = url.slice("sqlite:".length);
  if (heroku)
    throw new UrlProblem(
      "is SQLite, but the disk of a dyno is emptied at every restart: add heroku-postgresql instead.",
    );
  if (rest === ":memory:" || rest === "//:memory:" || rest === "///:memory:")
    return { kind: "sqlite", file: ":memory:", makeFolder: false, shown: "in memory, gone at the end" };
  if (!rest.startsWith("///"))
    throw new UrlProblem(
      "is SQLite with a host name or without a path: sqlite: is followed by three slashes for a relative path, by four for an absolute one.",
    );
  if (/[?#]/.test(rest))
    throw new UrlProblem("is SQLite with parameters, of which there are none (in a path, ? is %3F and # is %23).");
  const path = decoded(rest.slice("///".length));
  if (path === "" || path.endsWith("/")) throw new UrlProblem("is SQLite without the name of a file.");
  return { kind: "sqlite", file: resolve(path), makeFolder: false, shown: path };
}

function postgresTarget(text: string, env: NodeJS.ProcessEnv, heroku: boolean): PostgresTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hash !== "") throw new UrlProblem(`cannot be read as a URL. ${encoded}`);
  const parameters = postgresParameters(url.searchParams);
  const database = decoded(url.pathname.replace(/^\//, ""));
  if (database === "") throw new UrlProblem("names no database: write postgres://host/name.");
  if (database.includes("/")) throw new UrlProblem(`has a / in the name of the database. ${encoded}`);
  const host = parameters.get("host") ?? decoded(url.hostname).replace(/^\[(.*)\]$/, "$1");
  const shownHost = host === "" ? "" : `${host}${url.port === "" ? "" : `:${url.port}`}`;
  return {
    kind: "postgres",
    host: host === "" ? undefined : host,
    port: url.port === "" ? undefined : Number(url.port),
    user: url.username === "" ? undefined : decoded(url.username),
    password: url.password === "" ? undefined : decoded(url.password),
    database,
    sslMode: sslMode(parameters.get("sslmode"), env["PGSSLMODE"], heroku),
    sslRoot: sslRoot(parameters.get("sslrootcert"), env["PGSSLROOTCERT"]),
    applicationName: parameters.get("application_name") ?? "everfresh-queue",
    shown: `database ${database}${shownHost === "" ? "" : ` on ${shownHost}`}`,
  };
}

const knownParameters = ["sslmode", "sslrootcert", "host", "application_name"];

function postgresParameters(query: URLSearchParams): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [name, value] of query) {
    // The name is not repeated: behind a ? that should have been %3F it is a piece of the password.
    if (!knownParameters.includes(name))
      throw new UrlProblem(`has a parameter that is not known; known are ${knownParameters.join(", ")}. ${encoded}`);
    if (parameters.has(name)) throw new UrlProblem(`has the parameter ${name} twice.`);
    parameters.set(name, value);
  }
  return parameters;
}

/**
 * Heroku demands TLS and signs its certificates itself, so there the default is `require`: encrypted, not verified.
 * libpq's `allow` and `prefer` fall back to plain text when TLS fails, which protects from nobody; they are refused.
 */
function sslMode(ofUrl: string | undefined, ofEnv: string | undefined, heroku: boolean): SslMode {
  const text = ofUrl ?? ofEnv?.trim();
  if (text === undefined || text === "") return heroku ? "require" : "disable";
  const mode = sslModes.find((each) => each === text);
  if (mode === undefined)
    throw new UrlProblem(
      `has ${ofUrl === undefined ? "no sslmode, and PGSSLMODE is" : "an sslmode that is"} not one of ${sslModes.join(", ")}.`,
    );
  return mode;
}

function sslRoot(ofUrl: string | undefined, ofEnv: string | undefined): string | undefined {
  const file = ofUrl ?? ofEnv?.trim();
  if (file === undefined || file === "" || file === "system") return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch {
    const which = ofUrl === undefined ? "no sslrootcert, and PGSSLROOTCERT" : "an sslrootcert that";
    throw new UrlProblem(`has ${which} cannot be read; it is the path of a PEM file.`);
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UrlProblem(`has a % that is not followed by two hexadecimal digits. ${encoded}`);
  }
}
