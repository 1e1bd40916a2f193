/**
 * The outbox: invalidations that commit with the data.
 *
 *     BEGIN ; the caller's statements ; INSERT the invalidations ; COMMIT     one transaction: both or neither
 *     tell the caches ; DELETE the rows ; return to the caller                the writer itself, at once
 *     - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
 *     claim rows that are due ; tell the caches ; DELETE them                 a relay, where the writer was killed or refused
 *
 * Why it is told after the commit: a reader that loads between COMMIT and delivery loads what is new, and is merely told to
 * load once more; a reader that began before COMMIT holds a lease that the delivery ends, so what it loaded is not stored.
 * Told before the commit, a reader could load the old value after the invalidation, and store it for good.
 */
import { insideTransaction } from "../cache/index.ts";
import { systemClock, systemRandom, type Clock, type Random } from "../clock.ts";
import { EverfreshError, shown } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { checkNames } from "../option-names.ts";
import type { Database, Dialect, Isolation } from "./database.ts";
import { Delivery, type OutboxCache } from "./delivery.ts";
import { databaseOf, type DatabaseHandle, type TransactionOf } from "./handles.ts";
import { InvalidationPendingError } from "./pending.ts";
import { Relay, type RelayCounts } from "./relay.ts";
import { defaultTable, isInstalled, outboxName, outboxSchema, type TableName } from "./schema.ts";
import { isInside, TransactionScope } from "./scope.ts";
import { statementsFor, type NamespaceCount, type Statements } from "./statements.ts";
import { TargetSet, type Invalidatable, type OutboxRow } from "./targets.ts";
import { checkColumns, removeTriggers, watchStatements } from "./watch.ts";

/** How an outbox is made. */
export interface OutboxOptions {
  /** Where the table is: a Kysely instance, a `pg` Pool, or a SQLite handle. Relays run here; not on a `pg` Client. */
  readonly db: DatabaseHandle;
  /** The caches that are told. A key or tag without a namespace belongs to the first. */
  readonly caches: OutboxCache | readonly OutboxCache[];
  /** The outbox's table; default `everfresh_outbox`. */
  readonly table?: string | undefined;
  /** Whether this process delivers what others left. Default true; without any relay a killed process leaves old values. */
  readonly relay?: boolean | undefined;
  /** How often the relay looks, in milliseconds. Default 250. */
  readonly intervalMs?: number | undefined;
  /** How long relays leave the rows of a transaction to its own process, in milliseconds. Default 300. */
  readonly graceMs?: number | undefined;
  /** How long the caches may take, in milliseconds. Default 2,000. After it the call rejects and the relay goes on. */
  readonly deliveryTimeoutMs?: number | undefined;
  /** Most rows that a relay takes at a time. Default 500. */
  readonly batch?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

const optionNames: Readonly<Record<keyof OutboxOptions, true>> = {
  db: true,
  caches: true,
  table: true,
  relay: true,
  intervalMs: true,
  graceMs: true,
  deliveryTimeoutMs: true,
  batch: true,
  clock: true,
  random: true,
};

/** What names keys and tags to be invalidated when the transaction commits. May be called any number of times. */
export type Invalidate = (...targets: readonly Invalidatable[]) => void;

/** What may be said about one transaction. */
export interface TransactionOptions {
  /** PostgreSQL only. Default: the database's. */
  readonly isolation?: Isolation | undefined;
}

/** What `outbox.status()` tells. */
export interface OutboxStatus {
  readonly dialect: Dialect;
  readonly table: string;
  /** Rows that wait, by namespace; none when everything was delivered. */
  readonly waiting: readonly NamespaceCount[];
  /** Namespaces with waiting rows that no cache of this process has. */
  readonly foreign: readonly string[];
  /** What this process's relay did. */
  readonly relay: RelayCounts;
}

/** Which tags a watched table invalidates. */
export interface OutboxWatch {
  /** 1 to 16 tags; `queue_item:{id}` stands for one tag per changed row. At least one without columns. */
  readonly tags: readonly string[];
  /** The namespace of the cache; default: that of the outbox's first cache. */
  readonly namespace?: string | undefined;
}

const transactionNames: Record<keyof TransactionOptions, true> = { isolation: true };
const unwatchNames: Record<"namespace", true> = { namespace: true };
const watchNames: Record<keyof OutboxWatch, true> = { tags: true, namespace: true };
const isolations: readonly Isolation[] = ["read committed", "repeatable read", "serializable"];

/** A misspelled isolation would run with less than was asked for. */
function checkTransaction(work: unknown, options: TransactionOptions): void {
  if (typeof work !== "function")
    throw new EverfreshError("EF_OPTION", "transaction takes a database and a function (tx, invalidate) => ...");
  checkNames(options, transactionNames, "transaction");
  const { isolation } = options;
  if (isolation !== undefined && !isolations.includes(isolation))
    throw new EverfreshError("EF_OPTION", `isolation is ${isolation}; it is ${isolations.join(", ")}`);
}

/** On PostgreSQL, for what changes the catalogue. */
const oneAtATime = "SELECT pg_advisory_xact_lock(hashtext('everfresh_outbox'))";

const failed = eventChannel("everfresh:outbox:error");
const committed = eventChannel("everfresh:outbox:committed");

/** Invalidations that commit with the data. Made by {@link createOutbox}. */
export class Outbox {
  readonly #handle: DatabaseHandle;
  readonly #delivery: Delivery;
  readonly #table: TableName;
  readonly #tableText: string;
  readonly #graceMs: number;
  readonly #relay: Relay;
  readonly #byDialect = new Map<Dialect, Statements>();
  #closed = false;

  constructor(options: OutboxOptions) {
    checkNames(options, optionNames, "createOutbox");
    const clock = options.clock ?? systemClock;
    const caches = Array.isArray(options.caches) ? (options.caches as OutboxCache[]) : [options.caches as OutboxCache];
    if (caches.length === 0) throw new EverfreshError("EF_OPTION", "An outbox needs at least one cache to tell.");
    this.#handle = options.db;
    this.#tableText = options.table ?? defaultTable;
    this.#table = outboxName(this.#tableText);
    this.#graceMs = positive(options.graceMs ?? 300, "graceMs");
    this.#delivery = new Delivery(caches, clock, positive(options.deliveryTimeoutMs ?? 2_000, "deliveryTimeoutMs"));
    const database = databaseOf(options.db);
    if (options.relay !== false && isLent(options.db))
      throw new EverfreshError(
        "EF_OPTION",
        "The relay needs a pg Pool: on a single Client it would see rows that the Client has not committed. Pass a Pool as db, or relay: false.",
      );
    this.#relay = new Relay(database, (dialect) => this.#statements(dialect), this.#delivery, {
      intervalMs: positive(options.intervalMs ?? 250, "intervalMs"),
      batch: whole(options.batch ?? 500, "batch"),
      graceMs: this.#graceMs,
      channel: this.#table.base,
      clock,
      random: options.random ?? systemRandom,
    });
    if (options.relay !== false) this.#relay.start();
  }

  /**
   * Runs `work` in a transaction on `db`, and invalidates what it named when, and only when, that commits.
   *
   * When the call resolves, the data is committed and every cache has confirmed: whoever reads from now on sees it. The
   * invalidations are rows of the same transaction, so a process that is killed in between leaves them to the relays.
   *
   * Rejects with what `work` or the database threw: then nothing is committed (or, when the connection broke during COMMIT
   * itself, nobody can know; the rows share the data's fate either way). Rejects with {@link InvalidationPendingError}
   * (`EF_INVALIDATION_PENDING`, `committed: true`) when the data **is committed** but a cache could not be reached:
   * do not run it again; the relays deliver.
   *
   * Reads through the caches inside `work` are computed past the cache where `invalidate` has named their key or one of
   * their tags, and nothing that is computed inside is stored; so name what you change before you read it.
   *
   * @example
   * await outbox.transaction(db, async (tx, invalidate) => {
   *   await tx.insertInto("queue_item").values({ text }).execute();
   *   invalidate("queue", tag("queue_item"));
   * });
   */
  async transaction<Handle extends DatabaseHandle, R>(
    db: Handle,
    work: (tx: TransactionOf<Handle>, invalidate: Invalidate) => Promise<R> | R,
    options: TransactionOptions = {},
  ): Promise<R> {
    this.#mustBeOpen();
    checkTransaction(work, options);
    if (isInside(db))
      throw new EverfreshError(
        "EF_OPTION",
        "A transaction is open on this database already; use its tx and invalidate.",
      );
    const database = databaseOf(db);
    const statements = this.#statements(await database.dialect());
    const touched = new TargetSet(this.#delivery.namespaces);
    const scope = new TransactionScope(db, touched);
    const invalidate: Invalidate = (...targets) => {
      if (!scope.open)
        throw new EverfreshError(
          "EF_OPTION",
          "invalidate was called after its transaction had ended; await what you start",
        );
      for (const target of targets) touched.add(target);
    };
    const { result, rows } = await database.transaction(async (tx, session) => {
      const begun = await statements.begin(session);
      try {
        const answer = await insideTransaction(scope, async () => await work(tx, invalidate));
        return { result: answer, rows: await statements.write(session, touched.list(), this.#graceMs, begun) };
      } finally {
        scope.open = false;
      }
    }, options.isolation);
    if (rows.length > 0) await this.#settle(db, statements, rows, result);
    return result;
  }

  /**
   * Creates the table if it is not there; safe to run in every process at start, and needs no right to create where it is.
   * `outboxSchema` has it as SQL.
   */
  async install(): Promise<void> {
    const { database, dialect } = await this.#outside();
    await database.transaction(async (_tx, session) => {
      // Two processes that create one table at a time fail in PostgreSQL's catalogue, IF NOT EXISTS or not.
      if (dialect === "postgres") await session.query(oneAtATime);
      if (await isInstalled(session, dialect, this.#table)) return;
      for (const statement of outboxSchema(dialect, this.#tableText)) await session.query(statement);
    });
  }

  /** Puts triggers on `table`, so that writers who bypass the app are seen. Run again, it replaces those of the same namespace. */
  async watch(table: string, options: OutboxWatch): Promise<void> {
    checkNames(options, watchNames, "watch");
    const { database, dialect } = await this.#outside();
    const namespace = options.namespace ?? this.#delivery.namespaces[0] ?? "";
    await database.transaction(async (_tx, session) => {
      const outbox = dialect === "postgres" ? await this.#schemaAndTable(session) : this.#tableText;
      const statements = watchStatements(dialect, table, { namespace, tags: options.tags, outbox });
      await checkColumns(session, dialect, table, options.tags);
      // Two processes that watch one table at a time would fail in the catalogue.
      if (dialect === "postgres") await session.query(oneAtATime);
      await removeTriggers(session, dialect, table, namespace, true);
      for (const statement of statements) await session.query(statement);
    });
  }

  /** Takes the triggers of `watch` away again: those for `namespace`, by default that of the outbox's first cache. */
  async unwatch(table: string, options: Pick<OutboxWatch, "namespace"> = {}): Promise<void> {
    checkNames(options, unwatchNames, "unwatch");
    const { database, dialect } = await this.#outside();
    const namespace = options.namespace ?? this.#delivery.namespaces[0] ?? "";
    await database.transaction(async (_tx, session) => {
      await removeTriggers(session, dialect, table, namespace, false);
    });
  }

  /** What waits, and what this process's relay has done. Counts the table: for people and dashboards, not for each request. */
  async status(): Promise<OutboxStatus> {
    const { database, dialect } = await this.#outside();
    const waiting = await this.#statements(dialect).count(database.session);
    const ours = new Set(this.#delivery.namespaces);
    const foreign = waiting.map((count) => count.namespace).filter((namespace) => !ours.has(namespace));
    return { dialect, table: this.#tableText, waiting, foreign, relay: this.#relay.counts };
  }

  /** What this process's relay has done since it was made. */
  get relayCounts(): RelayCounts {
    return this.#relay.counts;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Lets this process's relay look now instead of at its next time. */
  wake(): void {
    this.#relay.wake();
  }

  /** Delivers what is due now, and returns how many rows that were: one look of a relay, for scripts and tests. */
  async relayOnce(): Promise<number> {
    this.#mustBeOpen();
    await this.#outside();
    return await this.#relay.pass();
  }

  /** Stops the relay, after the look that is under way. Call it before the database is closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#relay.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #settle(
    db: DatabaseHandle,
    statements: Statements,
    rows: readonly OutboxRow[],
    result: unknown,
  ): Promise<void> {
    // Rows that triggers wrote for caches of other processes are for those processes.
    const ours = new Set(this.#delivery.namespaces);
    const mine = rows.filter((row) => ours.has(row.namespace));
    const { done, pending, error } = await this.#delivery.deliver(mine);
    if (done.length > 0)
      try {
        await statements.remove(
          databaseOf(db).session,
          done.map((row) => row.id),
        );
      } catch (cause) {
        // Delivered all the same; a relay will deliver these rows once more, which costs a load and no freshness.
        if (failed.hasSubscribers) failed.publish({ what: "remove", error: cause });
      }
    if (committed.hasSubscribers) committed.publish({ delivered: done.length, pending: pending.length });
    if (pending.length > 0) throw new InvalidationPendingError(pending, result, error);
  }

  async #schemaAndTable(session: { query: (sql: string, parameters?: string[]) => Promise<readonly object[]> }) {
    const sql = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1::text)`;
    const [row] = (await session.query(sql, [this.#table.quoted])) as { name: string }[];
    if (row === undefined)
      throw new EverfreshError("EF_OPTION", `The table ${this.#tableText} is not there yet; call install() first.`);
    return row.name;
  }

  /** Where there is one connection, what is asked inside its transaction would wait for the end of that, which waits for it. */
  async #outside(): Promise<{ database: Database; dialect: Dialect }> {
    const database: Database = databaseOf(this.#handle);
    const dialect = await database.dialect();
    if ((dialect === "sqlite" || isLent(this.#handle) || isPoolOfOne(this.#handle)) && isInside(this.#handle))
      throw new EverfreshError(
        "EF_OPTION",
        "A transaction is open around this call, on the only connection of the outbox's database; ask after it has ended.",
      );
    return { database, dialect };
  }

  #statements(dialect: Dialect): Statements {
    const known = this.#byDialect.get(dialect) ?? statementsFor(dialect, this.#table);
    this.#byDialect.set(dialect, known);
    return known;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new EverfreshError("EF_CLOSED", "The outbox was closed.");
  }
}

/**
 * An outbox on `db` for `caches`; its relay starts at once.
 *
 * @throws EverfreshError `EF_OPTION`
 */
export function createOutbox(options: OutboxOptions): Outbox {
  return new Outbox(options);
}

/** A `pg` Client: a single connection that somebody else uses as well. */
function isLent(handle: DatabaseHandle): boolean {
  return "connect" in handle && "query" in handle && !("totalCount" in handle);
}

function isPoolOfOne(handle: DatabaseHandle): boolean {
  return "totalCount" in handle && (handle as { options?: { max?: number } }).options?.max === 1;
}

function whole(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value <= 0)
    throw new EverfreshError("EF_OPTION", `${name} is ${shown(value)}; it is a whole number above 0`);
  return value;
}

function positive(value: number, name: string): number {
  if (!Number.isFinite(value) || value <= 0)
    throw new EverfreshError("EF_OPTION", `${name} is ${shown(value)}; it is a number above 0`);
  return value;
}
