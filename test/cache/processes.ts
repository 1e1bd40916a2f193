/** The processes and the servers that tests of the cache drive; every test finds them new. */
import { beforeEach } from "node:test";
import { createCache, metaBackend, type Cache, type CacheOptions } from "everfresh";
import { deferred, type Deferred } from "../support/deferred.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { settle } from "../support/settle.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";

export let world: FakeMemcached;
export let clock: ManualClock;
/** Two processes. */
export let a: Cache;
export let b: Cache;
let number = 1;

/** One process: a client, a cache, nothing shared with others. */
export function process(options: Partial<CacheOptions> = {}): Cache {
  return createCache({
    backend: metaBackend(world.client()),
    namespace: "n",
    clock,
    random: seededRandom(number++),
    ...options,
  });
}

/** Begins with empty servers, by default one, and two processes that use them. */
export function begin(servers?: readonly string[]): void {
  world = new FakeMemcached(servers);
  clock = new ManualClock();
  a = process();
  b = process();
}

beforeEach(() => begin());

export const failing = (): Promise<number> => Promise.reject(new Error("no database"));

/** A source that is read slowly: each load sees what the source held when it began. */
export class Source {
  value = 1;
  loads = 0;
  readonly ends: Deferred<void>[] = [];
  readonly slow = async (): Promise<number> => {
    this.loads++;
    const seen = this.value;
    const end = deferred();
    this.ends.push(end);
    await end.promise;
    return seen;
  };
  readonly quick = (): number => {
    this.loads++;
    return this.value;
  };
}

export async function advance(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    world.nowMs += Math.min(left, 50);
    await clock.advance(Math.min(left, 50));
  }
}

/** Another process invalidates `k` while answers are held back, and is told that it is done. */
export async function invalidateWhileHeld(): Promise<void> {
  const invalidation = b.invalidate("k");
  await settle();
  await world.run("md n=k");
  await world.run("md n*0=k");
  await invalidation;
}
