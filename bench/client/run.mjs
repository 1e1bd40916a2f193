// One contender, one workload, one process: `node run.mjs <contender> <workload> <CPU milliseconds> <port>...`
// Fills the servers, warms up, measures, prints one line of JSON. Every value read is checked.
import { contenders } from "./contenders.mjs";
import { workloads } from "./workloads.mjs";

const [name, workloadName, milliseconds, ...ports] = process.argv.slice(2);
const workload = workloads[workloadName];
/** What an application would hold, where the workload asks for it. */
globalThis.held = Array.from({ length: workload.liveObjects ?? 0 }, (_, at) => ({ at, text: `object ${at}` }));
const client = await contenders[name](ports.map(Number));
const state = await workload.prepare(client);

/**
 * Runs until the process has used `cpuMs` of CPU time (at most eight times that by the clock), so that on a busy machine
 * every client gets as much to warm up and to be measured with.
 */
async function load(cpuMs) {
  const begin = process.cpuUsage();
  const until = performance.now() + 8 * cpuMs;
  const watch = { over: false };
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(begin);
    watch.over = user + system >= cpuMs * 1000 || performance.now() > until;
  }, 10);
  let done = 0;
  const caller = async (id) => {
    let turn = id;
    do {
      for (let i = 0; i < workload.stride; i++) {
        await workload.once(client, state, turn);
        turn += workload.concurrency;
        done += workload.counts;
      }
    } while (!watch.over);
  };
  await Promise.all(Array.from({ length: workload.concurrency }, (_, id) => caller(id)));
  clearInterval(timer);
  return done;
}

await load(Number(milliseconds) / 2);
globalThis.gc?.();
const cpu = process.cpuUsage();
const start = performance.now();
const operations = await load(Number(milliseconds));
const elapsed = performance.now() - start;
const used = process.cpuUsage(cpu);
process.stdout.write(
  `${JSON.stringify({
    perSecond: (operations / elapsed) * 1000,
    cpuUs: (used.user + used.system) / operations,
    bytes: workload.allocates ? await allocated() : undefined,
  })}\n`,
);
await client.close();
process.exit(0);

/** Bytes allocated on the heap and outside of it, per operation. */
async function allocated() {
  globalThis.gc?.();
  const samples = [];
  for (let round = 0; round < 20; round++) {
    globalThis.gc?.();
    const before = total();
    let done = 0;
    await Promise.all(
      Array.from({ length: workload.concurrency }, async (_, id) => {
        for (let i = 0; i < 30; i++) {
          await workload.once(client, state, id + i * workload.concurrency);
          done++;
        }
      }),
    );
    samples.push((total() - before) / done);
  }
  samples.sort((a, b) => a - b);
  return samples[samples.length >> 1];
}

function total() {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
