/**
 * A process of the tests that reads through its cache all the time, with a relay of its own, and tells when it sees another
 * number of items. `node watching-reader.js <memcached> postgres <url> <schema>` or `sqlite <file>`.
 */
import { createCache, memcached } from "everfresh";
import { createOutbox } from "everfresh/outbox";
import Sqlite from "libsql";
import pg from "pg";

const [servers = "", kind, place = "", schema = ""] = process.argv.slice(2);
const db =
  kind === "postgres"
    ? new pg.Pool({ connectionString: place, max: 3, options: `-c search_path=${schema}` })
    : new Sqlite(place);
if ("exec" in db) db.exec("PRAGMA busy_timeout = 2000");
const cache = createCache({ backend: memcached(servers), namespace: "shop" });
const outbox = createOutbox({ db, caches: cache });

async function count(): Promise<number> {
  const sql = "SELECT count(*) AS n FROM items";
  if ("prepare" in db) return (db.prepare(sql).get() as { n: number }).n;
  const { rows } = await db.query<{ n: string }>(sql);
  return Number(rows[0]?.n);
}

const asked = { toStop: false };
process.on("message", () => {
  asked.toStop = true;
});
let seen: number | undefined;
while (!asked.toStop) {
  const value = await cache.getOrSet("queue", count, { tags: ["items"], ttl: "10m" });
  if (value !== seen) process.send?.(value);
  seen = value;
  await new Promise((resolve) => setTimeout(resolve, 5));
}
await outbox.close();
await cache.close();
if ("end" in db) await db.end();
else db.close();
process.disconnect();
