/**
 * Every order of events, as in `orders.test.ts`, of what is made from leases and tags: pages, chunks, changing pools, the
 * outbox.
 */
import { inEveryOrder, isLarge, withEach } from "./every-order.ts";
import type { WorldOptions } from "./world-options.ts";
import { readerAndWriter, transactorAndReader, world } from "./worlds.ts";

withEach(
  "a page that shows a value, and the writer of the value",
  world([], [0, "readPage"], [1, "write", "readPage"]),
  ["evict"],
  ["restart", "cut", "timeout", "kill"],
);
inEveryOrder("a page that shows a value with a tag", world(["t"], [0, "readPage"], [1, "writeTag", "readPage"]));
withEach(
  "the same on two connections to each server",
  { ...world([], [0, "readPage"], [1, "write", "readPage"]), lanes: 2 },
  ["evict"],
  ["restart", "cut", "timeout", "kill"],
);
// They are on two servers, which are not cleared at the same time.
inEveryOrder("a page that shows a value from another server, and a namespace that is cleared", {
  ...world([], [0, "read", "readPage"], [1, "clear", "readPage"]),
  servers: 2,
});
inEveryOrder("a page and who names no tags, in one process, and who invalidates the tag", {
  ...world(["t"], [0, "readBare"], [0, "readPage"], [1, "writeTag"]),
  countsLoads: false,
});
const put = { warm: true, prompt: "replies and loads", processes: 2 } as const;
withEach(
  "a page that shows what is looked for, and who puts it",
  {
    ...put,
    actors: [
      { process: 0, key: "p", does: ["readShown"] },
      { process: 1, key: "p", does: ["put", "readShown"] },
    ],
  },
  ["evict", "timeout"],
  ["restart", "cut", "kill"],
);
const putTwice: WorldOptions = {
  ...put,
  chunked: true,
  actors: [
    { process: 0, key: "p", does: ["readShown"] },
    { process: 1, key: "p", does: ["put", "raise"] },
  ],
};
inEveryOrder("the same in chunks, and the value is put twice", putTwice);
if (isLarge)
  inEveryOrder("the same in chunks on two connections, and the value is put twice", { ...putTwice, lanes: 2 });
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
