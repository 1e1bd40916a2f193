/**
 * What is said to the outbox's table while the app runs, in both dialects: write, claim, remove, postpone, count.
 *
 * Lists travel as one JSON or comma-separated text parameter: every driver passes text the same way.
 */
import type { Dialect, Row, Session } from "./database.ts";
import { sqliteNow, type TableName } from "./schema.ts";
import type { OutboxRow, Target } from "./targets.ts";

/** How many rows wait, for `status()`. */
export interface NamespaceCount {
  readonly namespace: string;
  readonly rows: number;
  /** Age of the oldest row, in milliseconds. */
  readonly oldestMs: number;
  /** The most often that one of them was tried in vain. */
  readonly attempts: number;
}

/** The statements of one outbox, each with its answer read. */
export interface Statements {
  /** At the start of a transaction. The answer is what `write` needs to find the rows that triggers add. */
  begin(session: Session): Promise<string>;
  /**
   * At the end of a transaction, just before its commit: adds the targets, and returns them together with the rows that
   * triggers wrote in the same transaction. Relays leave all of them alone for `graceMs`, in which the writer delivers.
   */
  write(session: Session, targets: readonly Target[], graceMs: number, begun: string): Promise<OutboxRow[]>;
  /**
   * Rows that were due `agoMs` ago, of these namespaces, kept from other relays: by their locks, or on SQLite for `claimMs`. One
   * that is due later than in `farMs` was written before the database's clock was set back, and is due as well.
   */
  claim(
    session: Session,
    namespaces: readonly string[],
    limit: number,
    times: { readonly agoMs: number; readonly claimMs: number; readonly farMs: number },
  ): Promise<OutboxRow[]>;
  /** Forgets rows that have been delivered. */
  remove(session: Session, ids: readonly string[]): Promise<void>;
  /** Leaves rows for later: 100 ms, 200 ms, ... up to 1 s after each further failure. */
  postpone(session: Session, ids: readonly string[]): Promise<void>;
  count(session: Session): Promise<NamespaceCount[]>;
}

/** The statements for `table` in `dialect`. */
export function statementsFor(dialect: Dialect, table: TableName): Statements {
  return dialect === "postgres" ? postgres(table) : sqlite(table);
}

/**
 * The setting, local to a transaction, in which watching triggers leave the numbers of the rows they wrote: `3,4,9`, or, where
 * a list would be too long, `3-9`.
 */
export function rowsSetting(table: TableName): string {
  return `everfresh.rows_${table.base}`;
}

function postgres(table: TableName): Statements {
  const { quoted } = table;
  const grace = "clock_timestamp() + $2::text::float8 * interval '1 millisecond'";
  const left = `nullif(current_setting('${rowsSetting(table)}', true), '')`;
  // By a pattern, which answers null for a list: the planner looks at both ends also where there is no range.
  const end = (pattern: string) => `substring(${left} FROM '${pattern}')::bigint`;
  // Between the first and the last there may be rows of others. Those that can be seen are committed, so that telling them
  // early is right; those that others hold are theirs.
  const write = `WITH watched AS (
  UPDATE ${quoted} SET due_at = ${grace}
  WHERE ${left} IS NOT NULL AND id = ANY (CASE WHEN ${left} LIKE '%-%'
    THEN ARRAY(SELECT o.id FROM ${quoted} o WHERE o.id BETWEEN ${end("^([0-9]+)-")} AND ${end("-([0-9]+)$")} FOR UPDATE SKIP LOCKED)
    ELSE string_to_array(${left}, ',')::bigint[] END)
  RETURNING id, namespace, kind, name
), asked AS (
  SELECT t.namespace, t.kind, t.name FROM jsonb_to_recordset($1::text::jsonb) AS t (namespace text, kind text, name text)
), written AS (
  INSERT INTO ${quoted} (namespace, kind, name, due_at)
  SELECT a.namespace, a.kind, a.name, ${grace} FROM asked a
  WHERE NOT EXISTS (
    SELECT FROM watched w WHERE w.namespace = a.namespace AND w.kind = a.kind AND w.name = a.name
  )
  RETURNING id, namespace, kind, name
) SELECT * FROM watched UNION ALL SELECT * FROM written`;
  // now() rather than clock_timestamp(): only a stable function can be looked up in the index.
  const claim = `SELECT id, namespace, kind, name FROM ${quoted}
WHERE (due_at <= now() - $4::text::float8 * interval '1 millisecond' OR due_at > now() + $3::text::float8 * interval '1 millisecond')
AND namespace IN (SELECT jsonb_array_elements_text($1::text::jsonb))
ORDER BY due_at LIMIT $2::text::int FOR UPDATE SKIP LOCKED`;
  // A removal that a crash undoes is a delivery more, not one less: its commit need not wait for the disk.
  const remove = `WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS on_disk)
DELETE FROM ${quoted} USING relaxed WHERE id = ${anyOf("$1")} AND on_disk IS NOT NULL`;
  const postpone = `UPDATE ${quoted} SET attempts = attempts + 1,
due_at = clock_timestamp() + least(1000, 100 * 2 ^ least(attempts, 10)) * interval '1 millisecond'
WHERE id = ${anyOf("$1")}`;
  const count = `SELECT namespace, count(*) AS rows, max(attempts) AS attempts,
extract(epoch FROM clock_timestamp() - min(created_at)) * 1000 AS oldest FROM ${quoted} GROUP BY namespace ORDER BY namespace`;
  return {
    begin: () => Promise.resolve(""),
    write: async (session, targets, graceMs) =>
      rowsOf(await session.query(write, [JSON.stringify(targets), String(graceMs)])),
    claim: async (session, namespaces, limit, { agoMs, farMs }) =>
      rowsOf(await session.query(claim, [JSON.stringify(namespaces), String(limit), String(farMs), String(agoMs)])),
    remove: async (session, gone) => void (await session.query(remove, [gone.join(",")])),
    postpone: async (session, later) => void (await session.query(postpone, [later.join(",")])),
    count: async (session) => countsOf(await session.query(count)),
  };
}

/** A list of numbers in one text parameter, for PostgreSQL. */
function anyOf(parameter: string): string {
  return `ANY (string_to_array(${parameter}::text, ',')::bigint[])`;
}

function sqlite({ quoted, base, prefix }: TableName): Statements {
  const ids = "IN (SELECT value FROM json_each(?))";
  // Touches no row, but takes the lock that writers take, so that no other process writes after the mark is read.
  const lock = `UPDATE ${quoted} SET due_at = due_at WHERE id < 0`;
  const mark = `SELECT seq FROM ${prefix}sqlite_sequence WHERE name = '${base}' COLLATE NOCASE`;
  const watched = `UPDATE ${quoted} SET due_at = ${sqliteNow} + ? WHERE id > ? RETURNING id, namespace, kind, name`;
  const write = `INSERT INTO ${quoted} (namespace, kind, name, due_at)
SELECT json_extract(value, '$.namespace'), json_extract(value, '$.kind'), json_extract(value, '$.name'), ${sqliteNow} + ?
FROM json_each(?) RETURNING id, namespace, kind, name`;
  const due = `FROM ${quoted} WHERE (due_at <= ${sqliteNow} - ? OR due_at > ${sqliteNow} + ?) AND namespace IN (SELECT value FROM json_each(?))`;
  const peek = `SELECT 1 AS one ${due} LIMIT 1`;
  const claim = `UPDATE ${quoted} SET due_at = ${sqliteNow} + ?
WHERE id IN (SELECT id ${due} ORDER BY due_at LIMIT ?) RETURNING id, namespace, kind, name`;
  const postpone = `UPDATE ${quoted} SET due_at = ${sqliteNow} + min(1000, 100 << min(attempts, 4)), attempts = attempts + 1
WHERE id ${ids}`;
  const count = `SELECT namespace, count(*) AS rows, max(attempts) AS attempts, ${sqliteNow} - min(created_at) AS oldest
FROM ${quoted} GROUP BY namespace ORDER BY namespace`;
  return {
    async begin(session) {
      await session.query(lock);
      const [row] = await session.query(mark);
      return String(Number(row?.["seq"] ?? 0));
    },
    async write(session, targets, graceMs, begun) {
      const rows = rowsOf(await session.query(watched, [graceMs, Number(begun)]));
      const there = new Set(rows.map((row) => `${row.kind} ${row.namespace} ${row.name}`));
      const missing = targets.filter((target) => !there.has(`${target.kind} ${target.namespace} ${target.name}`));
      if (missing.length > 0) rows.push(...rowsOf(await session.query(write, [graceMs, JSON.stringify(missing)])));
      return rows;
    },
    async claim(session, namespaces, limit, { agoMs, claimMs, farMs }) {
      const asked = JSON.stringify(namespaces);
      if ((await session.query(peek, [agoMs, farMs, asked])).length === 0) return [];
      return rowsOf(await session.query(claim, [claimMs, agoMs, farMs, asked, limit]));
    },
    remove: async (session, gone) =>
      void (await session.query(`DELETE FROM ${quoted} WHERE id ${ids}`, [`[${gone.join(",")}]`])),
    postpone: async (session, later) => void (await session.query(postpone, [`[${later.join(",")}]`])),
    count: async (session) => countsOf(await session.query(count)),
  };
}

function rowsOf(rows: readonly Row[]): OutboxRow[] {
  return rows.map((row) => ({
    id: String(row["id"]),
    namespace: String(row["namespace"]),
    kind: row["kind"] === "tag" ? "tag" : "key",
    name: String(row["name"]),
  }));
}

function countsOf(rows: readonly Row[]): NamespaceCount[] {
  return rows.map((row) => ({
    namespace: String(row["namespace"]),
    rows: Number(row["rows"]),
    oldestMs: Math.max(0, Math.round(Number(row["oldest"]))),
    attempts: Number(row["attempts"]),
  }));
}
