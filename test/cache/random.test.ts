/**
 * The promise under random orders of everything: several processes, commands that are executed and answered when chance
 * says so, lost answers, lost connections, evictions, restarts, slow loaders, time.
 *
 * Each run prints its seed when it fails; `EVERFRESH_SEED=<seed>` repeats it, `EVERFRESH_RUNS=<n>` makes more.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCache, isEverfreshError, metaBackend, type Cache, type CacheOptions } from "everfresh";
import type { Random } from "#src/clock.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";

const runs = Number(process.env["EVERFRESH_RUNS"] ?? 150);
const chosen = process.env["EVERFRESH_SEED"];

/** What a read may return at least: the version that was committed before the newest acknowledged invalidation. */
interface Row {
  version: number;
  floor: number;
}

interface Counts {
  reads: number;
  loads: number;
  acknowledged: number;
}

class World {
  readonly random: Random;
  readonly clock = new ManualClock();
  readonly servers = new FakeMemcached(["s:1", "s:2"]);
  readonly rows = new Map(["a", "b", "c"].map((key): [string, Row] => [key, { version: 1, floor: 0 }]));
  readonly caches: Cache[];
  readonly counts: Counts = { reads: 0, loads: 0, acknowledged: 0 };
  readonly failures: string[] = [];
  #ends: (() => void)[] = [];
  #open = 0;

  constructor(seed: number, options: Partial<CacheOptions>) {
    this.random = seededRandom(seed);
    this.caches = [0, 1, 2].map((number) =>
      createCache({
        backend: metaBackend(this.servers.client()),
        namespace: "w",
        clock: this.clock,
        random: seededRandom(seed * 7 + number),
        ttl: "1h",
        ...options,
      }),
    );
    this.servers.hold();
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random.fraction() * list.length)] as T;
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const lot = this.random.fraction();
      if (lot < 0.1) this.read();
      else if (lot < 0.125) this.write();
      else if (lot < 0.17) this.endLoad();
      else if (lot < 0.18) await this.pass(this.pick([1, 20, 500]));
      else if (lot < 0.183) this.servers.evict(this.pick(["w=a", "w=b", "w#t", "w!0", "w*0=a"]));
      else if (lot < 0.185) this.servers.restart(this.pick(["s:1", "s:2"]));
      else if (lot < 0.187) this.servers.disconnect(this.pick(["s:1", "s:2"]));
      else this.servers.step(this.random, 0.003);
      await new Promise(setImmediate);
    }
    this.servers.release();
    for (let round = 0; this.#open > 0 && round < 400; round++) {
      this.endLoad();
      await this.pass(100);
    }
    assert.equal(this.#open, 0, "somebody waits for ever");
  }

  async pass(ms: number): Promise<void> {
    this.servers.nowMs += ms;
    await this.clock.advance(ms);
  }

  /** A load sees what the source holds when it begins. */
  load(key: string): () => Promise<number> {
    return async () => {
      this.counts.loads++;
      const { version } = this.row(key);
      await new Promise<void>((resolve) => this.#ends.push(resolve));
      return version;
    };
  }

  endLoad(): void {
    const end = this.pick(this.#ends);
    if (end === undefined) return;
    this.#ends = this.#ends.filter((each) => each !== end);
    end();
  }

  read(): void {
    const key = this.pick([...this.rows.keys()]);
    const { floor } = this.row(key);
    const cache = this.pick(this.caches);
    const single = this.random.fraction() < 0.85;
    // `c` is invalidated by its tag alone.
    const tags = key === "c" ? ["t"] : [];
    const reading = single
      ? cache.getOrSet(key, this.load(key), { tags })
      : cache
          .getOrSetMany([key], async ([wanted = key]) => [await this.load(wanted)()], { tags })
          .then((found) => found.get(key) ?? -1);
    this.track(
      reading.then((version) => {
        this.counts.reads++;
        if (version < floor) this.failures.push(`${key}: got ${version} after ${floor} was acknowledged`);
        return undefined;
      }),
    );
  }

  write(): void {
    const key = this.pick([...this.rows.keys()]);
    const row = this.row(key);
    const version = ++row.version;
    const cache = this.pick(this.caches);
    const invalidation = key === "c" ? cache.invalidateTags(["t"]) : cache.invalidate(key);
    this.track(
      invalidation.then(
        () => {
          this.counts.acknowledged++;
          row.floor = Math.max(row.floor, version);
          return undefined;
        },
        (error: unknown) => {
          if (!isEverfreshError(error, "EF_INVALIDATION_PENDING")) throw error;
        },
      ),
    );
  }

  row(key: string): Row {
    return this.rows.get(key) ?? { version: 0, floor: 0 };
  }

  track(work: Promise<void>): void {
    this.#open++;
    work.catch((error: unknown) => this.failures.push(String(error))).finally(() => this.#open--);
  }
}

for (const [name, options] of [
  ["plain", {}],
  ["with the in-process tier", { local: true }],
] as const)
  test(`no read is stale, whatever the order (${name})`, { timeout: 120_000 }, async () => {
    const seeds = chosen === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [Number(chosen)];
    const sum: Counts = { reads: 0, loads: 0, acknowledged: 0 };
    for (const seed of seeds) {
      const world = new World(seed, options);
      await world.run(400);
      assert.deepEqual(world.failures, [], `EVERFRESH_SEED=${seed}`);
      for (const count of ["reads", "loads", "acknowledged"] as const) sum[count] += world.counts[count];
    }
    // The runs must have shown something.
    assert.ok(chosen !== undefined || (sum.reads > 20 * runs && sum.acknowledged > 2 * runs), JSON.stringify(sum));
    assert.ok(sum.loads < sum.reads);
  });
