// Loads one server for a while and says what it cost: node load.mjs <port> <pid> <workload> <seconds> <connections>
// Answers have a fixed length, so that counting bytes is enough and the load program costs little.
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const [, , port, pid, name, seconds, connections] = process.argv;
const items = 10_000;
const value = (bytes) => "v".repeat(bytes);
const keyOf = (number) => `key:${String(number).padStart(10, "0")}`;

function binary(opcode, key, extras, body) {
  const header = Buffer.alloc(24);
  header[0] = 0x80;
  header[1] = opcode;
  header.writeUInt16BE(key.length, 2);
  header[4] = extras;
  header.writeUInt32BE(key.length + extras + body.length, 8);
  return Buffer.concat([header, Buffer.alloc(extras), Buffer.from(key), body]);
}

const size = name.includes("4k") ? 4096 : 100;
const head = `VALUE ${keyOf(0)} 0 ${size}\r\n`.length;
const kinds = {
  get: { ask: (key) => `get ${key}\r\n`, answer: head + size + 7 },
  set: { ask: (key) => `set ${key} 0 0 ${size}\r\n${value(size)}\r\n`, answer: 8 },
  mg: { ask: (key) => `mg ${key} v\r\n`, answer: `VA ${size}\r\n`.length + size + 2 },
  ms: { ask: (key) => `ms ${key} ${size}\r\n${value(size)}\r\n`, answer: 4 },
  bget: { ask: (key) => binary(0, key, 0, Buffer.alloc(0)), answer: 28 + size },
  bset: { ask: (key) => binary(1, key, 8, Buffer.from(value(size))), answer: 24 },
};
const [, kind, deep] = /^([a-z]+?)(?:4k)?(\d+)?$/.exec(name);
const depth = Number(deep ?? 1);
const random = () => keyOf(Math.floor(Math.random() * items));

function batch() {
  if (kind === "multi") {
    const keys = Array.from({ length: depth }, random);
    return { bytes: Buffer.from(`get ${keys.join(" ")}\r\n`), answer: depth * (head + size + 2) + 5 };
  }
  const { ask, answer } = kinds[kind];
  const asks = Array.from({ length: depth }, () => Buffer.from(ask(random())));
  return { bytes: Buffer.concat(asks), answer: depth * answer };
}

await fill();
let done = 0;
let times = [];
for (let visitor = 0; visitor < Number(connections); visitor++) visit();
await pause(600);
const before = [done, cpuSeconds(), performance.now()];
times = [];
await pause(Number(seconds) * 1000);
const [operations, cpu, wall] = [done - before[0], cpuSeconds() - before[1], performance.now() - before[2]];
times.sort((a, b) => a - b);
const result = {
  cpuMicroseconds: (cpu / operations) * 1e6,
  perSecond: operations / (wall / 1000),
  p999Milliseconds: times[Math.floor(times.length * 0.999)],
};
process.stdout.write(JSON.stringify(result));
process.exit(0);

function visit() {
  const socket = connect(Number(port), "127.0.0.1");
  socket.setNoDelay(true);
  const batches = Array.from({ length: 40 }, batch);
  let next = 0;
  let heard = 0;
  let since = 0;
  const send = () => {
    since = performance.now();
    socket.write(batches[next++ % 40].bytes);
  };
  socket.on("connect", send);
  socket.on("data", (chunk) => {
    heard += chunk.length;
    const { answer } = batches[0];
    if (heard < answer) return;
    if (heard > answer) throw new Error(`${name}: more bytes than expected`);
    heard = 0;
    done += depth;
    if (times.length < 500_000) times.push(performance.now() - since);
    send();
  });
}

async function fill() {
  const socket = connect(Number(port), "127.0.0.1");
  const sets = Array.from({ length: items }, (_, i) => `set ${keyOf(i)} 0 0 ${size}\r\n${value(size)}\r\n`);
  let heard = 0;
  await new Promise((resolve) => {
    socket.on("data", (chunk) => {
      heard += chunk.length;
      if (heard >= items * 8) resolve();
    });
    socket.write(sets.join(""));
  });
  socket.destroy();
}

/** User and system time of the server process; /proc counts in hundredths of a second. */
function cpuSeconds() {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
