/**
 * The outbox's table, in the words of each database, for `install()` and for people's own migrations.
 *
 * One row is one invalidation. Anybody who may insert into the table may ask for one, in any language:
 * `INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('shop', 'tag', 'songs')`, in the transaction of the data.
 */
import { EverfreshError, shown } from "../errors.ts";
import type { Dialect } from "./database.ts";

/** The table's name unless an option says otherwise. */
export const defaultTable = "everfresh_outbox";

/** A table's name, checked and quoted. */
export interface TableName {
  /** As it is written in a statement. */
  readonly quoted: string;
  /** The part before the dot, where there is one. */
  readonly schema: string | undefined;
  /** Its last part, for the names of what belongs to it: index, channel, setting, triggers. */
  readonly base: string;
}

/**
 * Checks and quotes `name`: letters, digits and underscores, with an optional schema before a dot.
 *
 * @throws EverfreshError `EF_OPTION`
 */
export function tableName(name: string, option = "table"): TableName {
  const parts = typeof name === "string" ? name.split(".") : [];
  if (parts.length === 0 || parts.length > 2 || !parts.every((part) => /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(part)))
    throw new EverfreshError("EF_OPTION", `${option} is ${shown(name)}; it is written like "items" or "app.items"`);
  const schema = parts.length === 2 ? parts[0] : undefined;
  return { quoted: parts.map((part) => `"${part}"`).join("."), schema, base: parts.at(-1) ?? name };
}

/** Milliseconds since the epoch by the clock of SQLite's machine, on every version that has RETURNING (3.35). */
export const sqliteNow = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

/**
 * The statements that create the outbox's table; safe to run again.
 *
 * Columns: `namespace`, `kind` ("key" or "tag") and `name` say what to invalidate. `due_at` is when a relay may take the
 * row: at once, or, where the writer is going to deliver it by itself, a little later. `attempts` counts failed deliveries.
 */
export function outboxSchema(dialect: Dialect, table: string = defaultTable): readonly string[] {
  const name = tableName(table);
  checkDialect(dialect);
  return dialect === "postgres" ? postgresSchema(name) : sqliteSchema(name);
}

/** @throws EverfreshError `EF_OPTION` for what would be taken for SQLite */
export function checkDialect(dialect: unknown): void {
  if (dialect !== "postgres" && dialect !== "sqlite")
    throw new EverfreshError("EF_OPTION", `the dialect is "postgres" or "sqlite"; got ${shown(dialect)}`);
}

function postgresSchema({ quoted, base }: TableName): string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${quoted} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  namespace text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('key', 'tag')),
  name text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  due_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)`,
    `CREATE INDEX IF NOT EXISTS ${indexName(base)} ON ${quoted} (due_at)`,
  ];
}

/** PostgreSQL cuts names after 63 bytes: the index of a long name would have the name of its table, and never be made. */
function indexName(base: string): string {
  return `"${base.length > 59 ? shortened(base) : base}_due"`;
}

/** A long name in 40 characters, from which two long names can be told apart. */
export function shortened(name: string): string {
  if (name.length <= 40) return name;
  let sum = 0;
  for (const character of name) sum = (Math.imul(sum, 31) + character.charCodeAt(0)) >>> 0;
  return `${name.slice(0, 32)}_${sum.toString(36)}`;
}

function sqliteSchema({ quoted, base, schema }: TableName): string[] {
  return [
    // AUTOINCREMENT: a number is never given twice, so the rows of a transaction are those above the last number before it.
    `CREATE TABLE IF NOT EXISTS ${quoted} (
  id integer PRIMARY KEY AUTOINCREMENT,
  namespace text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('key', 'tag')),
  name text NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  created_at integer NOT NULL DEFAULT (${sqliteNow}),
  due_at integer NOT NULL DEFAULT (${sqliteNow})
)`,
    // In SQLite the index carries the schema, and the table stands without it.
    `CREATE INDEX IF NOT EXISTS ${schema === undefined ? "" : `"${schema}".`}${indexName(base)} ON "${base}" (due_at)`,
  ];
}
