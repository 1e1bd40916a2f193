/**
 * A process of the tests that is killed while its relay delivers: it says "claimed" when its cache is told, which never
 * answers. `node killed-relay.js postgres <url> <schema>` or `sqlite <file>`.
 */
import { createOutbox } from "everfresh/outbox";
import Sqlite from "libsql";
import pg from "pg";

const [kind, place = "", schema = ""] = process.argv.slice(2);
const db =
  kind === "postgres"
    ? new pg.Pool({ connectionString: place, options: `-c search_path=${schema}` })
    : new Sqlite(place);
const hang = (): Promise<void> =>
  new Promise(() => {
    process.stdout.write("claimed\n");
  });
createOutbox({ db, caches: { name: "shop", invalidate: hang, invalidateTags: hang }, deliveryTimeoutMs: 60_000 });
setInterval(() => undefined, 60_000);
