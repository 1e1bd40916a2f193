/**
 * The promise under random orders of everything: several processes, commands that are executed and answered when chance
 * says so, lost answers, lost connections, evictions, restarts, slow loaders, time; values, what is written plainly, and pages
 * around them.
 *
 * Each run prints its seed when it fails; `EVERFRESH_TEST_SEED=<seed>` repeats it, `EVERFRESH_TEST_RUNS=10` makes ten times as
 * many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCache, isEverfreshError, metaBackend, type Cache, type CacheOptions } from "everfresh";
import { ChunkingBackend } from "#src/backend/chunking.ts";
import type { Random } from "#src/clock.ts";
import { FakeMemcached } from "../support/fake-memcached.ts";
import { ManualClock, seededRandom } from "../support/manual-clock.ts";
import { chosenSeed, moreRuns } from "../support/thoroughness.ts";

const runs = 150 * moreRuns;

/** What a read may return at least: the version that was committed before the newest acknowledged invalidation. */
interface Row {
  version: number;
  floor: number;
  /** Whether it is being written plainly: two such writes end in either order. */
  busy: boolean;
}

interface Value {
  readonly version: number;
  readonly filling: string;
}

/** What a world has besides what all have. */
interface Kind {
  readonly options?: Partial<CacheOptions>;
  readonly connections?: number;
  /** Bytes in each value, and the most that a server takes. */
  readonly fillingBytes?: number;
  readonly itemBytes?: number;
}

interface Counts {
  reads: number;
  loads: number;
  acknowledged: number;
}

class World {
  readonly random: Random;
  readonly clock = new ManualClock();
  readonly servers: FakeMemcached;
  readonly rows = new Map(
    ["a", "b", "c", "w"].map((key): [string, Row] => [key, { version: 1, floor: 0, busy: false }]),
  );
  readonly caches: Cache[];
  readonly counts: Counts = { reads: 0, loads: 0, acknowledged: 0 };
  readonly failures: string[] = [];
  readonly #filling: string;
  #ends: (() => void)[] = [];
  #open = 0;

  constructor(seed: number, { options, connections, fillingBytes = 0, itemBytes = 1e6 }: Kind) {
    this.random = seededRandom(seed);
    this.#filling = "x".repeat(fillingBytes);
    this.servers = new FakeMemcached(["s:1", "s:2"], connections);
    this.caches = [0, 1, 2].map((number) => {
      const random = seededRandom(seed * 7 + number);
      const meta = metaBackend(this.servers.client(), { itemLimitBytes: itemBytes });
      const backend = new ChunkingBackend(meta, random);
      return createCache({ backend, namespace: "w", clock: this.clock, random, ttl: "1h", ...options });
    });
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
      else if (lot < 0.183) this.servers.evict(this.pick(["w=a", "w=b", "w#t", "w!0", "w*0=a", "w=w", "w*0=w"]));
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
  load(key: string): () => Promise<Value> {
    return async () => {
      this.counts.loads++;
      const value = this.valueOf(this.row(key).version);
      await new Promise<void>((resolve) => this.#ends.push(resolve));
      return value;
    };
  }

  valueOf(version: number): Value {
    return { version, filling: this.#filling };
  }

  endLoad(): void {
    const end = this.pick(this.#ends);
    if (end === undefined) return;
    this.#ends = this.#ends.filter((each) => each !== end);
    end();
  }

  read(): void {
    const cache = this.pick(this.caches);
    const keys = this.random.fraction() < 0.3 ? ["a", "c", "w"] : [this.pick([...this.rows.keys()])];
    const floors = keys.map((key) => this.row(key).floor);
    const reading =
      keys.length > 1 ? this.page(cache, keys) : this.value(cache, keys[0] ?? "").then((value) => [value]);
    this.track(
      reading.then((values) => {
        this.counts.reads++;
        for (const [index, { version }] of values.entries())
          if (version < (floors[index] ?? 0))
            this.failures.push(
              `${keys[index]} of ${keys.join()}: got ${version} after ${floors[index]} was acknowledged`,
            );
        return undefined;
      }),
    );
  }

  value(cache: Cache, key: string): Promise<Value> {
    const single = this.random.fraction() < 0.85;
    // `c` is invalidated by its tag alone.
    const tags = key === "c" ? ["t"] : [];
    return single
      ? cache.getOrSet(key, this.load(key), { tags })
      : cache
          .getOrSetMany([key], async ([wanted = key]) => [await this.load(wanted)()], { tags })
          .then((found) => found.get(key) ?? this.valueOf(-1));
  }

  page(cache: Cache, keys: readonly string[]): Promise<Value[]> {
    const render = (): Promise<Value[]> => Promise.all(keys.map((key) => this.value(cache, key)));
    return cache.getOrSet("page", render, { collects: true });
  }

  write(): void {
    const key = this.pick([...this.rows.keys()]);
    const row = this.row(key);
    if (row.busy) return;
    const version = ++row.version;
    row.busy = key === "w";
    this.track(
      this.told(this.pick(this.caches), key, version).then(
        (isTold) => {
          row.busy = false;
          if (!isTold) return undefined;
          this.counts.acknowledged++;
          row.floor = Math.max(row.floor, version);
          return undefined;
        },
        (error: unknown) => {
          row.busy = false;
          if (!isEverfreshError(error)) throw error;
        },
      ),
    );
  }

  /** Tells the cache of a write; false where that says nothing of what others have under way. */
  async told(cache: Cache, key: string, version: number): Promise<boolean> {
    if (key === "c") await cache.invalidateTags(["t"]);
    else if (key !== "w" || this.random.fraction() < 0.3) await cache.invalidate(key);
    else if (this.random.fraction() < 0.5) await cache.set(key, this.valueOf(version));
    else return (await cache.update(key, () => this.valueOf(version))) !== undefined;
    return true;
  }

  row(key: string): Row {
    return this.rows.get(key) ?? { version: 0, floor: 0, busy: false };
  }

  track(work: Promise<void>): void {
    this.#open++;
    work.catch((error: unknown) => this.failures.push(String(error))).finally(() => this.#open--);
  }
}

const kinds: Record<string, Kind> = {
  plain: {},
  "with the in-process tier": { options: { local: true } },
  "with values in chunks": { fillingBytes: 300, itemBytes: 200, options: { local: true } },
  "on several connections": { connections: 3 },
};

for (const [name, kind] of Object.entries(kinds))
  test(`no read is stale, whatever the order (${name})`, { timeout: 120_000 }, async () => {
    const seeds = chosenSeed === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [chosenSeed];
    const sum: Counts = { reads: 0, loads: 0, acknowledged: 0 };
    for (const seed of seeds) {
      const world = new World(seed, kind);
      await world.run(400);
      assert.deepEqual(world.failures, [], `EVERFRESH_TEST_SEED=${seed}`);
      for (const count of ["reads", "loads", "acknowledged"] as const) sum[count] += world.counts[count];
    }
    // The runs must have shown something.
    assert.ok(chosenSeed !== undefined || (sum.reads > 20 * runs && sum.acknowledged > 2 * runs), JSON.stringify(sum));
    assert.ok(sum.loads < sum.reads);
  });
