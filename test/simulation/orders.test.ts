/**
 * The promise over all orders of events: the cache's own code on a simulated memcached.
 *
 * Each world is explored completely: every order in which its events can happen, with each thing that may break breaking
 * at every possible point. `EVERFRESH_TEST_SIMULATION=10` also explores larger ones, which takes most of an hour.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { exploreAll } from "./explore.ts";
import { delayed, readerAndWriter, transactorAndReader, twoReadersTwoWriters, world } from "./worlds.ts";
import type { Break, WorldOptions } from "./world-options.ts";

const breaks: readonly Break[] = ["restart", "flush", "evict", "cut", "timeout", "kill", "pause"];

const isLarge = Number(process.env["EVERFRESH_TEST_SIMULATION"] ?? 1) >= 10;

async function holds(t: TestContext, options: WorldOptions): Promise<void> {
  const { complete, states, steps } = await exploreAll(options);
  t.diagnostic(`${states} states, ${steps} steps`);
  assert.ok(complete && states > 50, `${states} states, ${complete ? "complete" : "not complete"}`);
}

function inEveryOrder(what: string, options: WorldOptions): void {
  test(`${what}: fresh in every order`, (t) => holds(t, options));
}

/** Nothing breaks, and then each of these once, at every point; the second list only where there is time. */
function withEach(what: string, options: WorldOptions, kinds: readonly Break[], more: readonly Break[] = []): void {
  inEveryOrder(what, options);
  for (const kind of isLarge ? [...kinds, ...more] : kinds)
    inEveryOrder(`${what}, with one ${kind} at any point`, { ...options, breaks: { [kind]: 1 } });
}

inEveryOrder("a reader, and a writer who reads what it wrote, answers delayed at will", delayed(readerAndWriter));
withEach("a reader, and a writer who reads what it wrote", readerAndWriter, breaks);
withEach(
  "the same with leases by add and cas",
  { ...readerAndWriter, classic: true },
  ["restart", "cut", "timeout", "kill"],
  ["flush", "evict", "pause"],
);
withEach(
  "a tag instead of a key",
  world(["t"], [0, "read"], [1, "writeTag", "read"]),
  ["restart", "evict", "cut", "timeout"],
  ["flush", "kill", "pause"],
);
withEach(
  "with the tier",
  { ...world([], [0, "read", "read"], [1, "write"]), local: true },
  ["restart", "evict"],
  ["flush", "cut", "timeout", "kill", "pause"],
);
inEveryOrder("with the tier, on memcached before 1.6.40, with one restart at any point", {
  ...world([], [0, "read", "read"], [1, "write"]),
  local: true,
  oldServers: true,
  breaks: { restart: 1 },
});
withEach(
  "stale values allowed",
  { ...readerAndWriter, staleWhileRevalidate: true },
  ["evict", "timeout"],
  ["restart", "flush", "cut", "kill", "pause"],
);
inEveryOrder("a refresh", world([], [0, "read"], [1, "refresh", "read"]));
inEveryOrder("a namespace that is cleared", world([], [0, "read"], [1, "clear", "read"]));

// Of two values that were made from the same generations, the second is believed because the first was found right.
for (const write of ["writeTag", "clear", "write"] as const)
  inEveryOrder(`two values of one turn, and a ${write} of the second`, {
    warm: true,
    prompt: "replies and loads",
    tags: ["t"],
    processes: 2,
    actors: [
      { process: 0, does: ["readPair", "readPair"] },
      { process: 1, key: "l", does: [write] },
    ],
  });

// -- who comes while a load runs ---------------------------------------------------------------------------------

const late = { prompt: "replies" } as const;
inEveryOrder("two readers in one process", { ...world([], [0, "read"], [0, "read"], [1, "write"]), ...late });
inEveryOrder("the same with a tag", { ...world(["t"], [0, "read"], [0, "read"], [1, "writeTag"]), ...late });
inEveryOrder("the same with values that are not stored", {
  ...world([], [0, "readUnstored"], [0, "readUnstored"], [1, "write"]),
  ...late,
});
inEveryOrder("the same with pages that show the value", {
  ...world([], [0, "readPage"], [0, "readPage"], [1, "write"]),
  ...late,
});

// -- pages, chunks, pools that change, the outbox ----------------------------------------------------------------

withEach(
  "a page that shows a value, and the writer of the value",
  world([], [0, "readPage"], [1, "write", "readPage"]),
  ["evict"],
  ["restart", "cut", "timeout", "kill"],
);
inEveryOrder("a page that shows a value with a tag", world(["t"], [0, "readPage"], [1, "writeTag", "readPage"]));
withEach(
  "values in chunks",
  { ...readerAndWriter, chunked: true },
  ["evict", "cut", "timeout"],
  ["restart", "flush", "kill", "pause"],
);

const moving = { servers: 2, moves: { from: [0], to: [1] } } as const;
withEach(
  "on two servers, the one before and the one after a pool changes",
  { ...readerAndWriter, ...moving },
  ["timeout"],
  ["restart", "evict", "cut", "kill"],
);
inEveryOrder("the same with a tag", { ...world(["t"], [0, "read"], [1, "writeTag", "read"]), ...moving });
inEveryOrder("the same with a namespace that is cleared", {
  ...world([], [0, "read"], [1, "clear", "read"]),
  ...moving,
});
// `l` lives on the second server in both sets, and the generation beside it is under another key in each.
inEveryOrder("a page that shows a value whose home is the same in both sets, with one cut at any point", {
  warm: true,
  prompt: "replies and loads",
  processes: 2,
  actors: [{ process: 1, key: "l", does: ["readPage", "write"] }],
  servers: 3,
  moves: { from: [0, 1], to: [1, 2] },
  breaks: { cut: 1 },
});
withEach(
  "a reader with a relay, and a writer with the outbox",
  transactorAndReader,
  ["kill", "timeout"],
  ["restart", "cut"],
);

// -- larger ones -------------------------------------------------------------------------------------------------

inEveryOrder("two readers and a writer, three processes", {
  ...twoReadersTwoWriters,
  processes: 3,
  actors: twoReadersTwoWriters.actors.slice(0, 3),
});
inEveryOrder("two readers and two writers, four processes", twoReadersTwoWriters);

if (isLarge) {
  for (const kind of breaks)
    inEveryOrder(`two readers and two writers, with one ${kind} at any point`, {
      ...twoReadersTwoWriters,
      breaks: { [kind]: 1 },
    });
  for (const kind of ["evict", "restart"] as const)
    inEveryOrder(`two readers and two writers, with one kill and one ${kind} at any point`, {
      ...twoReadersTwoWriters,
      breaks: { kill: 1, [kind]: 1 },
    });
  inEveryOrder("two readers in one process, with two timeouts at any point", {
    ...world([], [0, "read"], [0, "read"], [1, "write"]),
    ...late,
    breaks: { timeout: 2 },
  });
  inEveryOrder("two readers, and two writers with the outbox, with one kill at any point", {
    ...world([], [0, "read"], [1, "transact"], [2, "read"], [3, "transact"]),
    outbox: "relayed",
    relays: [0],
    breaks: { kill: 1 },
  });
  inEveryOrder(
    "a reader, a writer and a reader beside the writer, answers delayed at will",
    delayed(world([], [0, "read"], [1, "write"], [1, "read"])),
  );
}
