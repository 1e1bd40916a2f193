/** What a transaction of the outbox does on PostgreSQL alone: on clients that are lent, and at its levels of isolation. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { createOutbox, isEverfreshError, type Outbox } from "everfresh/outbox";
import pg from "pg";
import { deferred } from "../support/deferred.ts";
import { needsPostgres, startPostgres, type RealPostgres } from "../support/postgres.ts";
import { eventually, poolWithItems, RememberingCache } from "./support.ts";

async function add(tx: pg.ClientBase, text: string): Promise<void> {
  await tx.query("INSERT INTO items (text) VALUES ($1)", [text]);
}

let postgres: RealPostgres | undefined;

describe("on PostgreSQL", needsPostgres(), () => {
  let pool: pg.Pool;
  const cache = new RememberingCache();
  let outbox: Outbox;
  before(async () => {
    postgres = await startPostgres();
    pool = await poolWithItems(await postgres.createDatabase());
    outbox = createOutbox({ db: pool, caches: cache, relay: false });
    await outbox.install();
  });
  after(async () => {
    await pool.end();
    await postgres?.stop();
  });
  afterEach(() => {
    cache.told.length = 0;
  });

  test("a client that is inside a transaction is refused, and what it wrote is still its owner's to roll back", async () => {
    const refused = { code: "EF_OPTION", message: /did not begin/ };
    const late = new Error("too late");
    const inner = async (tx: pg.PoolClient) =>
      await outbox.transaction(tx, (_tx, invalidate) => invalidate("inner"), { isolation: "serializable" });
    await assert.rejects(
      outbox.transaction(pool, async (tx, invalidate) => {
        invalidate("outer");
        await add(tx, "outer");
        await assert.rejects(inner(tx), refused);
        await add(tx, "still there");
        throw late;
      }),
      late,
    );
    const client = await pool.connect();
    await client.query("BEGIN");
    await add(client, "its own");
    await assert.rejects(inner(client), refused);
    await add(client, "still there");
    await client.query("ROLLBACK");
    await outbox.transaction(client, (tx) => add(tx, "alone"), { isolation: "repeatable read" });
    client.release();
    assert.deepEqual((await pool.query("SELECT text FROM items")).rows, [{ text: "alone" }]);
    assert.deepEqual(cache.told, []);
  });

  test("serializable transactions that have nothing in common do not fail because both use the outbox", async () => {
    // So few rows that PostgreSQL would read all of them.
    await pool.query("INSERT INTO everfresh_outbox (namespace, kind, name) VALUES ('other', 'key', 'x')");
    await pool.query("VACUUM ANALYZE everfresh_outbox");
    const both = deferred();
    let begun = 0;
    const one = async (text: string) =>
      await outbox.transaction(
        pool,
        async (tx, invalidate) => {
          await add(tx, text);
          invalidate(text);
          begun += 1;
          if (begun === 2) both.resolve();
          await both.promise;
        },
        { isolation: "serializable" },
      );
    await Promise.all([one("one"), one("two")]);
    assert.deepEqual(cache.told.toSorted(), ["key one", "key two"]);
  });

  const small = (max: number) => {
    const { connectionString, options } = pool.options;
    return new pg.Pool({ connectionString: String(connectionString), options: String(options), max });
  };

  test("when the answer to COMMIT is lost the call fails, and what was committed is told by a relay", async (t) => {
    const direct = new URL(String(pool.options.connectionString));
    let cuts = true;
    // Lets COMMIT through, and hangs up where its answer would come.
    const proxy = createServer((client) => {
      const upstream = connect(Number(direct.port), direct.hostname);
      let committing = false;
      client.on("data", (chunk) => {
        committing ||= cuts && chunk.includes("COMMIT");
        upstream.write(chunk);
      });
      upstream.on("data", (chunk) => {
        if (committing) {
          cuts = false;
          client.destroy();
        } else client.write(chunk);
      });
      for (const socket of [client, upstream]) socket.on("error", () => undefined);
      client.on("close", () => upstream.destroy());
      upstream.on("close", () => client.destroy());
    }).listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const through = new URL(direct);
    through.port = String((proxy.address() as AddressInfo).port);
    const cutOff = new pg.Pool({ connectionString: through.href, options: String(pool.options.options) });
    t.after(async () => {
      await cutOff.end();
      proxy.close();
    });
    await assert.rejects(
      outbox.transaction(cutOff, async (tx, invalidate) => {
        await add(tx, "nobody knows");
        invalidate("queue");
      }),
      (error) => !isEverfreshError(error),
    );
    assert.deepEqual(cache.told, []);
    assert.equal((await pool.query("SELECT FROM items WHERE text = 'nobody knows'")).rowCount, 1);
    await eventually(async () => (await outbox.relayOnce()) === 1);
    assert.deepEqual(cache.told, ["key queue"]);
  });

  test("where the pool has one connection, the relay leaves it to transactions", { timeout: 20_000 }, async () => {
    const single = small(1);
    const relayed = createOutbox({ db: single, caches: cache });
    await eventually(() => relayed.relayCounts.passes > 1);
    await relayed.transaction(single, (_tx, invalidate) => invalidate("queue"));
    assert.deepEqual(cache.told, ["key queue"]);
    await relayed.close();
    await single.end();
  });

  test(
    "what would wait inside a transaction for the pool's one connection is refused",
    { timeout: 20_000 },
    async () => {
      const single = small(1);
      const asked = createOutbox({ db: single, caches: cache, relay: false });
      await asked.transaction(single, async () => {
        for (const ask of [() => asked.status(), () => asked.relayOnce(), () => asked.install()])
          await assert.rejects(ask, { code: "EF_OPTION" });
      });
      await asked.status();
      await single.end();
    },
  );

  test("a relay that waits for a connection gives back the one that listens", { timeout: 20_000 }, async () => {
    const pair = small(2);
    const relayed = createOutbox({ db: pair, caches: cache });
    await eventually(() => relayed.relayCounts.listening);
    const other = await pair.connect();
    await eventually(() => pair.waitingCount > 0);
    await relayed.close();
    other.release();
    await pair.end();
  });
});
