// The workloads of the table in docs/client.md. `once` does one operation and checks what it read.
const text = (length, seed) => {
  let value = `${seed}:`;
  while (value.length < length) value += "abcdefghijklmnopqrstuvwxyz0123456789";
  return value.slice(0, length);
};

function expect(condition, what) {
  if (!condition) throw new Error(`wrong answer: ${what}`);
}

const keyed = (count, prefix) => Array.from({ length: count }, (_, at) => `${prefix}:${String(at).padStart(8, "0")}`);

async function fill(client, keys, value) {
  for (let at = 0; at < keys.length; at += 500)
    await Promise.all(keys.slice(at, at + 500).map((key) => client.set(key, value(key))));
}

function gets(concurrency, length, count, stride, options = {}) {
  const read = options.bytes ? "getBytes" : "get";
  const out = options.bytes ? "bytes" : "text";
  return {
    concurrency,
    stride,
    counts: 1,
    servers: options.servers ?? 1,
    allocates: options.allocates ?? false,
    bytes: options.bytes ?? false,
    liveObjects: options.liveObjects ?? 0,
    async prepare(client) {
      const keys = keyed(count, `b${length}`);
      const values = keys.map((key) => text(length, key));
      const byKey = new Map(keys.map((key, at) => [key, values[at]]));
      await fill(client, keys, (key) => byKey.get(key));
      return { keys, values };
    },
    async once(client, { keys, values }, turn) {
      const at = turn % keys.length;
      const result = await client[read](keys[at]);
      const value = client[out]?.(result) ?? result;
      if (options.bytes) expect(value.length === length && value[10] === values[at].charCodeAt(10), keys[at]);
      else if (length > 1000) expect(value.length === length && value.startsWith(keys[at]), keys[at]);
      else expect(value === values[at], keys[at]);
    },
  };
}

/** Zipf over `count` ranks (exponent 0.99), drawn beforehand from a fixed seed so that every contender gets the same. */
function zipf(count, draws) {
  const weights = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) weights[rank] = sum += 1 / (rank + 1) ** 0.99;
  let seed = 12_345;
  return Int32Array.from({ length: draws }, () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    const aim = (seed / 0x7fff_ffff) * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (weights[middle] < aim) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

const body = text(430, "json");

function document(key) {
  return JSON.stringify({ id: key, tags: ["a", "b"], score: 1.5, body });
}

export const workloads = {
  "get 100 B, 64 concurrent": gets(64, 100, 1000, 20),
  "get 100 B, 1,024 concurrent": gets(1024, 100, 1000, 5),
  "set 1 KB, 64 concurrent": {
    concurrency: 64,
    stride: 20,
    counts: 1,
    servers: 1,
    async prepare() {
      const keys = keyed(1000, "s");
      return { keys, value: text(1024, "set") };
    },
    async once(client, { keys, value }, turn) {
      await client.set(keys[turn % keys.length], value);
    },
  },
  "get 64 KB as text, 16 concurrent": gets(16, 65_536, 64, 2),
  "get 64 KB as bytes, 16 concurrent": gets(16, 65_536, 64, 2, { bytes: true }),
  // Below 8 MB of heap V8 collects dead buffers without marking the whole heap; a program of any size is above that.
  "get 64 KB as bytes, 16 concurrent, 100,000 live objects": gets(16, 65_536, 64, 2, {
    bytes: true,
    liveObjects: 100_000,
  }),
  "getMany of 100 keys, 8 concurrent (keys/s)": {
    concurrency: 8,
    stride: 2,
    counts: 100,
    servers: 1,
    async prepare(client) {
      const keys = keyed(1000, "m");
      await fill(client, keys, (key) => text(100, key));
      return { batches: Array.from({ length: 10 }, (_, at) => keys.slice(at * 100, at * 100 + 100)) };
    },
    async once(client, { batches }, turn) {
      const keys = batches[turn % batches.length];
      const result = await client.getMany(keys);
      const found = client.many?.(result) ?? result;
      expect((found.size ?? found.length) === 100, "count");
      const last = Array.isArray(found) ? found[99] : found.get(keys[99]);
      expect(last.startsWith(keys[99]), keys[99]);
    },
  },
  "90/10 get/set, zipf over 100 k keys, 500 B JSON, 64 concurrent": {
    concurrency: 64,
    stride: 10,
    counts: 1,
    servers: 1,
    async prepare(client) {
      const keys = keyed(100_000, "z");
      await fill(client, keys, document);
      return { keys, ranks: zipf(100_000, 200_000) };
    },
    async once(client, { keys, ranks }, turn) {
      const key = keys[ranks[turn % ranks.length]];
      if (turn % 10 === 9) {
        await client.set(key, document(key));
        return;
      }
      const result = await client.get(key);
      expect(JSON.parse(client.text?.(result) ?? result).id === key, key);
    },
  },
  "get 100 B, 64 concurrent, ketama over 3 servers": gets(64, 100, 1000, 20, { servers: 3 }),
  "get 100 B, one at a time": gets(1, 100, 1000, 100),
  "bytes allocated per get (100 B, 64 concurrent)": gets(64, 100, 1000, 20, { allocates: true }),
};
