/**
 * The promise over all orders of events: the cache's own code on a simulated memcached.
 *
 * Each world is explored completely: every order in which its events can happen, with each thing that may break breaking
 * at every possible point. `EVERFRESH_TEST_SIMULATION=10` also explores larger ones, which takes most of an hour.
 */
import { breaks, inEveryOrder, isLarge, withEach } from "./every-order.ts";
import { delayed, readerAndWriter, twoReadersTwoWriters, world } from "./worlds.ts";

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
