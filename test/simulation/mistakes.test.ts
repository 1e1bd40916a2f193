/**
 * The mistakes of `variants.ts`, and two of the world's own: each must be caught, always in the same place.
 *
 * The world beside each is a small one in which it shows; it is explored in order until it does.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exploreAll, exploreAtRandom, Found } from "./explore.ts";
import { variants } from "./variants.ts";
import type { WorldOptions } from "./world-options.ts";
import { delayed, readerAndWriter, transactorAndReader, world } from "./worlds.ts";

const stale = /stale read/;
const lost = /an invalidation of k was lost|stale read/;

/** Somebody may come while a load runs. */
function late(options: WorldOptions): WorldOptions {
  return { ...options, prompt: "replies" };
}

const twoInOneProcess = world([], [0, "read"], [0, "read"], [1, "write"]);
const unstored = world([], [0, "readUnstored"], [0, "readUnstored"], [1, "write"]);
const readerAndTagWriter = world(["t"], [0, "read"], [1, "writeTag", "read"]);
const often = [0, "read", "read", "read", "read", "read", "read"] as const;
const readsTwice = world([], [0, "read", "read"], [1, "write"]);
/** A read after the write has ended leaves time for the kill. */
const transactsAndReads = world([], [0, "read", "read"], [1, "transact"]).actors;

const mistakes: readonly (readonly [string, keyof typeof variants, WorldOptions, RegExp])[] = [
  ["filling without a lease", "fillsWithoutLease", readerAndWriter, lost],
  ["reading the tags after the load", "readsTagsAfterTheLoad", delayed(readerAndTagWriter), lost],
  [
    "reading the namespace's generation after the load",
    "readsTheNamespaceAfterTheLoad",
    delayed(world([], [0, "read"], [1, "clear", "read"])),
    lost,
  ],
  // Alone it is not enough: a value that carries the namespace's generation from before the restart is not believed.
  [
    "keeping a lease over a reconnect",
    "keepsLeasesOverAReconnect",
    { ...readerAndWriter, breaks: { restart: 1 } },
    lost,
  ],
  [
    "repeating a generation",
    "repeatsGenerations",
    { ...world(["t"], [0, "writeTag", "read"], [1, "writeTag"]), breaks: { cut: 1 }, earlyTimers: 1 },
    lost,
  ],
  ["giving the value of a refused fill to late callers", "trustsRefusedFills", late(twoInOneProcess), stale],
  ["giving a value that is not stored to late callers", "sharesUnstored", late(unstored), stale],
  [
    "not comparing the generations again for late callers",
    "comparesGenerationsOnce",
    late(world(["t"], [0, "read"], [0, "read"], [1, "writeTag", "writeTag"])),
    stale,
  ],
  [
    "joining a load that somebody may know is old",
    "sharesLoads",
    late(world([], [0, "read"], [0, "write", "read"])),
    stale,
  ],
  ["acknowledging an invalidation before it is confirmed", "doesNotWait", readsTwice, stale],
  [
    "using an answer about a generation again",
    "reusesGenerations",
    world(["t"], [0, "read", "read"], [1, "writeTag"]),
    stale,
  ],
  ["serving the tier without asking", "trustsTheTier", { ...readsTwice, local: true }, lost],
  [
    "computing although somebody else holds the lease",
    "ignoresLeases",
    world([], [0, "read"], [1, "read"]),
    /2 loads of k for 0 invalidations/,
  ],
  [
    "leaving the generation beside a key that is invalidated",
    "forgetsWhatIsBeside",
    world([], [0, "readPage"], [1, "write", "readPage"]),
    /stale readPage/,
  ],
  [
    "removing a key and what is beside it at once on two connections",
    "trustsTheOrder",
    { ...world([], [0, "readPage", "readPage"], [1, "write"]), lanes: 2 },
    /stale readPage|was lost/,
  ],
  [
    "keeping the refresh of a stale value that one has won by looking at it",
    "keepsWhatItWon",
    { ...world([], [0, "read", "write", "look"], [1, "read"]), relaxed: { staleWhileRevalidate: "1m" } },
    /nobody computes k/,
  ],
  [
    "changing the pool without naming the other servers",
    "forgetsOtherServers",
    { ...readerAndWriter, servers: 2, moves: { from: [0], to: [1] } },
    lost,
  ],
];

/** Found by chance, from seed 1 on: going through every order up to the wrong one takes longer. */
const byChance: readonly (readonly [string, keyof typeof variants, WorldOptions])[] = [
  [
    "joining a lookup that is on its way",
    "joinsLookups",
    delayed(world([], often, often, often, often, [1, "write", "write", "write"], [2, "write", "write", "write"])),
  ],
  [
    "joining a fill that is on its way",
    "joinsFills",
    delayed(world([], [0, "read", "read"], [0, "read", "read"], [0, "read", "read"], [1, "write", "write"])),
  ],
  [
    "acknowledging by an attempt that was sent before",
    "joinsInvalidations",
    delayed(world([], [0, "write", "write"], [0, "write", "write"], [1, "read", "read", "read"])),
  ],
  [
    "believing a number in the tier over a restart",
    "trustsNumbers",
    { ...world([], [0, "read", "read", "read"], [1, "write", "read", "read"]), local: true, breaks: { restart: 1 } },
  ],
  [
    "naming chunks as before",
    "repeatsChunkIds",
    { ...world([], [0, "read", "read"], [1, "write", "read"]), chunked: true, breaks: { cut: 1 } },
  ],
  [
    "removing the rows of the outbox before the cache has confirmed",
    "removesRowsTooEarly",
    { ...transactorAndReader, actors: transactsAndReads, breaks: { kill: 1 } },
  ],
];

for (const [name, variant, options] of byChance)
  mustBeCaught(name, () => manyAtRandom({ ...options, countsLoads: false, variant: variants[variant] }), lost);

for (const [name, variant, options, message] of mistakes)
  mustBeCaught(name, () => exploreAll({ ...options, variant: variants[variant] }, 50_000), message);

mustBeCaught(
  "invalidating before the commit",
  () => exploreAll(world([], [0, "read"], [1, "tooEarly", "read"]), 50_000),
  lost,
);

mustBeCaught(
  "an outbox whose relays never look",
  () =>
    exploreAll(
      { ...transactorAndReader, actors: transactsAndReads, outbox: "without relays", breaks: { kill: 1 } },
      50_000,
    ),
  lost,
);

async function manyAtRandom(options: WorldOptions): Promise<void> {
  for (let seed = 1; seed <= 20_000; seed += 1) await exploreAtRandom(options, seed);
}

function mustBeCaught(name: string, explore: () => Promise<unknown>, message: RegExp): void {
  test(`${name} would be caught`, () =>
    assert.rejects(explore, (error: Error) => {
      assert.ok(error instanceof Found, error.stack);
      assert.match(error.message, message);
      return true;
    }));
}
