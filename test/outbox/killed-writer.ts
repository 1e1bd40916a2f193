/**
 * A process of the tests that is killed between commit and delivery: it says "committed" when its cache is told, and its
 * cache never answers. `node killed-writer.js postgres <url> <schema>` or `sqlite <file>`.
 */
import { createOutbox, tag } from "everfresh/outbox";
import Sqlite from "libsql";
import pg from "pg";

const [kind, place = "", schema = ""] = process.argv.slice(2);
const db =
  kind === "postgres"
    ? new pg.Pool({ connectionString: place, options: `-c search_path=${schema}` })
    : new Sqlite(place);
const hang = (): Promise<void> =>
  new Promise(() => {
    process.stdout.write("committed\n");
  });
const cache = { name: "shop", invalidate: hang, invalidateTags: hang };
// Its own relay must not be the one that delivers: it would hang as well.
const outbox = createOutbox({ db, caches: cache, relay: false, deliveryTimeoutMs: 60_000 });
setInterval(() => undefined, 60_000);
await outbox.transaction(db, async (tx, invalidate) => {
  if ("query" in tx) await tx.query("INSERT INTO items (text) VALUES ('from the dead')");
  else tx.prepare("INSERT INTO items (text) VALUES ('from the dead')").run();
  invalidate("queue", tag("items"));
});
