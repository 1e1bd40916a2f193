/** Opens a database by its URL, with the driver of the project in whose folder the command is run. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EverfreshError } from "../errors.ts";
import type { DatabaseHandle } from "../outbox/index.ts";

/** An open database, and how it is closed. */
export interface OpenDatabase {
  readonly handle: DatabaseHandle;
  close(): Promise<void>;
}

/** @throws EverfreshError `EF_OPTION` where there is no URL, or no driver for it */
export async function openDatabase(url: string | undefined): Promise<OpenDatabase> {
  if (url === undefined || url === "")
    throw new EverfreshError("EF_OPTION", "no database: set DATABASE_URL, or give --db");
  return /^postgres(?:ql)?:\/\//.test(url) ? await openPostgres(url) : await openSqlite(url);
}

interface PgPool {
  on(event: "error", listener: () => void): void;
  end(): Promise<void>;
}

async function openPostgres(url: string): Promise<OpenDatabase> {
  const pg = (await driver(["pg"])) as { Pool: new (options: object) => PgPool & DatabaseHandle };
  const pool = new pg.Pool({ connectionString: url, max: 3, connectionTimeoutMillis: 5_000 });
  // A connection that breaks while nobody uses it; the statement that needs one next says so.
  pool.on("error", () => undefined);
  return { handle: pool, close: () => pool.end() };
}

type SqliteHandle = DatabaseHandle & { exec(sql: string): unknown; close(): unknown };

async function openSqlite(url: string): Promise<OpenDatabase> {
  const file = url.replace(/^(?:sqlite|file):(?:\/\/(?=\/))?/, "");
  const found = await driver(["node:sqlite", "better-sqlite3", "libsql"]);
  const { DatabaseSync, default: Named } = found as Record<string, (new (file: string) => SqliteHandle) | undefined>;
  const Handle = DatabaseSync ?? Named;
  if (Handle === undefined) throw new EverfreshError("EF_OPTION", "the SQLite driver has no database in it");
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
  throw new EverfreshError("EF_OPTION", `this project has none of ${names.join(", ")}; install one`);
}
