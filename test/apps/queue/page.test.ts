/** The whole page from the cache: rendered once in the fleet, filled for each visitor, and nothing of one in that of another. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openCache } from "@everfresh/queue";
import { testApp, testFleet } from "../../support/queue-app.ts";
import { openNew, testDatabases } from "../../support/queue-databases.ts";
import type { Reply, Visitor } from "../../support/queue-visitor.ts";
import { talk } from "../../support/talk.ts";

for (const databases of testDatabases())
  describe(`the page on ${databases.name}`, databases.options, () => {
    test("is rendered once for all visitors of all processes, and again after each write", async (t) => {
      const { apps } = await testFleet(t, databases);
      const [writer, ...readers] = apps.flatMap(({ visitor }) => [visitor(), visitor()]) as [Visitor, ...Visitor[]];
      assert.equal(sourceOf(await writer.page()), "everfresh; fwd=miss");
      for (const reader of readers) assert.equal(sourceOf(await reader.page()), "everfresh; hit");
      const expected: string[] = [];
      for (let round = 0; round < 9; round += 1) {
        const person = [writer, ...readers][round % 4] as Visitor;
        if (round % 3 === 2) expected.shift();
        else expected.push(`item ${round}`);
        await (round % 3 === 2 ? person.post("/remove") : person.post("/add", { text: `item ${round}` }));
        for (const each of [writer, ...readers]) {
          const page = await each.page();
          assert.deepEqual(texts(page), expected);
          assert.equal(sourceOf(page), "everfresh; hit", "the writer has computed it");
        }
      }
    });

    test("shows at once what was written past the app, when its tag is invalidated", async (t) => {
      const { apps } = await testFleet(t, databases);
      const people = apps.map(({ visitor }) => visitor());
      for (const person of people) await person.page();
      await apps[0].database.db.insertInto("queue_item").values({ text: "by hand" }).execute();
      await apps[1].cache.cache.invalidateTags(["queue_item"]);
      for (const person of people) assert.deepEqual(texts(await person.page()), ["by hand"]);
    });
  });

const [sqlite] = testDatabases();
if (sqlite === undefined) throw new Error("no databases");

test("what is kept of a page has nothing of any visitor: no token, no secret, no notice, no typed text", async (t) => {
  const { apps, cachePort } = await testFleet(t, sqlite);
  const people = apps.flatMap(({ visitor }) => [visitor(), visitor()]);
  const own: string[] = [];
  for (const [index, person] of people.entries()) {
    await person.post("/add", { text: `item ${index}` });
    const told = await person.page();
    assert.match(told.body, new RegExp(`Added “item ${index}”`));
    const refused = await person.post("/add", { text: `typed by ${index}\u0007` });
    assert.match(refused.body, new RegExp(`value="typed by ${index}`));
    own.push(person.csrf, person.cookies.get("csrf") ?? "", `typed by ${index}`, `Added “item ${index}”`);
    const others = people.filter((each) => each !== person);
    for (const page of [told, refused])
      for (const other of others) if (other.csrf !== "") assert.ok(!page.body.includes(other.csrf));
  }
  const stored = await everything(cachePort);
  assert.ok(stored.includes("<bdi>item 3</bdi>"), "the page is there");
  assert.ok(own.every((text) => text.length > 8));
  for (const text of own) assert.ok(!stored.includes(text), text);
});

test("a page is nobody else's to keep: no-store, no entity tag, nothing to be asked about", async (t) => {
  const { apps } = await testFleet(t, sqlite);
  const person = apps[0].visitor();
  for (let view = 0; view < 2; view += 1) {
    const { headers } = await person.page();
    assert.equal(headers["cache-control"], "no-store");
    assert.deepEqual([headers.etag, headers["last-modified"], headers.age], [undefined, undefined, undefined]);
    assert.match(String(headers.vary), /cookie/);
  }
});

test("HEAD says what GET would, and leaves the notice for the GET", async (t) => {
  const { apps } = await testFleet(t, sqlite);
  const person = apps[0].visitor();
  await person.post("/add", { text: "milk" });
  const head = await person.request({ method: "HEAD", url: "/" });
  assert.deepEqual([head.statusCode, head.body, sourceOf(head)], [200, "", "everfresh; hit"]);
  assert.match((await person.page()).body, /Added “milk”/);
});

test("with PAGE_CACHE=0 the page is rendered for each visitor from the cached query, and is the same page", async (t) => {
  const database = await openNew(sqlite);
  const cache = await openCache({ EVERFRESH_BACKEND: "memory" });
  t.after(() => Promise.all([database.close(), cache.close()]));
  const whole = await testApp(t, sqlite, { database, cache });
  const rendered = await testApp(t, sqlite, { database, cache, config: { pageCache: false } });
  const person = whole.visitor();
  await person.post("/add", { text: "<b> & “quotes”" });
  await person.page();
  const [one, other] = [await person.page(), await rendered.visitor().page()];
  assert.equal(sourceOf(other), "everfresh; hit");
  assert.equal(alike(one.body), alike(other.body));
});

test("apps with other templates or another configuration do not get each other's page", async (t) => {
  const database = await openNew(sqlite);
  const cache = await openCache({ EVERFRESH_BACKEND: "memory" });
  t.after(() => Promise.all([database.close(), cache.close()]));
  const slow = await testApp(t, sqlite, { database, cache, config: { slowQueryMs: 1 } });
  const quick = await testApp(t, sqlite, { database, cache });
  assert.match((await slow.visitor().page()).body, /slowed down by 1 ms/);
  assert.doesNotMatch((await quick.visitor().page()).body, /slowed down/);
});

/** All values of a cache server, as text. */
async function everything(port: number): Promise<string> {
  const conversation = await talk(port);
  try {
    conversation.send("lru_crawler metadump all\r\n");
    const keys = [...(await conversation.hearUntil("END\r\n")).matchAll(/key=(\S+)/g)].map(([, key = ""]) => key);
    conversation.send(`${keys.map((key) => `mg ${decodeURIComponent(key)} v\r\n`).join("")}mn\r\n`);
    return Buffer.from(await conversation.hearUntil("MN\r\n"), "latin1").toString();
  } finally {
    conversation.close();
  }
}

function sourceOf(page: Reply): string {
  return String(page.headers["cache-status"]);
}

function texts(page: Reply): string[] {
  return [...page.body.matchAll(/<bdi>([^<]*)<\/bdi>/g)].map(([, text = ""]) => text);
}

/** A page without its tokens and what it says of its own speed. */
function alike(body: string): string {
  return body
    .replaceAll(/name="csrf" value="[^"]+"/g, "")
    .replaceAll(/\d[\d.,]* (?:ms|s)\b/g, "")
    .replaceAll(/width="\d+"/g, "");
}
