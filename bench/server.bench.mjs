// What does the embedded server cost, compared with memcached -t 1 in the same run?
//
// CPU per operation of the server process (user and system, from /proc), 50 connections on the loopback, 10,000 keys;
// server on core 0, load on core 1, the two servers in turns, medians of the rounds. It says nothing about throughput
// over a network, nor about memcached with more threads. Linux only; needs memcached, uses taskset where it is. Goes up to
// ten million items in each server: have 4 GiB of memory free, and some ten minutes.
//
//   npm run bench server [rounds] [seconds per load]
import { connect } from "node:net";
import { load, startMemcached, startOurs } from "./server/children.mjs";

const rounds = Number(process.argv[2] ?? 3);
const seconds = Number(process.argv[3] ?? 1.5);
/** Workload, and the bar for the ratio. */
const workloads = [
  ["get", 1.8],
  ["set", 1.8],
  ["mg", 1.8],
  ["ms", 1.8],
  ["bget", 1.8],
  ["bset", 1.8],
  ["get4k", 1.8],
  ["get16", 1.5],
  ["set16", 1.5],
  ["mg16", 1.5],
  ["ms16", 1.5],
  ["bget16", 2],
  ["bset16", 2],
  ["get64", 1.5],
  ["set64", 1.5],
  ["mg64", 1.5],
  ["ms64", 1.5],
  ["bget64", 2],
  ["bset64", 2],
  ["multi100", 1.3],
];

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const say = (text) => process.stdout.write(`${text}\n`);

const memcached = await startMemcached(["-m", "1024"]);
const ours = await startOurs(["-m", "1024"]);
say("workload   memcached us/op   ours us/op   ratio   bar    p99.9 ms: memcached, ours");
for (const [workload, bar] of workloads) {
  const turns = Array.from({ length: rounds }, () => [
    load(memcached, workload, seconds),
    load(ours, workload, seconds),
  ]);
  const [theirs, our] = [0, 1].map((side) => median(turns.map((turn) => turn[side].cpuMicroseconds)));
  const late = [0, 1].map((side) => median(turns.map((turn) => turn[side].p999Milliseconds)).toFixed(2));
  const ratio = median(turns.map(([a, b]) => b.cpuMicroseconds / a.cpuMicroseconds));
  const verdict = ratio <= bar ? "" : "  MISSED";
  say(
    `${workload.padEnd(10)} ${theirs.toFixed(2).padStart(10)} ${our.toFixed(2).padStart(15)} ${ratio.toFixed(2).padStart(10)}` +
      `   ${bar.toFixed(1)}${verdict}    ${late.join(", ")}`,
  );
}
memcached.stop();
ours.stop();

say("\nmemory per item, 1,000,000 items of 14 + 100 bytes; CPU per get and set then, and with 10,000,000 items");
for (const [name, start] of [
  ["memcached", startMemcached],
  ["ours", startOurs],
]) {
  const server = await start(["-m", "4096"]);
  const empty = server.rssBytes();
  const costs = [];
  for (const items of [1_000_000, 10_000_000]) {
    await fill(server.port, items);
    if (items === 1_000_000) say(`${name.padEnd(10)} ${((server.rssBytes() - empty) / items).toFixed(0)} B per item`);
    const of = (workload) =>
      median(Array.from({ length: rounds }, () => load(server, workload, seconds).cpuMicroseconds));
    costs.push({ get: of("get"), set: of("set") });
  }
  const [few, many] = costs;
  for (const workload of ["get", "set"])
    say(
      `${name.padEnd(10)} ${workload} ${few[workload].toFixed(2)} us, ${many[workload].toFixed(2)} us:` +
        ` ${(many[workload] / few[workload]).toFixed(2)} times`,
    );
  server.stop();
}

const crowd = await startOurs(["-c", "11000"]);
const alone = crowd.rssBytes();
const sockets = await Promise.all(
  Array.from({ length: 10_000 }, (_, i) => visitor(crowd.port, `127.0.0.${2 + (i % 8)}`)),
);
say(`\n10,000 idle connections: ${((crowd.rssBytes() - alone) / 10_000 / 1024).toFixed(1)} KB each`);
for (const socket of sockets) socket.destroy();
crowd.stop();

const starts = [];
for (let i = 0; i < 5; i++) {
  const server = await startOurs();
  starts.push(server.startMs);
  server.stop();
}
say(`start to first answer: ${median(starts).toFixed(0)} ms`);

async function fill(port, count) {
  const socket = connect(port, "127.0.0.1");
  const value = "v".repeat(100);
  for (let i = 0; i < count;) {
    let sets = "";
    for (let j = 0; j < 1000; j++, i++)
      sets += `set key:${String(i).padStart(10, "0")} 0 0 100 noreply\r\n${value}\r\n`;
    if (!socket.write(sets)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  await new Promise((resolve) => {
    socket.once("data", resolve);
    socket.write("mn\r\n");
  });
  socket.destroy();
}

/** A connection that has spoken once. */
async function visitor(port, localAddress) {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  await new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("data", resolve);
    socket.write("mn\r\n");
  });
  return socket;
}
