/** One process of the proof: reads and writes a few keys until it is told to stop, or killed, and writes down what it saw. */
import { closeSync, openSync, writeSync } from "node:fs";
import { createCache, memcached, type ReadOptions } from "everfresh";
import { createClient, type MemcachedClient } from "everfresh/client";
import { createOutbox, tag } from "everfresh/outbox";
import { nowUs, pageKey, valueKey, type Page, type Plan, type Value } from "./plan.ts";
import { openSource } from "./source.ts";

const plan = JSON.parse(process.argv[2] ?? "") as Plan;
const source = openSource(plan.database);
const file = openSync(plan.file, "w");
let lines: string[] = [];
const asked = { toStop: false };

/** Written down at once, so that a kill loses nothing that was acknowledged. */
function note(line: string): void {
  lines.push(line);
  flush();
}

function flush(): void {
  if (lines.length === 0) return;
  writeSync(file, `${lines.join("\n")}\n`);
  lines = [];
}

const backend = memcached(plan.servers, { ...plan.options, itemBytes: plan.itemBytes });
const cache = createCache({
  backend,
  namespace: plan.namespace,
  local: plan.local,
  ttl: "10m",
  lease: "2s",
  invalidationTimeout: { milliseconds: plan.invalidationTimeoutMs },
});
const outbox =
  plan.strategy === "outbox" ? createOutbox({ db: source.db, caches: cache, deliveryTimeoutMs: 1_500 }) : undefined;
const plain: MemcachedClient | undefined = plan.strategy.endsWith("write")
  ? createClient({ ...plan.options, servers: plan.servers })
  : undefined;

const pad = "x".repeat(plan.padBytes);

async function load(key: number): Promise<Value> {
  return { key, version: await loadVersion(key), pad };
}

async function loadVersion(key: number): Promise<number> {
  lines.push(`l ${key}`);
  const version = await source.version(key);
  // What a real loader does after its query: a wider window for everything that could go wrong.
  await pause(Math.random() * 3);
  return version;
}

async function read(key: number): Promise<void> {
  const began = nowUs();
  if (plain !== undefined) {
    const found = await plain.meta.get(`${plan.namespace}:${key}`, { value: true });
    let version = found.kind === "hit" && found.value !== undefined ? Number(found.value.toString()) : Number.NaN;
    if (Number.isNaN(version)) {
      version = await loadVersion(key);
      await plain.meta.set(`${plan.namespace}:${key}`, String(version), { ttl: 600 });
    }
    lines.push(`r ${key} ${began} ${version} plain`);
    return;
  }
  if (plan.pages && Math.random() < 0.5) {
    const { value, status } = await cache.getOrSetEntry(pageKey(key), () => makePage(key), { collects: true });
    for (const part of value) lines.push(`r ${part.key} ${began} ${part.version} ${status}`);
    return;
  }
  const { value, status } = await cache.getOrSetEntry(valueKey(key), () => load(key), optionsOf(key));
  lines.push(`r ${key} ${began} ${value.version} ${status}`);
}

function makePage(key: number): Promise<Page> {
  const both = [key, (key + 1) % plan.keys];
  return Promise.all(both.map((each) => cache.getOrSet(valueKey(each), () => load(each), optionsOf(each))));
}

function optionsOf(key: number): ReadOptions {
  return plan.strategy === "tags" ? { tags: [`t${key}`] } : {};
}

async function write(key: number): Promise<void> {
  let version = -1;
  try {
    if (outbox !== undefined) {
      await outbox.transaction(source.db, async (tx, invalidate) => {
        version = await source.raise(key, tx);
        invalidate(valueKey(key), tag(`t${key}`));
      });
    } else {
      version = await source.raise(key);
      if (plan.strategy === "invalidate") await cache.invalidate(valueKey(key));
      else if (plan.strategy === "tags") await cache.invalidateTags([`t${key}`]);
      else if (plan.strategy === "delete after write") await plain?.meta.delete(`${plan.namespace}:${key}`, {});
      else await plain?.meta.set(`${plan.namespace}:${key}`, String(await loadVersion(key)), { ttl: 600 });
    }
    note(`a ${key} ${version} ${nowUs()}`);
  } catch (error) {
    if ((error as { code?: string }).code !== "EF_INVALIDATION_PENDING") throw error;
    note(`p ${key} ${version} ${nowUs()}`);
  }
}

async function loop(work: (key: number) => Promise<void>, pauseMs: number): Promise<void> {
  while (!asked.toStop) {
    try {
      await work(Math.floor(Math.random() * plan.keys));
    } catch (error) {
      note(`e ${String(error).replaceAll("\n", " ")}`);
    }
    await pause(Math.random() * 2 * pauseMs);
  }
}

/** Waits until no invalidation is pending any more: it is retried for as long as the process lives, and no longer. */
async function delivered(limitMs: number): Promise<void> {
  const until = performance.now() + limitMs;
  while (performance.now() < until) {
    if (cache.health().servers.every(({ pendingInvalidations }) => pendingInvalidations === 0)) return;
    await pause(10);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

process.on("message", () => {
  asked.toStop = true;
});
// Whoever started it is gone, and would never ask.
process.once("disconnect", () => process.exit(1));
const flusher = setInterval(flush, 50);
process.send?.("ready");
await Promise.all([
  ...Array.from({ length: plan.readers }, () => loop(read, 6)),
  ...Array.from({ length: plan.writers }, () => loop(write, 25)),
]);
await delivered(10_000);
clearInterval(flusher);
flush();
closeSync(file);
await outbox?.close();
await cache.close();
await plain?.close();
await source.close();
process.removeAllListeners("disconnect");
process.disconnect();
