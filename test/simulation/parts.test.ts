/** Every order of events, as in `orders.test.ts`, of what is made from leases and tags: pages, chunks, changing pools, the outbox. */
import { inEveryOrder, withEach } from "./every-order.ts";
import { readerAndWriter, transactorAndReader, world } from "./worlds.ts";

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
