// How fast are serializers that keep types, and what do they keep? The choice is written down in
// docs/decisions/serializer.md.
import { isDeepStrictEqual } from "node:util";
import { deserialize, serialize } from "node:v8";

const rows = Array.from({ length: 200 }, (_, id) => ({
  id,
  title: `Row number ${id}`,
  text: `some text of a row that is a bit longer ${id}`,
  done: id % 2 === 0,
}));

const shapes = {
  "small object, JSON only": { id: 7, title: "Blue in Green", tags: ["jazz", "modal"], seconds: 337 },
  "20 KB of rows, JSON only": { rows },
  "20 KB of rows with dates": { rows: rows.map((row) => ({ ...row, at: new Date(row.id * 1e9) })) },
  "Map, Set, bigint, undefined": { map: new Map([["a", new Set([1n, 2n])]]), nothing: undefined, at: new Date(0) },
  "64 KB of bytes": { bytes: new Uint8Array(65_536).fill(7) },
};

export async function serializers(say) {
  const [msgpack, devalue, superjson, everfresh] = await Promise.all([
    import("@msgpack/msgpack"),
    import("devalue"),
    import("superjson"),
    import("../../dist/cache/serializer.js"),
  ]);
  const all = {
    JSON: { encode: (value) => Buffer.from(JSON.stringify(value)), decode: (bytes) => JSON.parse(bytes.toString()) },
    v8: { encode: serialize, decode: deserialize },
    everfresh: {
      encode(value) {
        const { format, bytes } = everfresh.encode(value, undefined);
        return { format, bytes: Buffer.from(bytes) };
      },
      decode: ({ format, bytes }) => everfresh.decode(format, bytes, undefined),
    },
    msgpack: { encode: (value) => msgpack.encode(value), decode: (bytes) => msgpack.decode(bytes) },
    devalue: {
      encode: (value) => Buffer.from(devalue.stringify(value)),
      decode: (bytes) => devalue.parse(bytes.toString()),
    },
    superjson: {
      encode: (value) => Buffer.from(superjson.default.stringify(value)),
      decode: (bytes) => superjson.default.parse(bytes.toString()),
    },
  };
  for (const [shape, value] of Object.entries(shapes)) {
    say(`\nSerializers: ${shape}`);
    for (const [name, serializer] of Object.entries(all)) {
      try {
        const bytes = serializer.encode(value);
        const kept = isDeepStrictEqual(serializer.decode(bytes), value);
        const size = (bytes.bytes ?? bytes).length;
        const encodeUs = time(() => serializer.encode(value));
        const decodeUs = time(() => serializer.decode(bytes));
        say(
          `  ${name.padEnd(10)} encode ${encodeUs.toFixed(2).padStart(8)} us   decode ${decodeUs.toFixed(2).padStart(8)} us   ${String(size).padStart(6)} bytes   ${kept ? "kept" : "CHANGED"}`,
        );
      } catch (error) {
        say(`  ${name.padEnd(10)} refuses: ${error.message}`);
      }
    }
  }
}

function time(work) {
  const forMs = 120;
  for (const until = performance.now() + forMs / 3; performance.now() < until;) work();
  let calls = 0;
  const began = performance.now();
  while (performance.now() - began < forMs) {
    work();
    calls++;
  }
  return ((performance.now() - began) * 1000) / calls;
}
