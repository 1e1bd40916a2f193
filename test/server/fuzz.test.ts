/**
 * Nonsense of every kind, said to a session without a socket: nothing throws, nothing hangs, nothing grows, and a
 * visitor who comes afterwards is served as if nothing had been.
 *
 * `EVERFRESH_TEST_FUZZ=10` goes on for ten times as long, `EVERFRESH_TEST_SEED=<seed>` repeats a run.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#src/clock.ts";
import { Desk } from "#src/server/desk.ts";
import { resolveServerOptions } from "#src/server/options.ts";
import { Session } from "#src/server/session.ts";
import type { ServerOptions } from "everfresh/server";
import { binaryRequest, countExtras, storeExtras } from "../support/binary.ts";
import { chosenSeed, moreFuzzing } from "../support/thoroughness.ts";

const fuzzMs = 1500 * moreFuzzing;

/** Numbers that repeat themselves from a seed (mulberry32). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = Math.trunc(state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const texts = [
  "get a b c\r\n",
  "gets a\r\n",
  "gat 10 a b\r\n",
  "set a 5 0 5\r\nhello\r\n",
  "cas a 5 0 5 12\r\nhello\r\n",
  "append a 0 0 3 noreply\r\nabc\r\n",
  "incr n 18446744073709551615\r\n",
  "set n 0 0 2\r\n10\r\n",
  "delete a noreply\r\n",
  "touch a 100\r\n",
  "mg a v c t f k s h l Oabc N30 R20 q u\r\n",
  "ms a 5 T90 c F3 I C12 MA N30 b k Oxy s E77\r\nhello\r\n",
  "md a I x T30 C1 q k\r\n",
  "ma n N0 J5 D18446744073709551615 MD v t c\r\n",
  "me a b\r\n",
  "mn\r\n",
  "stats items\r\nstats slabs\r\nstats sizes\r\nstats conns\r\nstats detail on\r\nstats detail dump\r\n",
  "stats cachedump 1 0\r\n",
  "lru_crawler metadump all\r\nlru_crawler mgdump hash\r\n",
  "flush_all 2 noreply\r\n",
  "watch fetchers mutations evictions\r\n",
  "verbosity 1\r\nversion\r\nquit\r\n",
];
const requests = [0, 1, 2, 4, 5, 7, 8, 9, 0x0b, 0x0c, 0x0e, 0x10, 0x1c, 0x20, 0x21, 0x50].map((opcode) =>
  binaryRequest({
    opcode,
    key: opcode === 8 || opcode === 0x0b ? "" : "a",
    value: opcode === 1 ? "hello" : "",
    ...(opcode === 1 || opcode === 2 ? { extras: storeExtras() } : {}),
    ...(opcode === 5 ? { extras: countExtras(1n) } : {}),
  }),
);
const seeds: readonly Buffer[] = [...texts.map((text) => Buffer.from(text, "latin1")), ...requests];

/** Some commands in a row, with bytes changed, left out, doubled or made up. */
function nonsense(next: (below: number) => number): Buffer {
  const parts = Array.from({ length: 1 + next(6) }, () => Buffer.from(seeds[next(seeds.length)] ?? []));
  const bytes = Buffer.concat(parts);
  for (let changes = next(6); changes > 0 && bytes.length > 0; changes--) bytes[next(bytes.length)] = next(256);
  if (next(4) === 0) return bytes.subarray(next(bytes.length));
  if (next(4) === 0) return Buffer.concat([bytes, Buffer.alloc(next(5000), next(256))]);
  if (next(10) === 0) return Buffer.from(Array.from({ length: next(300) }, () => next(256)));
  return bytes;
}

function fuzz(options: ServerOptions, seed: number): number {
  const next = generator(seed);
  const desk = new Desk(resolveServerOptions({ limitBytes: 1024 * 1024, ...options }), {
    startedMs: 0,
    port: 0,
    connections: 1,
    totalConnections: 1,
    rejectedConnections: 0,
    bytesRead: 0,
    connectionList: () => [],
    shutdown: () => undefined,
    refreshCertificates: () => false,
  });
  const until = systemClock.monotonic() + fuzzMs / 4;
  let rounds = 0;
  while (systemClock.monotonic() < until) {
    let sent = 0;
    let session: Session | undefined = undefined;
    const outlet = {
      send(bytes: Uint8Array): boolean {
        sent += bytes.length;
        const isSlow = next(20) === 0;
        if (isSlow && session !== undefined) session.blocked = true;
        return !isSlow;
      },
    };
    session = new Session(desk, outlet);
    for (let pieces = 0; pieces < 20 && !session.closing; pieces++) {
      const bytes = nonsense(next);
      for (let from = 0; from < bytes.length && !session.closing;) {
        const to = next(2) === 0 ? bytes.length : Math.min(bytes.length, from + 1 + next(20));
        session.receive(bytes.subarray(from, to));
        for (let turns = 0; session.blocked; turns++) {
          assert.ok(turns < 10_000, `seed ${seed}: no end of blocking`);
          session.blocked = false;
          session.resume();
        }
        from = to;
      }
      assert.ok(session.needs <= 1_100_000 || session.needs <= desk.options.uploadBytes, `needs ${session.needs}`);
      assert.ok(session.end - session.at <= Math.max(session.needs, 8192), `keeps ${session.end - session.at}`);
    }
    assert.ok(sent < 50_000_000);
    session.drop();
    assert.equal(desk.uploading, 0, `seed ${seed}: uploads are counted down`);
    rounds++;
  }
  desk.watch = undefined;
  let heard = "";
  const last = new Session(desk, {
    send(bytes) {
      heard += Buffer.from(bytes).toString("latin1");
      return true;
    },
  });
  if (last.account !== undefined && desk.allows("text")) {
    last.receive(Buffer.from("flush_all\r\nset z 1 0 1\r\nv\r\nget z\r\n"));
    assert.equal(heard, "OK\r\nSTORED\r\nVALUE z 1 1\r\nv\r\nEND\r\n");
  }
  return rounds;
}

const seed = chosenSeed ?? Math.trunc(systemClock.now() % 1_000_000);

for (const [name, options] of [
  ["an open server", {}],
  ["a server that wants a login", { users: [{ name: "a", password: "hello" }], loginAttempts: 1000 }],
  ["a server that drops nothing", { evicts: false, limitBytes: 256 * 1024 }],
  ["a server for binary only", { protocol: "binary" }],
] as const)
  test(`nonsense does no harm to ${name} (seed ${seed})`, () => {
    assert.ok(fuzz(options, seed) > 0);
  });
