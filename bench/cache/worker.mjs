// One contender, one workload, one process: answers with one line of JSON. Started by cache.bench.mjs.
import { deepStrictEqual } from "node:assert";
import { setTimeout as sleep } from "node:timers/promises";
import { inMemory, onServer } from "./contenders.mjs";

const [workload, contender, portsText, milliseconds] = process.argv.slice(2);
const ports = JSON.parse(portsText);
const forMs = Number(milliseconds);

const small = { id: 7, title: "Blue in Green", artist: "Miles Davis", tags: ["jazz", "modal"], seconds: 337 };
const large = {
  rows: Array.from({ length: 200 }, (_, id) => ({
    id,
    title: `Row number ${id}`,
    text: `some text of a row that is a bit longer ${id}`,
    done: id % 2 === 0,
  })),
};

/**
 * `concurrency` loops for `forMs`, after the values are there and the code is warm. They begin far from each other, so that
 * they seldom ask for one key at a time: what Everfresh shares within a turn of the event loop is not measured here.
 */
async function hits(open, value, keyCount, concurrency) {
  const keys = Array.from({ length: keyCount }, (_, index) => `${workload}:${index}`);
  const load = async () => value;
  for (const key of keys) await open.getOrSet(key, load);
  deepStrictEqual(await open.getOrSet(keys[0], load), value);
  let loaded = 0;
  const counted = async () => (loaded++, value);
  const measure = async (ms) => {
    const until = performance.now() + ms;
    let calls = 0;
    const cpu = process.cpuUsage();
    const began = performance.now();
    const loop = async (offset) => {
      for (let index = offset; performance.now() < until; index += 32)
        for (let step = 0; step < 32; step++) {
          const found = await open.getOrSet(keys[(index + step) % keyCount], counted);
          if (found === undefined) throw new Error("no value");
          calls++;
        }
    };
    await Promise.all(
      Array.from({ length: concurrency }, (_, index) => loop(Math.floor((index * keyCount) / concurrency))),
    );
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    return { rate: calls / seconds, cpuUs: (user + system) / calls };
  };
  await measure(forMs / 2);
  const result = await measure(forMs);
  if (loaded > 0) throw new Error(`${loaded} of the calls were misses`);
  return result;
}

/** 1,000 callers of a key that nobody has; the loader takes 20 ms. */
async function cold(open, key) {
  let loads = 0;
  const load = async () => {
    loads++;
    await sleep(20);
    return small;
  };
  // Missed in every process, also where others have been before it.
  await open.getOrSet(`warm:${process.pid}`, async () => small);
  if (process.send) {
    process.send("ready");
    await new Promise((resolve) => process.once("message", resolve));
  }
  const began = performance.now();
  await Promise.all(Array.from({ length: 1_000 }, () => open.getOrSet(key, load)));
  return { ms: performance.now() - began, loads };
}

const workloads = {
  memory: (open) => hits(open, small, 1, 1),
  server: (open) => hits(open, small, 1_000, 64),
  large: (open) => hits(open, large, 50, 64),
  cold: (open) => cold(open, `cold:${process.pid}`),
  "cold-on-server": (open) => cold(open, `cold:${process.pid}`),
  fleet: (open) => cold(open, `fleet:${ports.round}`),
};

const inProcess = workload === "memory" || workload === "cold";
const open = await (inProcess ? inMemory : onServer)[contender](ports);
const result = await workloads[workload](open);
process.stdout.write(JSON.stringify(result));
await open.close?.();
process.exit(0);
