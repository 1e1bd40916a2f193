/**
 * The outbox's table, in the words of each database, for `install()` and for people's own migrations.
 *
 * One row is one invalidation. Anybody who may insert into the table may ask for one, in any language:
 * `INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('shop', 'tag', 'songs')`, in the transaction of the data.
 */
import { EverfreshError, shown } from "../errors.ts";
import type { Dialect, Session } from "./database.ts";

/** The table's name unless an option says otherwise. */
export const defaultTable = "everfresh_outbox";

/** A table's name, checked and quoted. */
export interface TableName {
  /** As it is written in a statement. */
  readonly quoted: string;
  /** The part before the dot, where there is one; as it is, without quotes. */
  readonly schema: string | undefined;
  /** What stands before the name of anything else in that schema: `"app".`, or nothing. */
  readonly prefix: string;
  /** Its last part, without quotes. */
  readonly base: string;
}

const namePart = '(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\0]|"")+")';
const wholeName = new RegExp(`^(?:(${namePart})\\.)?(${namePart})$`);

/**
 * Checks and quotes `name`: letters, digits and underscores, or anything between double quotes, with an optional schema before
 * a dot.
 *
 * @throws EverfreshError `EF_OPTION`
 */
export function tableName(name: string, option = "table"): TableName {
  const [whole, ...parts] = (typeof name === "string" ? wholeName.exec(name) : null) ?? [];
  const [schema, base] = parts.map((part) => (part?.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part));
  // PostgreSQL cuts what is longer, with no more than a notice: two tables might be taken for one.
  const tooLong = [schema, base].some((part) => part !== undefined && Buffer.byteLength(part) > 63);
  if (whole === undefined || base === undefined || tooLong)
    throw new EverfreshError(
      "EF_OPTION",
      `${option} is ${shown(name)}; it is written like "items" or "app.items", each part up to 63 bytes, and within double quotes where it has other characters than letters, digits and _`,
    );
  const prefix = schema === undefined ? "" : `${identifier(schema)}.`;
  return { quoted: `${prefix}${identifier(base)}`, schema, prefix, base };
}

/** The same for the outbox's own table, whose name is also one of a setting and a channel: those take no other characters. */
export function outboxName(name: string): TableName {
  const table = tableName(name);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(table.base))
    throw new EverfreshError(
      "EF_OPTION",
      `table is ${shown(name)}; the outbox's own has letters, digits and _ only (its schema may have others, within double quotes)`,
    );
  return table;
}

/** A name as it is written in a statement. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
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
  const name = outboxName(table);
  checkDialect(dialect);
  return dialect === "postgres" ? postgresSchema(name) : sqliteSchema(name);
}

const columns = ["id", "namespace", "kind", "name", "attempts", "created_at", "due_at"];

/**
 * Whether the outbox's table is there with all that belongs to it. CREATE ... IF NOT EXISTS asks for the right to create even then,
 * which an app need not have whose tables are made by somebody else.
 *
 * @throws EverfreshError `EF_OPTION` where the name is that of some other table
 */
export async function isInstalled(session: Session, dialect: Dialect, table: TableName): Promise<boolean> {
  const names = (await session.query(...columnsOf(dialect, table))).map((row) => String(row["name"]));
  if (names.length === 0) return false;
  const missing = columns.filter((column) => !names.includes(column));
  if (missing.length > 0)
    throw new EverfreshError(
      "EF_OPTION",
      `The table ${table.quoted} is not one of an outbox: it has no column ${missing.join(", ")}. Name another by the option table.`,
    );
  return (await session.query(...indexOf(dialect, table))).length > 0;
}

/** The columns of a table, in their order; none where it is not there. */
export function columnsOf(dialect: Dialect, { quoted, base, schema }: TableName): [string, string[]] {
  if (dialect === "sqlite")
    return schema === undefined
      ? ["SELECT name FROM pragma_table_xinfo(?)", [base]]
      : ["SELECT name FROM pragma_table_xinfo(?, ?)", [base, schema]];
  const sql = `SELECT attname AS name FROM pg_attribute
WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped ORDER BY attnum`;
  return [sql, [quoted]];
}

/** An index that begins with `due_at`, whatever its name. */
function indexOf(dialect: Dialect, { quoted, base, schema }: TableName): [string, string[]] {
  if (dialect === "sqlite") {
    const more = schema === undefined ? "" : ", ?";
    const sql = `SELECT 1 AS one FROM pragma_index_list(?${more}) AS l, pragma_index_info(l.name${more}) AS i
WHERE i.seqno = 0 AND i.name = 'due_at'`;
    return [sql, schema === undefined ? [base] : [base, schema, schema]];
  }
  const sql = `SELECT 1 AS one FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass($1::text) AND i.indisvalid AND a.attname = 'due_at'`;
  return [sql, [quoted]];
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

function sqliteSchema({ quoted, base, prefix }: TableName): string[] {
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
    `CREATE INDEX IF NOT EXISTS ${prefix}${indexName(base)} ON "${base}" (due_at)`,
  ];
}
