/** The binary protocol, request by request: memcached and our server must answer with the same bytes. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type CacheServer, createServer } from "everfresh/server";
import { type BinaryParts, binaryRequest, countExtras, storeExtras, timeExtras } from "../support/binary.ts";
import { type RealMemcached, startMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";
import { talk } from "../support/talk.ts";

const noop: BinaryParts = { opcode: 0x0a, opaque: 0x7e57 };
const end = binaryRequest({ ...noop, magic: 0x81 }).toString("latin1");

/** What is said on one connection, and whether the server hangs up then. */
interface Scene {
  readonly name: string;
  readonly says: readonly BinaryParts[];
  readonly hangsUp?: true;
  /** Our answer, where it is different on purpose: bytes that come before the no-op's. */
  readonly ours?: RegExp;
}

const set = { opcode: 0x01, extras: storeExtras(5) };
const key = "a";
const scenes: readonly Scene[] = [
  {
    name: "set and get",
    says: [
      { ...set, key, value: "v" },
      { opcode: 0, key },
      { opcode: 0x0c, key },
    ],
  },
  { name: "misses, with the key where it was asked for", says: [0, 0x0c, 0x1d, 0x23].map((opcode) => missing(opcode)) },
  { name: "quiet misses say nothing", says: [0x09, 0x0d, 0x1e, 0x24].map((opcode) => missing(opcode)) },
  { name: "quiet hits are answered", says: [0x09, 0x0d].map((opcode) => ({ opcode, key })) },
  { name: "add of what exists", says: [{ opcode: 2, key, value: "w", extras: storeExtras() }] },
  { name: "quiet add of what exists", says: [{ opcode: 0x12, key, value: "w", extras: storeExtras() }] },
  { name: "replace of what does not", says: [{ opcode: 3, key: "n", value: "w", extras: storeExtras() }] },
  { name: "append of what does not", says: [{ opcode: 0x0e, key: "n", value: "w" }] },
  {
    name: "append and prepend",
    says: [
      { opcode: 0x0e, key, value: "w" },
      { opcode: 0x0f, key, value: "u" },
      { opcode: 0x19, key, value: "x" },
      { opcode: 0x1a, key, value: "t" },
      { opcode: 0, key },
    ],
  },
  { name: "a CAS that is not the item's", says: [1, 2, 3].map((opcode) => ({ ...set, opcode, key, cas: 99n })) },
  { name: "a CAS of nothing", says: [1, 2, 3].map((opcode) => ({ ...set, opcode, key: "n", cas: 99n })) },
  { name: "append with another CAS", says: [{ opcode: 0x0e, key, value: "w", cas: 99n }] },
  {
    name: "delete",
    says: [
      { opcode: 4, key, cas: 99n },
      { opcode: 4, key },
      { opcode: 4, key },
      { opcode: 0x14, key },
    ],
  },
  {
    name: "quiet set",
    says: [
      { ...set, opcode: 0x11, key, value: "v" },
      { opcode: 0, key },
    ],
  },
  {
    name: "what is too large drops the old value where it is a set, and keeps it where it is an add or a replace",
    says: [2, 3, 0x12, 0x13, 1].flatMap((opcode) => [
      { opcode, key, value: Buffer.alloc(1024 * 1024), extras: storeExtras() },
      { opcode: 0, key },
      { ...set, opcode: 0x11, key, value: "v" },
    ]),
  },
  { name: "count what is no number", says: [{ opcode: 5, key, extras: countExtras(1n) }] },
  {
    name: "count",
    says: [
      { opcode: 5, key: "c", extras: countExtras(1n, 5n) },
      { opcode: 5, key: "c", extras: countExtras(7n) },
      { opcode: 6, key: "c", extras: countExtras(2n) },
      { opcode: 0, key: "c" },
      { opcode: 6, key: "c", extras: countExtras(100n) },
      { opcode: 0x15, key: "c", extras: countExtras(2n ** 64n - 1n) },
      { opcode: 5, key: "c", extras: countExtras(2n) },
      { opcode: 0, key: "c" },
      { opcode: 5, key: "c", extras: countExtras(2n), cas: 99n },
      { opcode: 5, key: "d", extras: countExtras(1n, 5n, 0xffffffff) },
      { opcode: 5, key: "big", extras: countExtras(1n, 2n ** 63n + 9n) },
      { opcode: 5, key: "big", extras: countExtras(1n) },
    ],
  },
  {
    name: "touch",
    says: [0x1c, 0x1d, 0x23, 0x24].map((opcode) => ({ opcode, key, extras: timeExtras(100) })),
  },
  {
    name: "an expiry of -1 is the year 2106",
    says: [
      { opcode: 0x1c, key, extras: timeExtras(0xffffffff) },
      { opcode: 0, key },
    ],
  },
  {
    name: "an empty value",
    says: [
      { ...set, key: "e" },
      { opcode: 0, key: "e" },
      { opcode: 0x0c, key: "e" },
    ],
  },
  {
    name: "keys may hold any byte",
    says: [
      { ...set, key: "\0 \r\n\xff" },
      { opcode: 0x0c, key: "\0 \r\n\xff" },
    ],
  },
  { name: "the largest key", says: [missing(0x0c, "k".repeat(250))] },
  {
    name: "too large to set",
    says: [
      { ...set, key, value: Buffer.alloc(1_100_000) },
      { opcode: 0, key },
    ],
  },
  { name: "too large to add", says: [{ ...set, opcode: 2, key, value: Buffer.alloc(1_100_000) }] },
  {
    name: "too large to append",
    says: [
      { ...set, key: "l", value: Buffer.alloc(1_000_000) },
      { opcode: 0x0e, key: "l", value: Buffer.alloc(100_000) },
    ],
  },
  { name: "statistics that are not there", says: [{ opcode: 0x10, key: "nope" }] },
  {
    name: "numbers by prefix",
    says: [
      { opcode: 0x10, key: "detail on" },
      { ...set, key: "pre:k", value: "v" },
      { opcode: 0, key: "pre:k" },
      { opcode: 0x1c, key: "pre:k", extras: timeExtras(100) },
      { opcode: 4, key: "pre:k" },
      { opcode: 0x10, key: "detail dump" },
      { opcode: 0x10, key: "detail off" },
      { opcode: 0, key: "pre:k" },
      { opcode: 0x10, key: "detail dump" },
      { opcode: 0x10, key: "reset" },
      { opcode: 0x10, key: "detail dump" },
      { opcode: 0x10, key: "detail x" },
    ],
  },
  { name: "resetting statistics", says: [{ opcode: 0x10, key: "reset" }] },
  { name: "flush", says: [{ opcode: 8 }, { opcode: 0x18 }, { opcode: 8, extras: timeExtras(0) }, { opcode: 0, key }] },
  { name: "SASL where nobody needs it", says: [{ opcode: 0x20 }] },
  { name: "an unknown command without a body", says: [{ opcode: 0x50 }, { opcode: 0x1b }, { opcode: 0x30 }] },
  { name: "quit", says: [{ opcode: 7 }], hangsUp: true },
  { name: "quiet quit", says: [{ opcode: 0x17 }], hangsUp: true },
  { name: "set without extras", says: [{ opcode: 1, key, value: "v" }], hangsUp: true },
  { name: "get with extras", says: [{ opcode: 0, key, extras: timeExtras(0) }], hangsUp: true },
  { name: "get with a value", says: [{ opcode: 0, key, value: "v" }], hangsUp: true },
  { name: "get without a key", says: [{ opcode: 0 }], hangsUp: true },
  { name: "set without a key", says: [{ ...set, value: "v" }], hangsUp: true },
  { name: "a key that is too long", says: [{ opcode: 0, key: "k".repeat(251) }], hangsUp: true },
  { name: "version with a key", says: [{ opcode: 0x0b, key }], hangsUp: true },
  { name: "no-op with a key", says: [{ opcode: 0x0a, key }], hangsUp: true },
  { name: "incr with a value", says: [{ opcode: 5, key, value: "v", extras: countExtras(1n) }], hangsUp: true },
  { name: "stat with extras", says: [{ opcode: 0x10, key, extras: timeExtras(0) }], hangsUp: true },
  { name: "another magic byte", says: [{ opcode: 0x0a }, { opcode: 0x0a, magic: 0x81 }], hangsUp: true },
];

function missing(opcode: number, name = "nope"): BinaryParts {
  return opcode >= 0x1c ? { opcode, key: name, extras: timeExtras(0) } : { opcode, key: name };
}

/** All that one server answers to one scene. */
async function play(port: number, { says, hangsUp }: Scene, bytewise: boolean): Promise<string> {
  const conversation = await talk(port);
  const bytes = Buffer.concat([...says, noop].map((parts) => binaryRequest(parts)));
  if (!bytewise || bytes.length > 10_000) conversation.send(bytes);
  else
    for (const byte of bytes) {
      conversation.send(Buffer.of(byte));
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  const heard = hangsUp === true ? await conversation.hearAll() : await conversation.hearUntil(end);
  conversation.close();
  return heard;
}

suite("memcached and our server answer the same", needs("memcached"), () => {
  let real: RealMemcached;
  let ours: CacheServer;
  before(async () => {
    real = await startMemcached();
    ours = await createServer().listen();
  });
  after(async () => {
    await real.stop();
    await ours.close();
  });

  for (const scene of scenes)
    test(scene.name, async () => {
      assert.equal(await play(ours.port, scene, false), await play(real.port, scene, false));
    });
});

suite("our server answers byte by byte as it does at once", () => {
  for (const scene of scenes)
    test(scene.name, async () => {
      const heard = await Promise.all(
        [false, true].map(async (bytewise) => {
          const server = await createServer().listen();
          try {
            await play(server.port, { name: "", says: [{ ...set, key, value: "v" }] }, false);
            return await play(server.port, scene, bytewise);
          } finally {
            await server.close();
          }
        }),
      );
      assert.equal(heard[1], heard[0]);
    });
});

test("an unknown command with a body is answered, its body skipped, and the conversation goes on", async () => {
  const server = await createServer().listen();
  const heard = await play(
    server.port,
    { name: "", says: [{ opcode: 0x50, key: "k", value: "v".repeat(100_000) }] },
    false,
  );
  assert.match(heard, /Unknown command/);
  assert.ok(heard.endsWith(end));
  await server.close();
});

test("a key longer than its body is refused without waiting for more", async () => {
  const server = await createServer().listen();
  const scene: Scene = { name: "", says: [{ opcode: 0, keyLength: 10, bodyLength: 5 }], hangsUp: true };
  assert.match(await play(server.port, scene, false), /Unknown command/);
  await server.close();
});
