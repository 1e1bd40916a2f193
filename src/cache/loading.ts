/** Runs one loader: its context, its deadline, and what it decided about its value. */
import type { Clock } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import type { Loader, LoadContext } from "./caller.ts";
import type { Generation } from "./envelope.ts";
import { Inherited, rendering, type Home } from "./fragments.ts";
import { checkTags } from "./keys.ts";
import type { Ttl } from "./options.ts";
import { ttlMs, type Plan } from "./plan.ts";

/** What came of a loader. */
export interface Loaded {
  readonly value: unknown;
  readonly ttlMs: number;
  /** Tags that the loader added. */
  readonly tags: readonly string[];
  /** Tags of the fragments within it, with the generations that those were made from. */
  readonly inherited: ReadonlyMap<string, Generation>;
  /** Whether everything that was read while it was computed says what it was made from. */
  readonly known: boolean;
  /** Whether it may be stored. */
  readonly store: boolean;
}

class Context implements LoadContext {
  readonly #controller = new AbortController();
  readonly stale: unknown;
  ttl: number;
  tags: readonly string[] = [];
  skipped = false;
  readonly inherited: Inherited;

  constructor(plan: Plan, key: string, stale: unknown, home: Home | undefined) {
    this.ttl = plan.ttlMs;
    this.inherited = new Inherited(home, key);
    this.stale = stale;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  setTtl(ttl: Ttl): void {
    this.ttl = ttlMs(ttl);
  }

  addTags(tags: readonly string[]): void {
    this.tags = checkTags([...this.tags, ...checkTags(tags)]);
  }

  skip(): void {
    this.skipped = true;
  }

  within<T>(work: () => T): T {
    return rendering.within(this.inherited, work);
  }
}

/** The loaders that are under way in a cache and its namespaces. */
export class Loads {
  readonly #clock: Clock;
  readonly #underWay = new Set<Context>();
  #closed: EverfreshError | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Runs `load` until it is done, it fails, or `plan.hardMs` have passed.
   *
   * @param home where the value will be kept; undefined: it will not
   * @throws whatever the loader throws, unchanged; EverfreshError `EF_LOAD_TIMEOUT`
   */
  async run(load: Loader, plan: Plan, key: string, stale: unknown, home?: Home): Promise<Loaded> {
    const context = new Context(plan, key, stale, home);
    if (this.#closed !== undefined) context.abort(this.#closed);
    this.#underWay.add(context);
    try {
      return await runLoader(load, plan, key, context, this.#clock);
    } finally {
      this.#underWay.delete(context);
    }
  }

  /** Tells all loaders, and those that still begin, that the cache is closed; whether they go on is theirs. */
  close(): void {
    this.#closed = new EverfreshError("EF_CLOSED", "the cache is closed");
    for (const context of this.#underWay) context.abort(this.#closed);
  }
}

function runLoader(load: Loader, plan: Plan, key: string, context: Context, clock: Clock): Promise<Loaded> {
  return new Promise((resolve, reject) => {
    const ended = plan.collects ? rendering.begin() : undefined;
    const timer = clock.after(plan.hardMs, () => {
      const error = new EverfreshError("EF_LOAD_TIMEOUT", `the loader has not finished within ${plan.hardMs} ms`, {
        key,
      });
      context.abort(error);
      reject(error);
    });
    const done = (value: unknown): void => {
      timer.cancel();
      ended?.();
      const { inherited } = context;
      const ttl =
        inherited.freshUntil === Infinity ? context.ttl : Math.min(context.ttl, inherited.freshUntil - clock.now());
      const known = inherited.isKnown;
      const store = value !== undefined && !context.skipped && ttl > 0 && known;
      resolve({ value, ttlMs: ttl, tags: context.tags, inherited: inherited.tags, known, store });
    };
    const failed = (error: unknown): void => {
      timer.cancel();
      ended?.();
      reject(error);
    };
    const settle = async (): Promise<void> => {
      try {
        done(await (plan.collects ? context.within(() => load(context)) : load(context)));
      } catch (error) {
        failed(error);
      }
    };
    void settle();
  });
}
