/** A process of the tests that is killed between commit and delivery: it says "committed" when its cache is told. */
import { createOutbox, tag } from "everfresh/outbox";
import { db, hangingCache } from "./hanging.ts";

// Its own relay must not be the one that delivers: it would hang as well.
const outbox = createOutbox({ db, caches: hangingCache("committed"), relay: false, deliveryTimeoutMs: 60_000 });
await outbox.transaction(db, async (tx, invalidate) => {
  if ("query" in tx) await tx.query("INSERT INTO items (text) VALUES ('from the dead')");
  else tx.prepare("INSERT INTO items (text) VALUES ('from the dead')").run();
  invalidate("queue", tag("items"));
});
