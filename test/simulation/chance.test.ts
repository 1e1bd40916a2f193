/**
 * The promise in large worlds: chance picks the order of events, by a seed that the name of each test tells.
 *
 * `EVERFRESH_TEST_SEED=<seed>` repeats a run, `EVERFRESH_TEST_SIMULATION=10` makes ten times as many.
 */
import { test } from "node:test";
import { exploreAtRandom } from "./explore.ts";
import type { Actor, WorldOptions } from "./world-options.ts";
import { chosenSeed, moreSimulation } from "../support/thoroughness.ts";

/** Each process reads from two places at once and writes in every way there is. */
function crowd(processes: number, key?: string): Actor[] {
  const named = key === undefined ? {} : { key };
  return Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, does: ["read", "read", "read"], ...named },
    { process, does: ["read", "read"], ...named },
    { process, does: ["write", "writeTag", "read", "refresh", "clear"], ...named },
  ]);
}

const everything = { restart: 1, cut: 2, timeout: 2, evict: 2, flush: 1, pause: 1 };
const base = { processes: 3, servers: 2, tags: ["t", "u"], actors: crowd(3) } as const;

/** Everybody writes through the outbox. */
function transactors(processes: number): Actor[] {
  return Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, does: ["read", "read", "read", "read"] },
    { process, does: ["transact", "read", "transact"] },
  ]);
}

const withOutbox: WorldOptions = {
  ...base,
  tags: ["t"],
  actors: transactors(3),
  outbox: "relayed",
  breaks: { ...everything, kill: 2 },
  earlyTimers: 10,
};

/** Pages that show `k`, and values that are read beside them. */
function pages(processes: number): Actor[] {
  return Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, does: ["readPage", "readPage", "readPage"] },
    { process, does: ["read", "readPage", "readUnstored"] },
    { process, does: ["write", "readPage", "writeTag", "refresh", "clear"] },
  ]);
}

/** One actor puts values that are nowhere else; everybody reads them, and pages that show them. */
function putters(processes: number): Actor[] {
  const readers = Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, key: "p", does: ["get", "readShown", "readShown", "get"] },
    { process, key: "p", does: ["readShown", "readShown", "readShown"] },
  ]);
  return [...readers, { process: 0, key: "p", does: ["put", "raise", "put", "readShown", "raise", "put"] }];
}

/** Who names the tags reads beside who does not, and beside pages. */
function careless(processes: number): Actor[] {
  return Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, does: ["readBare", "read", "readPage", "readBare"] },
    { process, does: ["readPage", "readBare", "readMany", "read"] },
    { process, does: ["writeTag", "write", "read", "writeTag"] },
  ]);
}

/** Values whose time is soon over, loaders that fail, and who only looks at them or gives them time. */
function relaxed(processes: number): Actor[] {
  return Array.from({ length: processes }, (_, process) => process).flatMap((process): Actor[] => [
    { process, does: ["read", "rest", "read", "look", "rest", "read"] },
    { process, does: ["readPage", "rest", "readFailing", "read", "rest", "readPage"] },
    {
      process,
      does: ["write", "read", "rest", "writeTag", "look", "touch", "rest", "delete", "read", "write", "look"],
    },
  ]);
}

const relaxing: WorldOptions = {
  ...base,
  actors: relaxed(3),
  relaxed: { ttl: "4s", staleWhileRevalidate: "3s", staleIfError: "6s", refreshAhead: "2s" },
  breaks: { evict: 2, flush: 1, pause: 1 },
  countsLoads: false,
};

/** A server is taken out of the pool and another one comes. */
const changing: WorldOptions = {
  ...base,
  servers: 3,
  moves: { from: [0, 1], to: [1, 2] },
  breaks: everything,
  earlyTimers: 5,
};

const worlds: Readonly<Record<string, WorldOptions>> = {
  "nothing breaks": base,
  "nothing breaks, with the tier": { ...base, local: true },
  "everything breaks": { ...base, breaks: everything },
  "everything breaks, with the tier": { ...base, breaks: everything, local: true },
  "everything breaks, and time passes at odd moments": { ...base, breaks: everything, local: true, earlyTimers: 20 },
  "processes are killed": { ...base, breaks: { ...everything, kill: 2 }, earlyTimers: 20 },
  "stale values are allowed": { ...base, breaks: everything, earlyTimers: 5, staleWhileRevalidate: true },
  "relaxations of every kind": relaxing,
  "relaxations of every kind, with the tier": { ...relaxing, local: true },
  "relaxations of every kind, that are long": {
    ...relaxing,
    relaxed: { ttl: "1m", staleWhileRevalidate: "20s", staleIfError: "1m", refreshAhead: "1m", timeout: "1s" },
  },
  "only staleIfError": { ...relaxing, local: true, relaxed: { ttl: "4s", staleIfError: "4s", timeout: "1s" } },
  "relaxations of every kind, and everything breaks": {
    ...relaxing,
    breaks: { ...everything, kill: 1 },
    earlyTimers: 10,
  },
  "leases by add and cas": { ...base, classic: true, breaks: { ...everything, kill: 1 }, earlyTimers: 5 },
  "leases by add and cas, with the tier": { ...base, classic: true, local: true, breaks: everything },
  "the outbox and its relays, processes are killed": withOutbox,
  "pages that show values": { ...base, actors: pages(3), breaks: { ...everything, kill: 1 }, earlyTimers: 5 },
  "values in chunks": { ...base, chunked: true, local: true, breaks: { ...everything, kill: 1 }, earlyTimers: 5 },
  "several connections": { ...base, lanes: 2, breaks: everything, earlyTimers: 5 },
  "several connections, pages that show values": {
    ...base,
    lanes: 3,
    actors: pages(3),
    breaks: everything,
    earlyTimers: 5,
  },
  "several connections, leases by add and cas, in chunks": {
    ...base,
    lanes: 2,
    classic: true,
    chunked: true,
    breaks: everything,
  },
  "values that are put": { ...base, actors: putters(3), breaks: { evict: 2, flush: 1 } },
  "values that are put, on several connections, with the tier": { ...base, lanes: 3, local: true, actors: putters(3) },
  "values that are put, in chunks": { ...base, chunked: true, actors: putters(3), breaks: { evict: 1 } },
  "values that are put, leases by add and cas": { ...base, classic: true, actors: putters(3), breaks: { evict: 1 } },
  "readers who name no tags": { ...base, actors: careless(3), breaks: everything, earlyTimers: 5, countsLoads: false },
  "readers who name no tags, with the tier": { ...base, local: true, actors: careless(3), countsLoads: false },
  "values that are not asked about for a while": {
    ...base,
    local: true,
    localMaxAgeMs: 500,
    actors: [...crowd(3), ...pages(2)],
    breaks: everything,
    earlyTimers: 20,
  },
  "many keys at once": {
    ...base,
    actors: [
      ...crowd(2, "l"),
      ...[0, 1, 2].map((process): Actor => ({ process, does: ["readMany", "readMany", "readPage"] })),
    ],
    breaks: everything,
    earlyTimers: 5,
  },
  "a pool that changes": { ...changing, actors: [...crowd(3, "k"), ...crowd(3, "l")] },
  "a pool that changes, pages that show values": { ...changing, actors: pages(3) },
  "a pool that changes, values that are put": { ...changing, breaks: { evict: 1 }, actors: putters(3) },
  "two keys of one turn": {
    ...base,
    actors: [
      ...crowd(2, "l"),
      ...[0, 1, 2].map((process): Actor => ({ process, does: ["readPair", "readPair", "readPair"] })),
    ],
    breaks: everything,
    earlyTimers: 5,
  },
  "two keys": { ...base, actors: [...crowd(2, "k"), ...crowd(2, "l")], breaks: everything, earlyTimers: 5 },
};

const runs = 40 * moreSimulation;
const firstSeed = chosenSeed ?? Math.floor(Math.random() * 1e9);

for (const [name, options] of Object.entries(worlds))
  test(`three processes, ${name}: fresh in ${runs} random orders from seed ${firstSeed}`, async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) await exploreAtRandom(options, seed);
  });
