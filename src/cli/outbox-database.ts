/** Opens a database by its URL, with the driver of the project in whose folder the command is run. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { EverfreshError } from "../errors.ts";
import type { DatabaseHandle } from "../outbox/index.ts";

/** An open database, and how it is closed. */
export interface OpenDatabase {
  readonly handle: DatabaseHandle;
  close(): Promise<void>;
}

/**
 * @param mayCreate whether a file of SQLite is made where there is none
 * @param answerMs how long a statement may take on PostgreSQL; without it as long as it wants, as one does that waits for a lock
 * @throws EverfreshError `EF_OPTION` where there is no URL, no such file, or no driver for it
 */
export async function openDatabase(
  url: string | undefined,
  mayCreate: boolean,
  answerMs?: number,
): Promise<OpenDatabase> {
  if (url === undefined || url === "") throw wrong("no database: set DATABASE_URL, or give --db");
  if (/^postgres(?:ql)?:\/\//i.test(url)) return await openPostgres(url, answerMs);
  const file = sqliteFileOf(url);
  if (!mayCreate && !existsSync(file)) throw wrong(`there is no file ${file}; everfresh outbox install makes one`);
  return await openSqlite(file);
}

const forms = "postgres://..., sqlite:///relative.db, sqlite:////absolute.db, sqlite:file or the name of a file";

/**
 * The file that `url` names. Three slashes begin a relative path and four an absolute one, as in the queue app; `file:`
 * is Node's, where three slashes begin an absolute one. The URL is not repeated: it may hold a password.
 */
export function sqliteFileOf(url: string): string {
  const [, scheme, rest = ""] = /^([a-z][a-z0-9+.-]+):(.*)$/is.exec(url) ?? [];
  if (scheme === undefined) return url;
  if (/^file$/i.test(scheme)) return rest.startsWith("//") ? fileURLToPath(url) : rest;
  if (!/^sqlite$/i.test(scheme))
    throw wrong(`the database begins with ${scheme}:, which is not known here; give ${forms}`);
  if (/^(?:\/\/\/?)?:memory:$/.test(rest))
    throw wrong("a database in memory belongs to one process, which is not this one; give the one of the app");
  if (/^\/\/(?!\/)/.test(rest)) throw wrong(`the database is SQLite with the name of a host; give ${forms}`);
  const path = decoded(rest.replace(/^\/{3}/, ""));
  if (path === "" || path.endsWith("/"))
    throw wrong(`the database is SQLite without the name of a file; give ${forms}`);
  return path;
}

function decoded(path: string): string {
  if (/[?#]/.test(path))
    throw wrong("the database is SQLite with parameters, of which there are none (? is %3F, # is %23)");
  try {
    return decodeURIComponent(path);
  } catch {
    throw wrong("the database has a % that is not followed by two hexadecimal digits");
  }
}

function wrong(message: string): EverfreshError {
  return new EverfreshError("EF_OPTION", message);
}

interface PgPool {
  on(event: "error", listener: () => void): void;
  end(): Promise<void>;
}

async function openPostgres(url: string, answerMs: number | undefined): Promise<OpenDatabase> {
  const pg = (await driver(["pg"])) as { Pool: new (options: object) => PgPool & DatabaseHandle };
  const limits = { connectionTimeoutMillis: 5_000, keepAlive: true, query_timeout: answerMs };
  const pool = new pg.Pool({ connectionString: url, max: 3, ...limits });
  // A connection that breaks while nobody uses it; the statement that needs one next says so.
  pool.on("error", () => undefined);
  return { handle: pool, close: () => pool.end() };
}

type SqliteHandle = DatabaseHandle & { exec(sql: string): unknown; close(): unknown };

async function openSqlite(file: string): Promise<OpenDatabase> {
  const found = await driver(["node:sqlite", "better-sqlite3", "libsql"]);
  const { DatabaseSync, default: Named } = found as Record<string, (new (file: string) => SqliteHandle) | undefined>;
  const Handle = DatabaseSync ?? Named;
  if (Handle === undefined) throw wrong("the SQLite driver has no database in it");
  const handle = new Handle(file);
  handle.exec("PRAGMA busy_timeout = 2000");
  return {
    handle,
    close() {
      handle.close();
      return Promise.resolve();
    },
  };
}

/** The first of `names` that this Node or the project has. */
async function driver(names: readonly string[]): Promise<unknown> {
  const project = createRequire(join(process.cwd(), "package.json"));
  for (const name of names) {
    try {
      const found = project.resolve(name);
      const module = (await import(found.startsWith("node:") ? found : pathToFileURL(found).href)) as object;
      const inner = (module as { default?: object }).default;
      return { ...(typeof inner === "object" ? inner : {}), ...module };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "MODULE_NOT_FOUND" && code !== "ERR_UNKNOWN_BUILTIN_MODULE") throw error;
    }
  }
  throw wrong(`this project has none of ${names.join(", ")}; install one`);
}
