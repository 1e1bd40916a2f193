/** Runs a fleet of processes over a plan, lets faults happen meanwhile, and judges what they wrote down. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCache, memcached } from "everfresh";
import { createOutbox } from "everfresh/outbox";
import { pageKey, valueKey, type Page, type Plan, type Value } from "./plan.ts";
import { makeItems, openSource } from "./source.ts";

export type FleetPlan = Pick<Plan, "strategy" | "servers" | "database"> & Partial<Plan>;

/** What the fleet did, all files together. */
export interface Verdict {
  readonly reads: number;
  readonly hits: number;
  /** Reads that returned something older than what had been acknowledged before they began. */
  readonly stale: number;
  /** The first of them, in words. */
  readonly example: string | undefined;
  readonly writes: number;
  readonly pending: number;
  readonly loads: number;
  /** Messages of calls that failed and should not have. */
  readonly errors: readonly string[];
  /** Keys whose value, read by a newcomer when all was over, is not what the database holds. */
  readonly wrongAtTheEnd: readonly string[];
}

const worker = fileURLToPath(new URL("worker.js", import.meta.url));
const processes = 4;
let namespaces = 0;

/** What a fault may do to the processes. */
export interface Fleet {
  readonly children: ChildProcess[];
  /** Kills a process and starts another in its place. */
  respawn(index: number): Promise<void>;
  /** Starts a process with other servers, and then lets the one in whose place it is finish. */
  replace(index: number, change: Pick<Plan, "servers" | "options">): Promise<void>;
}

/** Lets a fleet run for `ms`, while `meanwhile` happens. */
export async function runFleet(
  given: FleetPlan,
  ms: number,
  meanwhile: (fleet: Fleet) => Promise<void>,
): Promise<Verdict> {
  const folder = mkdtempSync(join(tmpdir(), "everfresh-proof-"));
  const files: string[] = [];
  namespaces += 1;
  const namespace = `proof${namespaces}`;
  let full = {
    namespace,
    options: {},
    local: false,
    pages: false,
    padBytes: 0,
    itemBytes: 1024 * 1024,
    invalidationTimeoutMs: 2_000,
    keys: 10,
    readers: 8,
    writers: 2,
    ...given,
  };
  await makeItems(full.database, full.keys);
  const start = async (): Promise<ChildProcess> => {
    const file = join(folder, `${files.length}`);
    files.push(file);
    const child = fork(worker, [JSON.stringify({ ...full, file } satisfies Plan)]);
    await Promise.race([once(child, "message"), once(child, "exit").then(() => Promise.reject(new Error("it left")))]);
    return child;
  };
  const children = await Promise.all(Array.from({ length: processes }, start));
  try {
    const over = pause(ms);
    await Promise.all([
      over,
      meanwhile({
        children,
        async respawn(index) {
          const gone = children[index];
          if (gone === undefined) return;
          const left = once(gone, "exit");
          gone.kill("SIGKILL");
          await left;
          children[index] = await start();
        },
        async replace(index, { servers, options }) {
          full = { ...full, servers, options: { ...full.options, ...options } };
          const before = children[index];
          children[index] = await start();
          if (before !== undefined) await finish(before);
        },
      }),
    ]);
    await Promise.all(children.map(finish));
    if (full.strategy === "outbox") await emptied(full);
    const verdict = judge(files.map((file) => readFileSync(file, "utf8")));
    return { ...verdict, wrongAtTheEnd: full.strategy.endsWith("write") ? [] : await atTheEnd(full) };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

async function finish(child: ChildProcess): Promise<void> {
  const left = once(child, "exit");
  child.send("stop");
  const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await left;
  clearTimeout(late);
}

/**
 * All processes have ended, relays included: what they could not deliver is for one more, as a process that starts would have
 * it.
 */
async function emptied({ servers, options, itemBytes, database, namespace }: Omit<Plan, "file">): Promise<void> {
  const source = openSource(database);
  const cache = createCache({ backend: memcached(servers, { ...options, itemBytes }), namespace });
  const outbox = createOutbox({ db: source.db, caches: cache, relay: false });
  const until = performance.now() + 15_000;
  try {
    for (;;) {
      await outbox.relayOnce();
      const rows = await source.count("SELECT count(*) AS n FROM everfresh_outbox");
      if (rows === 0) return;
      if (performance.now() > until) throw new Error(`${rows} rows stayed in the outbox`);
      await pause(50);
    }
  } finally {
    await outbox.close();
    await cache.close();
    await source.close();
  }
}

/** A newcomer reads every key and every page; what it hits must be what the database holds. */
async function atTheEnd(plan: Omit<Plan, "file">): Promise<string[]> {
  const { servers, options, itemBytes, database, keys, namespace } = plan;
  const source = openSource(database);
  const cache = createCache({ backend: memcached(servers, { ...options, itemBytes }), namespace });
  const wrong: string[] = [];
  for (let key = 0; key < keys; key += 1) {
    const value = await cache.get<Value>(valueKey(key));
    const page = await cache.get<Page>(pageKey(key));
    for (const found of [value, ...(page ?? [])]) {
      if (found === undefined) continue;
      const truth = await source.version(found.key);
      if (found.version !== truth)
        wrong.push(`key ${found.key} is ${found.version} (value or page ${key}), the database holds ${truth}`);
    }
  }
  await cache.close();
  await source.close();
  return wrong;
}

/** @param logs the files, one for each process that ever ran */
export function judge(logs: readonly string[]): Omit<Verdict, "wrongAtTheEnd"> {
  const acknowledged = new Map<number, { at: number; version: number }[]>();
  const errors: string[] = [];
  let writes = 0;
  let pending = 0;
  let loads = 0;
  const records = logs.map((log) => log.split("\n").map((line) => line.split(" ")));
  for (const [kind, ...rest] of records.flat()) {
    const [key = 0, version = 0, at = 0] = rest.map(Number);
    if (kind === "a") {
      writes += 1;
      const all = acknowledged.get(key) ?? [];
      all.push({ at, version });
      acknowledged.set(key, all);
    } else if (kind === "p") pending += 1;
    else if (kind === "l") loads += 1;
    else if (kind === "e") errors.push(rest.join(" "));
  }
  const floors = new Map([...acknowledged].map(([key, all]) => [key, new Floor(all)]));
  let reads = 0;
  let hits = 0;
  let stale = 0;
  let example: string | undefined;
  for (const log of records) {
    // What this process itself was told is pending counts for its own reads, too.
    const own = new Map<number, { at: number; version: number }[]>();
    for (const [kind, key, version, at] of log)
      if (kind === "p")
        own.set(Number(key), [...(own.get(Number(key)) ?? []), { at: Number(at), version: Number(version) }]);
    const ownFloors = new Map([...own].map(([key, all]) => [key, new Floor(all)]));
    for (const [kind, ...rest] of log) {
      if (kind !== "r") continue;
      const [key = 0, began = 0, version = 0] = rest.map(Number);
      reads += 1;
      if (rest[3] === "hit") hits += 1;
      const least = Math.max(floors.get(key)?.before(began) ?? 0, ownFloors.get(key)?.before(began) ?? 0);
      if (version >= least) continue;
      stale += 1;
      example ??= `key ${key} read ${version} (${rest[3] ?? ""}), but ${least} was acknowledged before the read began`;
    }
  }
  return { reads, hits, stale, example, writes, pending, loads, errors };
}

/** The newest version that was acknowledged before a moment. */
class Floor {
  readonly #times: number[] = [];
  readonly #versions: number[] = [];

  constructor(all: readonly { readonly at: number; readonly version: number }[]) {
    let newest = 0;
    for (const { at, version } of all.toSorted((a, b) => a.at - b.at)) {
      newest = Math.max(newest, version);
      this.#times.push(at);
      this.#versions.push(newest);
    }
  }

  before(moment: number): number {
    let low = 0;
    let high = this.#times.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#times[middle] ?? 0) < moment) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : (this.#versions[low - 1] ?? 0);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
