/** What actors do in a world: reading, and writing and telling; and what they must see, or it fails. */
import assert from "node:assert/strict";
import { isEverfreshError } from "everfresh";
import { tag, type KyselyLike, type Outbox } from "everfresh/outbox";
import type { Cache } from "#src/cache/index.ts";
import { durationMs } from "#src/duration.ts";
import type { SimTransaction } from "./database.ts";
import type { SimProcess } from "./process.ts";
import { Truth } from "./truth.ts";
import type { Deed, WorldOptions } from "./world-options.ts";

/** The ways to read; a page shows the value of the key, which it reads through the cache. */
const readings = [
  "read",
  "readPage",
  "readUnstored",
  "readBare",
  "get",
  "readShown",
  "readFailing",
  "look",
] as const satisfies readonly Deed[];
export type Reading = (typeof readings)[number];
type Writing = Exclude<Deed, Reading | "readPair" | "readMany" | "rest" | "touch">;

export function isReading(does: Deed): does is Reading {
  return (readings as readonly Deed[]).includes(does);
}

/** What deeds need of the world that they are done in. */
export interface DeedsWorld {
  readonly config: WorldOptions;
  readonly processes: readonly SimProcess[];
  readonly caches: readonly Cache[];
  readonly outboxes: readonly { readonly handle: KyselyLike; readonly outbox: Outbox }[];
  readonly nowMs: number;
  /** How often anything was broken. */
  readonly brokenInAll: number;
  /** How often processes stood still; undefined: something has broken after which nobody knows when what was made known. */
  readonly pauses: number | undefined;
  /** Something that takes time: `happen` is an event. */
  soon(process: number, label: string, happen: () => unknown): void;
}

/** What somebody has read. */
interface Read {
  readonly value: number;
  readonly stale: boolean;
  /** The loader failed, so there is no value. */
  readonly failed: boolean;
}

const restMs = 2_500;
/** How much longer than it may a value can be stale: servers count whole seconds. */
const roundedMs = 2_000;
/** As long as a pause takes. */
export const pauseMs = 3_000;

export class Deeds {
  /** What the source holds, by key. */
  readonly sources = new Map<string, Truth>();
  /** Loads that began, by key. */
  readonly loads = new Map<string, number>();
  invalidations = 0;
  readonly #world: DeedsWorld;
  readonly #loading = new Map<string, Promise<number>>();

  constructor(world: DeedsWorld) {
    this.#world = world;
  }

  sourceOf(key: string): Truth {
    let source = this.sources.get(key);
    if (source === undefined) {
      source = new Truth(this.#world.processes.length, this.#world.config.localMaxAgeMs ?? 0);
      this.sources.set(key, source);
    }
    return source;
  }

  do(process: number, key: string, does: Deed): Promise<unknown> {
    if (does === "rest") return this.#rest(process);
    if (does === "touch") return this.#touch(process, key);
    if (does === "readPair") return Promise.all(["k", "l"].map((each) => this.read(process, each, "read")));
    if (does === "readMany") return this.#readMany(process, ["k", "l"]);
    return isReading(does) ? this.read(process, key, does) : this.#write(process, key, does);
  }

  async read(process: number, key: string, how: Reading): Promise<Read> {
    const { nowMs } = this.#world;
    const least = this.#leastOf(process, key, how !== "readBare" && how !== "look");
    const cache = this.#world.caches[process];
    if (cache === undefined) return { value: 0, stale: false, failed: false };
    const { value, status, why } = await this.#ask(cache, process, key, how).catch(failedOnPurpose);
    const stale = status === "stale" || status === "perhaps stale";
    if (!stale) assert.ok(value >= least, `stale ${how} of ${key} in ${process}: ${value}, ${least} was acknowledged`);
    if (status === "stale") this.#checkAge(key, value, why, nowMs);
    return { value, stale, failed: status === "failed" };
  }

  /** A stale value is not older than its reader allows. One that is invalidated again and again is; see docs/promise.md. */
  #checkAge(key: string, value: number, why: string | undefined, startedAt: number): void {
    const { relaxed } = this.#world.config;
    const { pauses } = this.#world;
    if (relaxed === undefined || pauses === undefined) return;
    const name = why === "the loader failed" || why === "timeout" ? "staleIfError" : "staleWhileRevalidate";
    const allowedMs = durationMs(relaxed[name] ?? "0s", name) + roundedMs + pauses * pauseMs;
    const outdatedAt = this.sourceOf(key).outdatedAt(value) ?? Infinity;
    assert.ok(outdatedAt >= startedAt - allowedMs, `${value} of ${key} was out of date since ${outdatedAt}, ${why}`);
  }

  #rest(process: number): Promise<void> {
    return new Promise((resolve) => void this.#world.processes[process]?.clock.after(restMs, resolve));
  }

  /** It may fail as it likes, but it brings nothing back. */
  async #touch(process: number, key: string): Promise<void> {
    await this.#world.caches[process]?.touch(key, "10s").catch((error: unknown) => {
      if (!isEverfreshError(error)) throw error;
    });
  }

  #leastOf(process: number, key: string, namesTags: boolean): number {
    const least = this.sourceOf(key).least({ process, nowMs: this.#world.nowMs, namesTags });
    // What it must see at least is a part of what comes.
    this.#world.processes[process]?.note(`must see ${least}`);
    return least;
  }

  async #readMany(process: number, keys: readonly string[]): Promise<void> {
    const least = new Map(keys.map((key) => [key, this.#leastOf(process, key, true)]));
    const { tags } = this.#world.config;
    const load = (wanted: readonly string[]) => Promise.all(wanted.map((key) => this.#load(process, key)));
    const found =
      (await this.#world.caches[process]?.getOrSetMany(keys, load, tags === undefined ? {} : { tags })) ?? [];
    for (const [key, value] of found)
      assert.ok(value >= (least.get(key) ?? 0), `stale readMany of ${key} in ${process}: ${value}`);
  }

  /** What was put is nowhere else, so that what has been evicted, or is asked for where it was not put, is nowhere at all. */
  #putOrGone(value: unknown): number {
    if (typeof value === "number") return value;
    return this.#world.brokenInAll > 0 || this.#world.config.moves !== undefined ? Infinity : 0;
  }

  async #ask(
    cache: Cache,
    process: number,
    key: string,
    how: Reading,
  ): Promise<{ readonly value: number; readonly status: string; readonly why?: string | undefined }> {
    const { tags } = this.#world.config;
    const options = tags === undefined ? {} : { tags };
    const load = () => this.#sharedLoad(process, key);
    if (how === "get") return { value: this.#putOrGone(await cache.get(key)), status: "got" };
    if (how === "readShown") {
      const show = async () => String((await cache.get<number>(key)) ?? -1);
      const shown = Number(await cache.fragment("shown", [key], show, options));
      return { value: this.#putOrGone(shown === -1 ? undefined : shown), status: "shown" };
    }
    if (how === "look") return { value: (await cache.get<number>(key)) ?? Infinity, status: "got" };
    if (how === "readFailing")
      return await cache.getOrSetEntry<number>(key, () => this.#load(process, key).then(failOnPurpose), options);
    if (how === "readBare") return await cache.getOrSetEntry(key, load);
    if (how === "read") return await cache.getOrSetEntry(key, load, options);
    if (how === "readUnstored") return await cache.getOrSetEntry(key, (context) => (context.skip(), load()), options);
    const show = () => cache.getOrSet(key, load, options);
    if (this.#world.config.relaxed === undefined)
      return { value: Number(await cache.fragment("page", [key], async () => String(await show()))), status: "shown" };
    const { value, status } = await cache.getOrSetEntry(`page ${key}`, show, { collects: true });
    return { value, status: status === "hit" ? "hit" : "perhaps stale" };
  }

  #sharedLoad(process: number, key: string): Promise<number> {
    if (!this.#world.config.variant?.sharesLoads) return this.#load(process, key);
    const name = `${process} ${key}`;
    const loading = this.#loading.get(name) ?? this.#load(process, key).finally(() => this.#loading.delete(name));
    this.#loading.set(name, loading);
    return loading;
  }

  /** The loader: the source is read at one event, and its answer arrives at another. */
  #load(process: number, key: string): Promise<number> {
    this.loads.set(key, (this.loads.get(key) ?? 0) + 1);
    return new Promise((resolve) => {
      this.#world.soon(process, `${process} source read of ${key}`, () => {
        const { version } = this.sourceOf(key);
        this.#world.soon(process, `${process} source answers ${key} ${version}`, () => resolve(version));
      });
    });
  }

  async #write(process: number, key: string, does: Writing): Promise<void> {
    const cache = this.#world.caches[process];
    const source = this.sourceOf(key);
    if (does === "transact") {
      await this.#transact(process, key, source);
      return;
    }
    if (does === "tooEarly") {
      await cache?.invalidate(key);
      this.invalidations += 1;
    }
    const version = await new Promise<number>((resolve) => {
      this.#world.soon(process, `${process} commit of ${key}`, () => resolve((source.version += 1)));
    });
    this.invalidations += 1;
    const told = { version, process, byTag: does === "writeTag" };
    try {
      if (does === "put") {
        if (!(await cache?.set(key, version))) return;
      } else if (does === "raise") {
        if ((await cache?.update(key, () => version)) === undefined) return;
      } else if (does === "tooEarly") await Promise.resolve();
      else if (does === "write") await cache?.invalidate(key);
      else if (does === "delete") await cache?.delete(key);
      else if (does === "writeTag") await cache?.invalidateTags(this.#world.config.tags ?? []);
      else if (does === "clear") await cache?.clear();
      else await cache?.refresh(key, () => this.#load(process, key), { tags: this.#world.config.tags ?? [] });
    } catch (error) {
      // Not acknowledged; but this process itself reads nothing from before any more.
      if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
      source.tell({ ...told, atMs: this.#world.nowMs, pending: true });
      return;
    }
    source.tell({ ...told, atMs: this.#world.nowMs, pending: false });
  }

  async #transact(process: number, key: string, source: Truth): Promise<void> {
    const { handle, outbox } = this.#world.outboxes[process] ?? {};
    if (handle === undefined || outbox === undefined) return;
    let version = 0;
    this.invalidations += 1;
    try {
      await outbox.transaction(handle, async (tx, invalidate) => {
        (tx as unknown as SimTransaction).change(key);
        // The transaction is the only one: what it commits is the next version.
        version = source.version + 1;
        invalidate(key, ...(this.#world.config.tags ?? []).map((name) => tag(name)));
        await Promise.resolve();
      });
    } catch (error) {
      if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
      return;
    }
    source.tell({ version, process, byTag: false, atMs: this.#world.nowMs, pending: false });
  }
}

const failure = "no source";

function failOnPurpose(): never {
  throw new Error(failure);
}

/** Who shares a computation shares its failure. */
function failedOnPurpose(error: unknown): { readonly value: number; readonly status: string; readonly why?: string } {
  if (error instanceof Error && error.message === failure) return { value: Infinity, status: "failed" };
  throw error;
}
