/**
 * The engines of the caches on one backend: one for each namespace, however often `namespace()` is called. So that all who
 * ask for a key share its computation, and what one of them invalidates none of them has in its tier.
 *
 * One that nobody uses any more is forgotten: there may be a namespace for each customer.
 */
import type { Shared } from "./create-cache.ts";
import { Engine } from "./engine.ts";
import { Keys } from "./keys.ts";
import { Tier, type OwnInvalidations } from "./tier.ts";

export class Engines {
  readonly #known = new Map<string, WeakRef<Engine>>();
  readonly #own: OwnInvalidations = { latest: 0 };
  readonly #unused = new FinalizationRegistry<string>((namespace) => {
    if (this.#known.get(namespace)?.deref() === undefined) this.#known.delete(namespace);
  });

  /** The engine of `namespace`. */
  of(namespace: string, shared: Shared): Engine {
    let engine = this.#known.get(namespace)?.deref();
    if (engine === undefined) {
      engine = make(namespace, shared, this.#own);
      this.#known.set(namespace, new WeakRef(engine));
      this.#unused.register(engine, namespace);
    }
    return engine;
  }
}

function make(namespace: string, shared: Shared, own: OwnInvalidations): Engine {
  const { backend, clock, random, deliveries, generations, turns, loads, options, leaseSeconds, waitMs } = shared;
  const local = backend.reach === "fleet" ? shared.local : undefined;
  return new Engine({
    namespace,
    backend,
    deliveries,
    generations,
    keys: new Keys(namespace),
    clock,
    random,
    turns,
    loads,
    tier: local && new Tier(local.limitBytes, local.limitEntries, own),
    tierMaxAgeMs: local?.maxAgeMs ?? 0,
    serializer: options.serializer,
    leaseSeconds,
    waitMs,
  });
}
