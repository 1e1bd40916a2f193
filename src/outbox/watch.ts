/**
 * Triggers that write outbox rows for whoever writes to a table: psql, another language, a forgotten script.
 *
 * PostgreSQL: one trigger per kind of statement, which looks at the changed rows once and rings the relays' bell.
 * SQLite: one trigger per kind of change, run for each row, since it has no others.
 *
 * A tag may name columns, `queue_item:{id}`: it stands for one tag per changed row, made from the row before and after.
 */
import { createHash } from "node:crypto";
import { checkNamespace, checkTags } from "../cache/index.ts";
import { EverfreshError } from "../errors.ts";
import type { Dialect, Session } from "./database.ts";
import {
  checkDialect,
  columnsOf,
  defaultTable,
  identifier,
  outboxName,
  shortened,
  tableName,
  type TableName,
} from "./schema.ts";
import { rowsSetting } from "./statements.ts";

/** What a watched table invalidates. */
export interface WatchOptions {
  /** The namespace of the cache that the tags belong to. */
  readonly namespace: string;
  /**
   * 1 to 16 tags: `queue_item`, or with columns `queue_item:{id}`. At least one without columns: it is what TRUNCATE
   * invalidates.
   */
  readonly tags: readonly string[];
  /** The outbox's table; default `everfresh_outbox`. On PostgreSQL write its schema too: `public.everfresh_outbox`. */
  readonly outbox?: string | undefined;
}

/** A tag with columns, in pieces: text and columns in turn, beginning with text. */
type Template = readonly string[];

/** Most tags that one table may invalidate. */
const mostTags = 16;

/**
 * The statements that make `table` watched; run again with other tags they replace the former triggers of that namespace.
 *
 * @throws EverfreshError `EF_OPTION` for names, namespaces and tags that are not legal
 */
export function watchStatements(dialect: Dialect, table: string, options: WatchOptions): readonly string[] {
  checkDialect(dialect);
  if (!Array.isArray(options?.tags) || typeof options.namespace !== "string")
    throw new EverfreshError("EF_OPTION", "what watches a table takes { namespace, tags }, tags being a list of texts");
  // No cache has another one, and nobody would ever be told.
  checkNamespace(options.namespace);
  const watched = tableName(table, "the watched table");
  const outbox = outboxName(options.outbox ?? defaultTable);
  const tags = options.tags.map(parseTag);
  if (tags.length === 0 || tags.length > mostTags || !tags.some((tag) => tag.length === 1))
    throw new EverfreshError(
      "EF_OPTION",
      `watch takes 1 to ${mostTags} tags, at least one of them without columns (it stands for the whole table)`,
    );
  const make = dialect === "postgres" ? watchPostgres : watchSqlite;
  return [...unwatchStatements(dialect, table, options.namespace), ...make(watched, outbox, options.namespace, tags)];
}

/**
 * Refuses columns that the table has not: the trigger would be made all the same, and then every write of the app would fail.
 *
 * @throws EverfreshError `EF_OPTION` that names the columns there are
 */
export async function checkColumns(
  session: Session,
  dialect: Dialect,
  table: string,
  tags: readonly string[],
): Promise<void> {
  const rows = await session.query(...columnsOf(dialect, tableName(table, "the watched table")));
  const names = rows.map((row) => String(row["name"]));
  if (names.length === 0) throw new EverfreshError("EF_OPTION", `There is no table ${table} to watch.`);
  // SQLite compares names without regard to case, and has a column that it does not list, where a table is not WITHOUT ROWID.
  const plain = (name: string) => (dialect === "sqlite" ? name.toLowerCase() : name);
  const hidden = dialect === "sqlite" && (await hasRowid(session, table)) ? ["rowid", "oid", "_rowid_"] : [];
  const known = new Set([...names, ...hidden].map(plain));
  const asked = tags.flatMap((tag) => parseTag(tag).filter((_piece, at) => at % 2 === 1));
  const missing = asked.filter((column) => !known.has(plain(column)));
  if (missing.length > 0)
    throw new EverfreshError("EF_OPTION", `${table} has no column ${missing.join(", ")}; it has ${names.join(", ")}.`);
}

/** Asked of the table itself: only newer versions of SQLite tell it in a pragma. */
async function hasRowid(session: Session, table: string): Promise<boolean> {
  try {
    await session.query(`SELECT rowid FROM ${tableName(table).quoted} LIMIT 0`);
    return true;
  } catch (error) {
    if (error instanceof Error && error.message.includes("no such column")) return false;
    throw error;
  }
}

/**
 * The statements that take the triggers of a namespace away again; those of other apps stay. On PostgreSQL also from a table that
 * was renamed since it was watched; on SQLite, where a statement cannot look, `outbox.unwatch` does.
 */
export function unwatchStatements(dialect: Dialect, table: string, namespace: string): readonly string[] {
  checkDialect(dialect);
  const watched = tableName(table, "the watched table");
  if (typeof namespace !== "string")
    throw new EverfreshError("EF_OPTION", "what was watched takes the namespace that it was watched for");
  if (dialect === "sqlite")
    return events.map((event) => dropSqlite(watched, sqliteTriggerName(watched, namespace, event)));
  // A function goes with the last trigger that runs it: a table that was renamed may share one with the next of its old name.
  const body = `DECLARE
  made record;
BEGIN
  FOR made IN
    SELECT t.tgname, t.tgfoid, t.tgfoid::regprocedure AS ran FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(${text(watched.quoted)}) AND NOT t.tgisinternal
      AND starts_with(t.tgname, ${text(ownPrefix(namespace))}) AND starts_with(p.proname, 'everfresh_')
  LOOP
    EXECUTE format('DROP TRIGGER %I ON ', made.tgname) || ${text(watched.quoted)};
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = made.tgfoid) THEN
      EXECUTE format('DROP FUNCTION %s', made.ran);
    END IF;
  END LOOP;
END`;
  return [`DO ${dollars(body)}`];
}

/**
 * Takes the triggers of `table` away before it is watched anew, or for good.
 *
 * A table of SQLite that is renamed takes its triggers along under their old names, and two triggers of a schema cannot have one
 * name. So they are looked for by their table, and names that another table's have are refused rather than taken from it.
 *
 * @throws EverfreshError `EF_OPTION` that names the other table, where `table` is to be watched
 */
export async function removeTriggers(
  session: Session,
  dialect: Dialect,
  table: string,
  namespace: string,
  watching: boolean,
): Promise<void> {
  if (dialect === "postgres") {
    // The statements that watch anew begin with these.
    if (watching) return;
    for (const statement of unwatchStatements(dialect, table, namespace)) await session.query(statement);
    return;
  }
  const watched = tableName(table, "the watched table");
  const names = new Set(events.map((event) => sqliteTriggerName(watched, namespace, event).toLowerCase()));
  const rows = await session.query(
    `SELECT name, tbl_name AS "of" FROM ${watched.prefix}sqlite_master WHERE type = 'trigger'`,
  );
  const made = rows.map((row) => ({ name: String(row["name"]), of: String(row["of"]) }));
  const isOf = (other: string) => other.toLowerCase() === watched.base.toLowerCase();
  const taken = made.find(({ name, of }) => names.has(name.toLowerCase()) && !isOf(of));
  if (watching && taken !== undefined)
    throw new EverfreshError(
      "EF_OPTION",
      `The triggers of ${taken.of} have the names that those of ${table} would have: it was renamed after it had been watched. Watch it again by its present name, or unwatch it, before ${table}.`,
    );
  for (const { name, of } of made)
    if (isOf(of) && name.startsWith(ownPrefix(namespace))) await session.query(dropSqlite(watched, name));
}

function dropSqlite(watched: TableName, trigger: string): string {
  return `DROP TRIGGER IF EXISTS ${watched.prefix}${identifier(trigger)}`;
}

const events = ["insert", "update", "delete"] as const;

function watchPostgres(watched: TableName, outbox: TableName, namespace: string, tags: readonly Template[]): string[] {
  const changed = {
    INSERT: "SELECT * FROM new_rows",
    DELETE: "SELECT * FROM old_rows",
    UPDATE: "SELECT * FROM old_rows UNION ALL SELECT * FROM new_rows",
  } as const;
  const add = (select: string) => `    WITH written AS (
      INSERT INTO ${outbox.quoted} (namespace, kind, name) ${select} RETURNING id
    ) SELECT string_agg(id::text, ',') INTO added FROM written;`;
  const named = (rows: string) =>
    `SELECT DISTINCT ${text(namespace)}, 'tag', t.name FROM (${rows}) AS r,\n      LATERAL (VALUES ${tags
      .map((tag) => `(${expression(tag, (column) => `r."${column}"::text`)})`)
      .join(", ")}) AS t (name)`;
  const whole = `SELECT ${text(namespace)}, 'tag', t.name FROM (VALUES ${tags
    .filter((tag) => tag.length === 1)
    .map((tag) => `(${text(tag[0] ?? "")})`)
    .join(", ")}) AS t (name)`;
  const setting = text(rowsSetting(outbox));
  // The numbers of the rows stay with the transaction, so that outbox.transaction delivers these rows too: as a list, and
  // beyond its limit as the first and the last. SECURITY DEFINER: a writer needs no right to the outbox of its own. Columns are
  // written in one way, whatever the session of the writer has set: another text would be another tag.
  const body = `DECLARE
  added text;
  known text := coalesce(current_setting(${setting}, true), '');
BEGIN
  IF TG_OP = 'INSERT' THEN
${add(named(changed.INSERT))}
  ELSIF TG_OP = 'DELETE' THEN
${add(named(changed.DELETE))}
  ELSIF TG_OP = 'UPDATE' THEN
${add(named(changed.UPDATE))}
  ELSE
${add(whole)}
  END IF;
  IF added IS NULL THEN RETURN NULL; END IF;
  added := concat_ws(',', nullif(known, ''), added);
  IF length(added) > 16384 OR known LIKE '%-%' THEN
    SELECT min(n) || '-' || max(n) INTO added
    FROM unnest(string_to_array(translate(added, '-', ','), ',')::bigint[]) AS n;
  END IF;
  PERFORM set_config(${setting}, added, true);
  PERFORM pg_notify(${text(outbox.base)}, '');
  RETURN NULL;
END`;
  const name = functionName(watched, body);
  return [
    `CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
${plainText} AS ${dollars(body)}`,
    ...(["insert", "update", "delete", "truncate"] as const).map(
      (event) => `CREATE TRIGGER "${ownPrefix(namespace)}${event}" AFTER ${event.toUpperCase()} ON ${watched.quoted}
${transition[event]}FOR EACH STATEMENT EXECUTE FUNCTION ${name}()`,
    ),
  ];
}

const plainText =
  "SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 1 SET bytea_output = 'hex'";

const transition = {
  insert: "REFERENCING NEW TABLE AS new_rows\n",
  update: "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows\n",
  delete: "REFERENCING OLD TABLE AS old_rows\n",
  truncate: "",
} as const;

function watchSqlite(watched: TableName, outbox: TableName, namespace: string, tags: readonly Template[]): string[] {
  if ((watched.schema ?? "main") !== (outbox.schema ?? "main"))
    throw new EverfreshError(
      "EF_OPTION",
      "A trigger of SQLite writes to its own schema only; the watched table and the outbox must be in one.",
    );
  const sides = { insert: ["NEW"], update: ["OLD", "NEW"], delete: ["OLD"] } as const;
  return events.map((event) => {
    const names = sides[event].flatMap((side) =>
      tags.map((tag) => expression(tag, (column) => readable(`${side}."${column}"`))),
    );
    // UNION rather than UNION ALL: equal names fall together.
    const rows = names.map((name) => `SELECT ${text(namespace)}, 'tag', ${name}`).join(" UNION ");
    // The trigger carries the schema; the tables stand without it.
    return `CREATE TRIGGER ${watched.prefix}${identifier(sqliteTriggerName(watched, namespace, event))} AFTER ${event.toUpperCase()} ON ${identifier(watched.base)}
BEGIN INSERT INTO ${identifier(outbox.base)} (namespace, kind, name) ${rows}; END`;
  });
}

function expression(tag: Template, column: (name: string) => string): string {
  return tag.map((piece, at) => (at % 2 === 0 ? text(piece) : `coalesce(${column(piece)}, '')`)).join(" || ");
}

/**
 * A blob as PostgreSQL writes a bytea. Joined to a text as it is, it is text with bytes that are none; libsql ends the process
 * there.
 */
function readable(column: string): string {
  return `CASE typeof(${column}) WHEN 'blob' THEN '\\x' || lower(hex(${column})) ELSE ${column} END`;
}

function parseTag(tag: string): Template {
  const pieces = typeof tag === "string" ? tag.split(/\{([^{}]*)\}/) : [];
  const columnsAreNames = pieces.every((piece, at) => at % 2 === 0 || /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(piece));
  const textIsPlain = pieces.every((piece, at) => at % 2 === 1 || !/[{}\0]/.test(piece));
  if (tag === "" || pieces.length === 0 || !columnsAreNames || !textIsPlain)
    throw new EverfreshError(
      "EF_OPTION",
      `${JSON.stringify(tag)} is not a tag; it is written like "item" or "item:{id}"`,
    );
  // What the columns add is not known; a row that makes the tag too long is dropped when it is delivered.
  checkTags([pieces.length === 1 ? tag : `${pieces.filter((_piece, at) => at % 2 === 0).join("")}?`]);
  return pieces;
}

/** Text as SQL. The parts of a namespace and a tag are data, whatever is in them. */
function text(value: string): string {
  // Backslashes need no care: standard_conforming_strings is on since PostgreSQL 9.1, and SQLite has no escapes.
  return `'${value.replaceAll("'", "''")}'`;
}

/** How the names of triggers begin: two apps with a cache each may watch one table. */
function ownPrefix(namespace: string): string {
  return `everfresh_${sumOf(namespace).slice(0, 8)}_`;
}

/** With the table's name, because the names of SQLite's triggers are those of their schema. */
function sqliteTriggerName(watched: TableName, namespace: string, event: string): string {
  return `${ownPrefix(namespace)}${shortened(watched.base)}_${event}`;
}

/**
 * In the schema of the watched table, and with the sum of what it does: a table that is renamed keeps its function, and the next
 * table of the old name gets one of its own. Where both do the same, they share it.
 */
function functionName(watched: TableName, body: string): string {
  const readableName = watched.base.replaceAll(/[^A-Za-z0-9_]/g, "_").slice(0, 32);
  return `${watched.prefix}"everfresh_${readableName}_${sumOf(body)}"`;
}

/** `body` between dollar quotes that no tag and no name in it can end. */
function dollars(body: string): string {
  const mark = `$everfresh_${sumOf(body)}$`;
  return `${mark}\n${body} ${mark}`;
}

function sumOf(body: string): string {
  return createHash("sha256").update(body).digest("hex").slice(0, 16);
}
