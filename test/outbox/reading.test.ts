/** What a transaction reads through the cache: its own writes, and never for others to see. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createCache, memory, type EntryAnswer } from "everfresh";
import { createOutbox, tag } from "everfresh/outbox";
import { deferred } from "../support/deferred.ts";
import { openSqlite, sqliteFile } from "./support.ts";

/** A cache in memory over a table of one row, and an outbox between them. */
async function place(t: TestContext) {
  const file = sqliteFile();
  const handle = file.open();
  const cache = createCache({ backend: memory({ limitBytes: 1_000_000 }), namespace: "shop" });
  const outbox = createOutbox({ db: handle, caches: cache, relay: false });
  await outbox.install();
  handle.exec("INSERT INTO items (id, text) VALUES (1, 'old')");
  t.after(async () => {
    await outbox.close();
    await cache.close();
    handle.close();
    file.remove();
  });
  const load = () => (handle.prepare("SELECT text FROM items WHERE id = 1").all()[0] as { text: string }).text;
  const change = (text: string) => handle.prepare("UPDATE items SET text = ? WHERE id = 1").run(text);
  return { handle, cache, outbox, load, change };
}

test("a transaction reads what it wrote, and the cache does not keep it when it is rolled back", async (t) => {
  const { handle, cache, outbox, load, change } = await place(t);
  assert.equal(await cache.getOrSet("item", load, { tags: ["items"] }), "old");
  await assert.rejects(
    outbox.transaction(handle, async (_tx, invalidate) => {
      change("new");
      invalidate("item");
      const inside = await cache.getOrSetEntry("item", load, { tags: ["items"] });
      assert.deepEqual([inside.value, inside.status, inside.why], ["new", "bypass", "inside a transaction"]);
      assert.equal(await cache.get("item"), undefined);
      throw new Error("rolled back");
    }),
    /rolled back/,
  );
  assert.equal(await cache.getOrSet("item", load, { tags: ["items"] }), "old");
});

test("a tag that was named is bypassed as well, also where only the stored value knows it", async (t) => {
  const { handle, cache, outbox, load, change } = await place(t);
  await cache.getOrSet("item", load, { tags: ["items"] });
  await outbox.transaction(handle, async (_tx, invalidate) => {
    change("new");
    invalidate(tag("items"));
    assert.equal(await cache.getOrSet("item", load, { tags: ["items"] }), "new");
    assert.equal(await cache.getOrSet("item", load), "new");
    assert.equal(await cache.get("item"), undefined);
  });
  assert.equal((await cache.getOrSetEntry("item", load, { tags: ["items"] })).status, "miss");
});

test("what the transaction did not touch is served from the cache; what is missing is computed and not stored", async (t) => {
  const { handle, cache, outbox, load } = await place(t);
  await cache.getOrSet("other", () => "cached");
  await outbox.transaction(handle, async (_tx, invalidate) => {
    invalidate("item");
    assert.equal((await cache.getOrSetEntry("other", () => "computed")).status, "hit");
    assert.equal((await cache.getOrSetEntry("missing", load)).status, "bypass");
    const many = await cache.getOrSetMany(["other", "item"], (keys) => keys.map((key) => `loaded ${key}`));
    assert.deepEqual(
      [...many],
      [
        ["other", "cached"],
        ["item", "loaded item"],
      ],
    );
  });
  assert.equal(await cache.get("missing"), undefined);
});

test("what goes on after the transaction has ended reads the cache as anybody else", async (t) => {
  const { handle, cache, outbox, load } = await place(t);
  const held = deferred();
  let late: Promise<unknown> | undefined;
  await outbox.transaction(handle, (_tx, invalidate) => {
    invalidate("item");
    late = held.promise.then(() => cache.getOrSetEntry("item", load));
  });
  held.resolve();
  assert.equal(((await late) as { status: string }).status, "miss");
  assert.equal(await cache.get("item"), "old");
});

test("a caller outside never gets what a transaction computes", async (t) => {
  const { handle, cache, outbox } = await place(t);
  const held = deferred();
  const inTransaction = outbox.transaction(handle, () =>
    cache.getOrSet("item", () => held.promise.then(() => "uncommitted")),
  );
  const outside = cache.getOrSet("item", () => "committed");
  assert.equal(await outside, "committed");
  held.resolve();
  assert.equal(await inTransaction, "uncommitted");
  assert.equal(await cache.get("item"), "committed");
});

test("a page around a value that the transaction has named is rendered anew inside it", async (t) => {
  const { handle, cache, outbox, load, change } = await place(t);
  const far = cache.namespace("far");
  const inner: [name: string, read: () => Promise<string>][] = [
    ["item", () => cache.getOrSet("item", load)],
    ["outer", () => cache.getOrSet("outer", () => cache.getOrSet("item", load), { collects: true })],
    ["far", () => far.getOrSet("outer", () => cache.getOrSet("list", load, { tags: ["item"] }), { collects: true })],
    ["long", () => cache.getOrSet("an item with spaces", load)],
  ];
  for (const [name, read] of inner) {
    change("old");
    await cache.clear();
    await far.clear();
    const page = (): Promise<string> => cache.fragment(name, [], async () => `page of ${await read()}`);
    assert.equal(await page(), "page of old");
    await outbox.transaction(handle, async (_tx, invalidate) => {
      assert.equal((await page()).length, 11);
      change("new");
      invalidate("item", tag("item"), "an item with spaces");
      assert.equal(await page(), "page of new", name);
    });
    assert.equal(await page(), "page of new", name);
  }
});

test("a hit inside a transaction is noted by the page around it", async (t) => {
  const { handle, cache, outbox } = await place(t);
  let row = "old";
  const song = cache.entry("song", { load: () => row, tags: ["songs"] });
  await song.get();
  const page = (): Promise<string> =>
    cache.fragment("page", [], () => outbox.transaction(handle, async () => `page of ${await song.get()}`));
  assert.equal(await page(), "page of old");
  row = "new";
  await song.invalidate();
  assert.equal(await page(), "page of new");
  await song.get();
  assert.equal(await page(), "page of new");
  row = "newer";
  await cache.invalidateTags(["songs"]);
  assert.equal(await page(), "page of newer");
});

test("a transaction gets no value of another version", async (t) => {
  const { handle, cache, outbox } = await place(t);
  await cache.getOrSet("k", () => "shape 2", { version: 2 });
  await outbox.transaction(handle, async () => {
    assert.equal(await cache.getOrSet("k", () => "shape 1"), "shape 1");
    assert.equal((await cache.getOrSetEntry("k", () => "anew", { version: 2 })).value, "shape 2");
  });
});

test("a loader of a caller outside is not inside a transaction that reads in the same turn", async (t) => {
  const { handle, cache, outbox } = await place(t);
  const held = deferred();
  const nested = () => cache.getOrSetEntry("nested", () => "committed");
  const outside = held.promise.then(() => cache.getOrSet("item", async () => (await nested()).status));
  await outbox.transaction(handle, async () => {
    held.resolve();
    await cache.getOrSet("other", () => "uncommitted");
    assert.equal(await outside, "miss");
  });
  assert.equal(await cache.get("nested"), "committed");
});

test("a transaction on another database inside one reads past the cache what either has named, and waits for neither", async (t) => {
  const { handle, cache, outbox, load, change } = await place(t);
  const there = openSqlite(t);
  const outboxThere = createOutbox({ db: there, caches: cache, relay: false });
  await outboxThere.install();
  await cache.getOrSet("item", load);
  await outbox.transaction(handle, async (_tx, invalidate) => {
    change("new");
    invalidate("item");
    const over = deferred();
    let leftRunning: Promise<EntryAnswer<unknown>> | undefined;
    await outboxThere.transaction(there, () => {
      leftRunning = over.promise.then(() => cache.getOrSetEntry("loaded inside", load));
    });
    over.resolve();
    assert.equal((await leftRunning)?.why, "inside a transaction");
    await outboxThere.transaction(there, async (_inner, invalidateThere) => {
      invalidateThere("other");
      assert.equal(await cache.getOrSet("item", load), "new");
      assert.equal((await cache.getOrSetEntry("other", () => 1)).status, "bypass");
      await assert.rejects(outbox.status(), { code: "EF_OPTION" });
      await assert.rejects(
        outbox.transaction(handle, () => undefined),
        { code: "EF_OPTION" },
      );
    });
    assert.equal(await cache.getOrSet("item", load), "new");
  });
  assert.equal(await cache.getOrSet("item", load), "new");
});

test("what was named stays named when a savepoint is rolled back: the old value is computed, and loaded once more later", async (t) => {
  const { handle, cache, outbox, load, change } = await place(t);
  await outbox.watch("items", { tags: ["items"] });
  await cache.getOrSet("item", load);
  await cache.getOrSet("list", load, { tags: ["items"] });
  await outbox.transaction(handle, async (tx, invalidate) => {
    tx.exec("SAVEPOINT here");
    change("new");
    invalidate("item");
    assert.equal(await cache.getOrSet("item", load), "new");
    tx.exec("ROLLBACK TO here");
    assert.equal(await cache.getOrSet("item", load), "old");
  });
  assert.equal((await cache.getOrSetEntry("item", load)).status, "miss");
  assert.equal((await cache.getOrSetEntry("list", load)).status, "hit", "the rows of its triggers are rolled back");
});
