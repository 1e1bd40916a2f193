// Which share of reads hits, at equal memory? A zipfian trace with mixed sizes, said to memcached and to our server:
// get; on a miss set. The trace is longer than memory can hold; the same seed for both.
//
//   node bench/server/hit-ratio.mjs [megabytes] [keys] [requests]      (after npm run build)
import { connect } from "node:net";
import { startMemcached, startOurs } from "./children.mjs";

const megabytes = Number(process.argv[2] ?? 64);
const keys = Number(process.argv[3] ?? 600_000);
const requests = Number(process.argv[4] ?? 1_500_000);
const batchSize = 200;

/** A generator of numbers in [0, 1) that repeats itself from a seed (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function zipf(count, exponent) {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) sums[rank] = sum += 1 / (rank + 1) ** exponent;
  return (point) => {
    const wanted = point * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

/** The size of a key's value: mostly small, one in ten up to 4 KB. */
function sizeOf(key) {
  return 40 + ((key * 2654435761) % 997) * (key % 10 === 0 ? 4 : 0.6);
}

async function trace(port, exponent, scans) {
  const random = generator(7);
  const rank = zipf(keys, exponent);
  const socket = connect(port, "127.0.0.1");
  let text = "";
  let wake;
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    if (text.endsWith("MN\r\n")) wake();
  });
  const said = async (bytes) => {
    text = "";
    const heard = new Promise((resolve) => {
      wake = resolve;
    });
    socket.write(bytes);
    await heard;
    return text;
  };
  let hits = 0;
  let asked = 0;
  let fresh = 0;
  for (let i = 0; i < requests; i += batchSize) {
    const chosen = Array.from({ length: batchSize }, () =>
      random() < scans ? `once${fresh++}` : `key${rank(random())}`,
    );
    const answer = await said(`${chosen.map((key) => `mg ${key} k s\r\n`).join("")}mn\r\n`);
    const lines = answer.split("\r\n");
    let sets = "";
    for (const [at, key] of chosen.entries()) {
      const hit = lines[at].startsWith("HD");
      // The first half fills memory; only the second counts.
      if (i > requests / 2) {
        asked++;
        if (hit) hits++;
      }
      const length = Math.floor(sizeOf(Number(key.replace(/\D/g, ""))));
      if (!hit) sets += `ms ${key} ${length} q\r\n${"v".repeat(length)}\r\n`;
    }
    if (sets !== "") await said(`${sets}mn\r\n`);
  }
  socket.destroy();
  return hits / asked;
}

for (const [name, exponent, scans] of [
  ["zipf 0.9", 0.9, 0],
  ["zipf 1.0", 1, 0],
  ["zipf 1.0, one in five keys never again", 1, 0.2],
]) {
  const ratios = [];
  for (const start of [startMemcached, startOurs]) {
    const server = await start(["-m", String(megabytes)]);
    ratios.push(await trace(server.port, exponent, scans));
    server.stop();
  }
  process.stdout.write(
    `${name}: memcached ${(ratios[0] * 100).toFixed(2)} %, ours ${(ratios[1] * 100).toFixed(2)} %\n`,
  );
}
