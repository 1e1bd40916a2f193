/**
 * From rows to caches: groups rows by cache, tells each cache a hundred at a time, and answers which rows are done.
 *
 * When a cache refuses such a slice, or is long about it, its targets are told one by one, so that one server that is down
 * keeps back only the rows of its own keys.
 */
import type { Clock } from "../clock.ts";
import { limitKeyLength } from "../cache/index.ts";
import { EverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { canBeTold, identity, type OutboxRow, type Target } from "./targets.ts";

/** What the outbox needs of a cache; the caches of `everfresh` have it. */
export interface OutboxCache {
  /** Its namespace, which the rows carry so that the right cache delivers them. */
  readonly name: string;
  /** Resolves when the homes of the keys have confirmed; rejects when one could not be reached. */
  invalidate(keys: readonly string[]): Promise<unknown>;
  /** The same for the homes of the tags. */
  invalidateTags(tags: readonly string[]): Promise<unknown>;
}

/** How a delivery went. Every row is in one of the two. */
export interface Delivered {
  /** Told, or of a kind that can never be told. */
  readonly done: readonly OutboxRow[];
  readonly pending: readonly OutboxRow[];
  /** Why the first of `pending` is pending. */
  readonly error?: unknown;
}

const broke = eventChannel("everfresh:outbox:error");

/** Most calls to one cache at the same time. */
const width = 16;
/** Most targets that a cache is told in one call: it takes no more tags. */
const mostTogether = 100;

/** Delivers rows to caches within a deadline. */
export class Delivery {
  readonly #caches: ReadonlyMap<string, OutboxCache>;
  readonly #clock: Clock;
  readonly #timeoutMs: number;

  constructor(caches: readonly OutboxCache[], clock: Clock, timeoutMs: number) {
    for (const cache of caches as readonly (Partial<OutboxCache> | undefined)[])
      if (
        typeof cache?.invalidate !== "function" ||
        typeof cache.invalidateTags !== "function" ||
        typeof cache.name !== "string"
      )
        throw new EverfreshError("EF_OPTION", "caches is a cache of createCache, or a list of them.");
    this.#caches = new Map(caches.map((cache) => [cache.name, cache]));
    if (this.#caches.size !== caches.length)
      throw new EverfreshError("EF_OPTION", "Two caches of an outbox have the same namespace; each needs its own.");
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get namespaces(): string[] {
    return [...this.#caches.keys()];
  }

  /** Tells the caches. Rows of a namespace that is not ours are pending: some other process has to deliver them. */
  async deliver(rows: readonly OutboxRow[]): Promise<Delivered> {
    // One deadline for all of it, however often a cache is asked.
    const until = this.#clock.monotonic() + this.#timeoutMs;
    const groups = new Map<string, OutboxRow[]>();
    const hopeless: OutboxRow[] = [];
    for (const row of rows) {
      if (!canBeTold(row)) {
        hopeless.push(row);
        continue;
      }
      const group = `${row.kind} ${row.namespace}`;
      const known = groups.get(group);
      if (known === undefined) groups.set(group, [row]);
      else known.push(row);
    }
    const answers = await Promise.all([...groups.values()].map((group) => this.#toCache(group, until)));
    const failed = answers.find((answer) => answer.pending.length > 0);
    if (hopeless.length > 0 && broke.hasSubscribers) broke.publish({ what: "drop", error: dropped(hopeless) });
    const all = { done: [...hopeless, ...answers.flatMap((a) => a.done)], pending: answers.flatMap((a) => a.pending) };
    return failed === undefined ? all : { ...all, error: failed.error };
  }

  /** Rows of one kind and one namespace. */
  async #toCache(rows: readonly OutboxRow[], until: number): Promise<Delivered> {
    const namespace = rows[0]?.namespace ?? "";
    const cache = this.#caches.get(namespace);
    if (cache === undefined)
      return {
        done: [],
        pending: rows,
        error: new EverfreshError("EF_OPTION", `No cache here is named ${namespace}.`),
      };
    const targets = [...new Map(rows.map((row) => [identity(row), row as Target])).values()];
    const told = new Set<string>();
    const doubtful: { readonly target: Target; readonly together: Promise<void> }[] = [];
    let refusal: unknown;
    await this.#each(slices(targets), until, async (slice) => {
      const together = this.#tell(cache, slice, until).then(() =>
        slice.forEach((target) => told.add(identity(target))),
      );
      try {
        // One server that hangs must leave time for the keys of the others.
        await (slice.length === 1 ? together : this.#within(together, this.#timeoutMs / 2));
      } catch (error) {
        refusal ??= error;
        if (slice.length > 1) doubtful.push(...slice.map((target) => ({ target, together })));
      }
    });
    await this.#each(doubtful, until, async ({ target, together }) => {
      const alone = this.#tell(cache, [target], until).then(() => void told.add(identity(target)));
      await Promise.any([alone, together]).catch(() => undefined);
    });
    const done = rows.filter((row) => told.has(identity(row)));
    const pending = rows.filter((row) => !told.has(identity(row)));
    if (pending.length === 0) return { done, pending };
    return { done, pending, error: refusal ?? this.#late() };
  }

  /** Does `work` for every item, some at a time, and begins no more of it when the time is up. */
  async #each<T>(items: readonly T[], until: number, work: (item: T) => Promise<void>): Promise<void> {
    const waiting = items.values();
    const worker = async () => {
      for (const item of waiting) {
        if (this.#clock.monotonic() >= until) return;
        await work(item);
      }
    };
    await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  }

  async #tell(cache: OutboxCache, targets: readonly Target[], until: number): Promise<void> {
    const names = targets.map(({ name }) => name);
    const areTags = targets[0]?.kind === "tag";
    const answer = areTags ? cache.invalidateTags(names) : cache.invalidate(names);
    await this.#within(answer, until - this.#clock.monotonic());
  }

  async #within(answer: Promise<unknown>, ms: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = this.#clock.after(ms, () => reject(this.#late()));
      void answer.then(() => resolve(), reject).finally(() => timer.cancel());
    });
  }

  #late(): EverfreshError {
    return new EverfreshError("EF_TIMEOUT", `No answer from the cache within ${this.#timeoutMs} ms.`);
  }
}

function slices(targets: readonly Target[]): Target[][] {
  const count = Math.ceil(targets.length / mostTogether);
  return Array.from({ length: count }, (_, n) => targets.slice(n * mostTogether, (n + 1) * mostTogether));
}

/** What the event says. A name may be long, and it is not a secret: it is what somebody wrote as a key or a tag. */
function dropped(rows: readonly OutboxRow[]): EverfreshError {
  const [first] = rows;
  const which =
    first === undefined ? "" : `${first.namespace}: ${first.kind} ${JSON.stringify(first.name.slice(0, 100))}`;
  return new EverfreshError(
    "EF_OPTION",
    `${rows.length} rows were dropped: no value can have such a key or tag (the first: ${which}); a key has 1 to ${limitKeyLength} characters, a tag 1 to 200 bytes.`,
  );
}
