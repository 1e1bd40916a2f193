/**
 * The queue in the database: add at the back, take from the front, look at both ends.
 *
 * First in, first out by `id`. On PostgreSQL ids are drawn when a row is inserted and become visible when it commits, so of two
 * items added in the same moment the later number may be seen first; the queue's order is that of the numbers, and once both
 * are there every page shows the same one.
 */
import type { CompiledQuery, Kysely } from "kysely";
import type { Database, Tables } from "./database.ts";

/** What statements run on: the database, or a transaction that is open. */
export type Executor = Kysely<Tables>;

export interface Item {
  readonly id: number;
  readonly text: string;
}

/** Both ends of the queue at one moment. */
export interface QueueWindow {
  readonly total: number;
  /** The whole queue when it is short, otherwise its first items. */
  readonly front: readonly Item[];
  /** Its last items when it is long, otherwise empty. */
  readonly back: readonly Item[];
}

/** How many items of a long queue each end shows. */
export const windowSize = 50;

/** How often a remove tries again before it gives up, when all it finds are rows that others are about to take. */
const removeTries = 100;

export class QueueStore {
  readonly #database: Database;
  readonly #db: Kysely<Tables>;
  readonly #windowQuery: CompiledQuery<Item & { readonly total: number | null }>;

  constructor(database: Database) {
    this.#database = database;
    this.#db = database.db;
    // It never changes, and building it costs about a tenth of an uncached page.
    this.#windowQuery = windowQuery(database.db).compile();
  }

  /** One statement, so one moment: the ends and the total always fit together, however many items there are. */
  async window(): Promise<QueueWindow> {
    const { rows } = await this.#db.executeQuery(this.#windowQuery);
    const total = rows[0]?.total ?? 0;
    const items = rows.map(({ id, text }) => ({ id, text }));
    return total <= items.length
      ? { total, front: items, back: [] }
      : { total, front: items.slice(0, windowSize), back: items.slice(-windowSize) };
  }

  /** Adds an item at the back. When this resolves it is committed, or will be with `tx`. */
  async add(text: string, tx: Executor = this.#db): Promise<Item> {
    return await tx.insertInto("queue_item").values({ text }).returning(["id", "text"]).executeTakeFirstOrThrow();
  }

  /**
   * Takes the front item: however many ask at once, each item is taken by exactly one. When this resolves it is committed.
   * Undefined means that the queue was empty at some moment during the call.
   */
  async removeFront(): Promise<Item | undefined> {
    return await this.removeFrontBy((take) => take(this.#db));
  }

  /** The same, where `attempt` says what each attempt to `take` the item runs on: a transaction of its own. */
  async removeFrontBy<Taken>(
    attempt: (take: (tx: Executor) => Promise<Item | undefined>) => Promise<Taken | undefined>,
  ): Promise<Taken | undefined> {
    for (let tries = 0; tries < removeTries; tries += 1) {
      const taken = await attempt((tx) => this.#takeFront(tx));
      if (taken !== undefined) return taken;
      // Nothing free is not the same as nothing there: others may hold rows and still let go of them.
      if (!(await this.#waitForFront())) return undefined;
    }
    throw new Error(`the front item was taken by others ${removeTries} times in a row`);
  }

  /** Whether there are at least `limit` items; exact, and cheap unless the queue is long. */
  async holds(limit: number): Promise<boolean> {
    const bounds = await this.#db
      .selectFrom("queue_item")
      .select((query) => [query.fn.min("id").as("first"), query.fn.max("id").as("last")])
      .executeTakeFirst();
    // Ids only grow, so the span between the first and the last is never less than the number of items.
    if (bounds === undefined || bounds.first === null || bounds.last - bounds.first + 1 < limit) return false;
    const { total } = await this.#db
      .selectFrom("queue_item")
      .select((query) => query.fn.countAll<number>().as("total"))
      .executeTakeFirstOrThrow();
    return total >= limit;
  }

  async #takeFront(tx: Executor): Promise<Item | undefined> {
    return await tx
      .deleteFrom("queue_item")
      .where("id", "=", (query) => {
        const front = query.selectFrom("queue_item").select("id").orderBy("id").limit(1);
        // SQLite has one writer at a time and needs no row locks.
        return this.#database.kind === "postgres" ? front.forUpdate().skipLocked() : front;
      })
      .returning(["id", "text"])
      .executeTakeFirst();
  }

  /** Whether there is an item; when others hold the front one, waits until they took it or let go. */
  async #waitForFront(): Promise<boolean> {
    const front = await this.#db.selectFrom("queue_item").select("id").orderBy("id").limit(1).executeTakeFirst();
    if (front === undefined) return false;
    if (this.#database.kind === "postgres")
      await this.#db.selectFrom("queue_item").select("id").where("id", "=", front.id).forKeyShare().execute();
    return true;
  }
}

/** Both ends of the queue, each item once, with the number of all. */
function windowQuery(queue: Kysely<Tables>) {
  return queue
    .with("front", (db) => db.selectFrom("queue_item").select(["id", "text"]).orderBy("id").limit(windowSize))
    .with("back", (db) => db.selectFrom("queue_item").select(["id", "text"]).orderBy("id", "desc").limit(windowSize))
    .with("shown", (db) => db.selectFrom("front").selectAll().union(db.selectFrom("back").selectAll()))
    .selectFrom("shown")
    .select(["id", "text"])
    .select((query) =>
      query
        .selectFrom("queue_item")
        .select((count) => count.fn.countAll<number>().as("total"))
        .as("total"),
    )
    .orderBy("id");
}
