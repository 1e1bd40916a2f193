/**
 * The relay: delivers what a process left behind when it was killed, or could not deliver because a cache was away.
 *
 * Every process runs one; they share the work by claiming rows. It looks every quarter of a second, and at once when a
 * watching trigger rings on PostgreSQL. A row whose writer is alive is not due yet, so relays leave it to the writer.
 */
import type { Clock, Random, Timer } from "../clock.ts";
import { eventChannel } from "../events.ts";
import { ForeignTransactionError, type Database, type Dialect, type Listening } from "./database.ts";
import type { Delivery } from "./delivery.ts";
import type { Statements } from "./statements.ts";

/** How a relay works. */
export interface RelayOptions {
  readonly intervalMs: number;
  readonly batch: number;
  readonly graceMs: number;
  readonly channel: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** What a relay has done since it was started. */
export interface RelayCounts {
  /** Looks at the table. */
  readonly passes: number;
  /** Rows delivered and removed. */
  readonly delivered: number;
  /** Rows that could not be delivered, once for each attempt. */
  readonly failed: number;
  /** Passes that the database refused. */
  readonly errors: number;
  /** Whether a connection listens for NOTIFY. */
  readonly listening: boolean;
}

/** At the default interval ten seconds. */
const takenLimit = 40;

/** On SQLite, where a claim is a time rather than a lock: how long a killed relay keeps rows from the others. */
const claimMs = 500;
/** Less than a row is postponed for after a failure, and more than the clocks of a process and its database round. */
const soonMs = 50;
/** The longest that a row is postponed after a failure; see `postpone`. */
const longestPostponedMs = 1_000;
/** The longest pause between two tries after errors. */
const longestPauseMs = 5_000;

const passed = eventChannel("everfresh:outbox:relayed");
const broke = eventChannel("everfresh:outbox:error");

export class Relay {
  readonly #database: Database;
  readonly #statements: (dialect: Dialect) => Statements;
  readonly #delivery: Delivery;
  readonly #options: RelayOptions;
  #state: "idle" | "running" | "stopped" = "idle";
  #timer: Timer | undefined;
  #pass: Promise<void> | undefined;
  #rung = false;
  #listening: Listening | undefined;
  #connecting: Promise<void> | undefined;
  #counts = { passes: 0, delivered: 0, failed: 0, errors: 0 };
  #errorsInRow = 0;
  /** How often in a row a transaction of somebody else's was open. */
  #takenInRow = 0;

  constructor(
    database: Database,
    statements: (dialect: Dialect) => Statements,
    delivery: Delivery,
    options: RelayOptions,
  ) {
    this.#database = database;
    this.#statements = statements;
    this.#delivery = delivery;
    this.#options = options;
  }

  get counts(): RelayCounts {
    return { ...this.#counts, listening: this.#listening !== undefined };
  }

  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "running";
    this.wake();
  }

  /** Looks now; or, when a look is under way, once more after it. */
  wake(): void {
    if (this.#state !== "running") return;
    if (this.#pass !== undefined) {
      this.#rung = true;
      return;
    }
    this.#timer?.cancel();
    this.#pass = this.#look().finally(() => {
      this.#pass = undefined;
      const again = this.#rung;
      this.#rung = false;
      if (again) this.wake();
      else this.#wait();
    });
  }

  /** Looks no more, and resolves when the look that is under way is done. */
  async stop(): Promise<void> {
    this.#state = "stopped";
    this.#timer?.cancel();
    // Before and after: the look may wait for the connection that listens, and what connects may yet listen.
    await this.#stopListening();
    await this.#pass;
    await this.#connecting;
    await this.#stopListening();
  }

  async #stopListening(): Promise<void> {
    await this.#listening?.stop();
    this.#listening = undefined;
  }

  /**
   * One look: delivers what is due when it begins, batch by batch. What it postpones is due again before many batches are tried, and
   * is for the next look: otherwise one would never end while a cache is away. @returns how many rows it delivered
   */
  async pass(): Promise<number> {
    const statements = this.#statements(await this.#database.dialect());
    const { clock } = this.#options;
    const dueUntil = clock.monotonic() + soonMs;
    let delivered = 0;
    for (;;) {
      // Merely to look would begin the snapshot of a transaction that has not read yet.
      if ((await this.#database.isTaken?.()) === true) throw new ForeignTransactionError();
      const batch = await this.#deliverBatch(statements, Math.max(0, clock.monotonic() - dueUntil));
      delivered += batch.done;
      if (batch.claimed < this.#options.batch || this.#state === "stopped") return delivered;
    }
  }

  async #look(): Promise<void> {
    try {
      this.#counts.passes += 1;
      await this.pass();
      this.#errorsInRow = 0;
      this.#takenInRow = 0;
      this.#listen();
    } catch (error) {
      // Somebody's own transaction is open on the handle: not a failure; what it wrote is looked for when it has ended. One that
      // never ends keeps back everything, and is told as often as it is found so many times.
      if (error instanceof ForeignTransactionError && ++this.#takenInRow % takenLimit !== 0) return;
      this.#counts.errors += 1;
      this.#errorsInRow += 1;
      if (broke.hasSubscribers) broke.publish({ what: "relay", error });
    }
  }

  async #deliverBatch(statements: Statements, agoMs: number): Promise<{ claimed: number; done: number }> {
    const { batch, graceMs } = this.#options;
    const times = { agoMs, claimMs, farMs: 2 * Math.max(graceMs, longestPostponedMs) };
    const namespaces = this.#delivery.namespaces;
    // On PostgreSQL the claim is the lock of this transaction: when this process dies, the rows are free at once. Whatever is the
    // database's default: at a higher level a row that another relay had taken is an error instead of being skipped.
    if ((await this.#database.dialect()) === "postgres")
      return await this.#database.transaction(async (_tx, session) => {
        const rows = await statements.claim(session, namespaces, batch, times);
        return await this.#settle(statements, session, rows);
      }, "read committed");
    const rows = await statements.claim(this.#database.session, namespaces, batch, times);
    return await this.#settle(statements, this.#database.session, rows);
  }

  async #settle(
    statements: Statements,
    session: Database["session"],
    rows: Awaited<ReturnType<Statements["claim"]>>,
  ): Promise<{ claimed: number; done: number }> {
    if (rows.length === 0) return { claimed: 0, done: 0 };
    const { done, pending, error } = await this.#delivery.deliver(rows);
    const ids = (of: typeof done) => of.map((row) => row.id);
    if (done.length > 0) await statements.remove(session, ids(done));
    if (pending.length > 0) await statements.postpone(session, ids(pending));
    this.#counts.delivered += done.length;
    this.#counts.failed += pending.length;
    if (passed.hasSubscribers) passed.publish({ delivered: done.length, pending: pending.length, error });
    return { claimed: rows.length, done: done.length };
  }

  #wait(): void {
    if (this.#state !== "running") return;
    const { intervalMs, clock, random } = this.#options;
    const pauseMs = Math.min(intervalMs * 2 ** Math.min(this.#errorsInRow, 10), Math.max(intervalMs, longestPauseMs));
    // From 80 % to 100 % of the pause, so that the relays of a fleet do not look in step.
    this.#timer = clock.after(pauseMs * (0.8 + 0.2 * random.fraction()), () => this.wake());
  }

  /** Keeps one connection listening, where the database has a bell; polling goes on either way. */
  #listen(): void {
    const { listen } = this.#database;
    if (listen === undefined || this.#listening !== undefined || this.#connecting !== undefined) return;
    this.#connecting = this.#connect(listen).finally(() => {
      this.#connecting = undefined;
    });
  }

  async #connect(listen: NonNullable<Database["listen"]>): Promise<void> {
    const lost = () => {
      this.#listening = undefined;
      this.wake();
    };
    try {
      this.#listening = await listen(this.#options.channel, () => this.wake(), lost);
      // For what was rung before it listened.
      this.wake();
    } catch (error) {
      if (broke.hasSubscribers) broke.publish({ what: "listen", error });
    }
  }
}
