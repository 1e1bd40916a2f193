/** What each address of the app answers, to whom, and what it changes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { testApp } from "../../support/queue-app.ts";
import { testDatabases } from "../../support/queue-databases.ts";
import type { QueueAnswer, Reply } from "../../support/queue-visitor.ts";

const both = testDatabases();

for (const databases of both)
  describe(`adding and removing on ${databases.name}`, databases.options, () => {
    test("a form without JavaScript is answered with a redirect, and the page after it tells what happened", async (t) => {
      const { visitor } = await testApp(t, databases);
      const person = visitor();
      const added = await person.post("/add", { text: "  milk " });
      assert.deepEqual([added.statusCode, added.headers.location], [303, "/#back"]);
      const page = await person.page();
      assert.match(page.body, /<bdi>milk<\/bdi>/);
      assert.match(page.body, /role="status"[^>]*>Added “milk”\.</);
      assert.match(page.body, /Your add took/);
      assert.doesNotMatch((await person.page()).body, /Added “milk”/, "it is told once");
      const removed = await person.post("/remove");
      assert.deepEqual([removed.statusCode, removed.headers.location], [303, "/"]);
      assert.match((await person.page()).body, /Removed “milk”\./);
      assert.match((await person.post("/remove")).body, /The queue is empty: there is nothing to remove\./);
    });

    test("whoever asks for JSON gets the item, its place, and the new view", async (t) => {
      const { visitor } = await testApp(t, databases);
      const person = visitor();
      await person.add("a");
      const answer = await person.add("b");
      assert.deepEqual([answer.added.text, answer.position, answer.view.total], ["b", 2, 2]);
      assert.deepEqual(texts(answer), ["a", "b"]);
      const removed = await person.remove();
      assert.equal(removed.removed.text, "a");
      assert.deepEqual(texts(removed), ["b"]);
      await person.remove();
      const empty = await person.send("/remove");
      assert.equal(empty.statusCode, 409);
      assert.equal(errorOf(empty).code, "empty");
    });

    test("of many removes at once each takes another item, and the rest are told that the queue is empty", async (t) => {
      const { visitor } = await testApp(t, databases);
      const people = Array.from({ length: 12 }, visitor);
      for (const person of people) await person.look();
      for (const text of ["1", "2", "3", "4", "5", "6", "7"]) await people[0]?.add(text);
      const replies = await Promise.all(people.map((person) => person.send("/remove")));
      const taken = replies
        .filter((reply) => reply.statusCode === 200)
        .map((reply) => reply.json<QueueAnswer>().removed.text);
      assert.deepEqual(taken.toSorted(), ["1", "2", "3", "4", "5", "6", "7"]);
      assert.equal(replies.filter((reply) => reply.statusCode === 409).length, 5);
    });

    test("a full queue takes no more, and says so at the field", async (t) => {
      const { visitor } = await testApp(t, databases, { config: { maxItems: 2 } });
      const person = visitor();
      await person.add("a");
      await person.add("b");
      const refused = await person.send("/add", { text: "c" });
      assert.equal(refused.statusCode, 409);
      assert.deepEqual(errorOf(refused), {
        code: "full",
        message: "The queue is full: it holds 2 items.",
        field: "text",
      });
      await person.remove();
      await person.add("c");
    });
  });

const [sqlite] = both;
if (sqlite === undefined) throw new Error("no databases");

for (const [path, allowed] of [
  ["/", ["GET", "HEAD"]],
  ["/healthz", ["GET", "HEAD"]],
  ["/assets/queue.css", ["GET", "HEAD"]],
  ["/add", ["POST"]],
  ["/remove", ["POST"]],
] as const)
  test(`${path} answers ${allowed.join(" and ")}, and everything else with 405`, async (t) => {
    const { app, visitor } = await testApp(t, sqlite);
    await visitor().add("stays");
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const) {
      const reply = await app.inject({ method, url: path });
      if (allowed.some((each) => each === method)) assert.notEqual(reply.statusCode, 405, method);
      else assert.deepEqual([reply.statusCode, reply.headers.allow], [405, allowed.join(", ")], method);
    }
    assert.deepEqual(texts(await visitor().look()), ["stays"]);
  });

for (const url of [
  "/nothing",
  "/add/",
  "/remove/1",
  "//",
  "/assets/",
  "/assets/nothing.css",
  "/assets/../package.json",
  "/assets/..%2f..%2fpackage.json",
  "/.env",
  "/constructor",
  "/__proto__",
  "/%zz",
  "/%E0%A4",
  "/?/add/x%00",
])
  test(`there is nothing at ${url} that could be asked for`, async (t) => {
    const { app } = await testApp(t, sqlite);
    const reply = await app.inject({ url });
    if (url.startsWith("/?")) assert.equal(reply.statusCode, 200);
    else assert.deepEqual([reply.statusCode, reply.body.includes("There is nothing at this address.")], [404, true]);
    assert.doesNotMatch(reply.body, /node_modules|at file:|Error:|"dependencies"/);
  });

test("GET and HEAD change nothing, whatever they are asked with", async (t) => {
  const { app, visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.add("stays");
  for (const method of ["GET", "HEAD"] as const)
    for (const url of ["/", "/?text=x", "/add?text=x", "/remove", "/remove?csrf=1", "/healthz"])
      await app.inject({ method, url });
  assert.deepEqual(texts(await person.look()), ["stays"]);
});

for (const [name, text, message] of [
  ["nothing", "", /Write something first/],
  ["only spaces", " \t\n ", /Write something first/],
  ["only invisible characters", "\u200b\u200d", /Write something first/],
  ["a line break inside", "a\nb", /one line of text/],
  ["a NUL", "a\0b", /one line of text/],
  ["an escape sequence", "\u001b[31mred", /one line of text/],
  ["a line separator", "a\u2028b", /one line of text/],
  ["201 characters", "x".repeat(201), /201 characters long; 200 is the most/],
  ["201 code points beyond the basic plane", "𝒳".repeat(201), /201 characters long/],
] as const)
  test(`${name} is refused with a sentence at the field, and the form keeps it`, async (t) => {
    const { visitor } = await testApp(t, sqlite);
    const person = visitor();
    const page = await person.post("/add", { text });
    assert.equal(page.statusCode, 400);
    assert.match(/id="text-error"[^>]*>([^<]*)</.exec(page.body)?.[1] ?? "", message);
    assert.match(page.body, /aria-invalid="true"/);
    assert.ok(page.body.includes(`value="${text}"`), "the form keeps the text");
    const reply = await person.send("/add", { text });
    assert.equal(reply.statusCode, 400);
    assert.match(errorOf(reply).message, message);
    assert.equal(errorOf(reply).field, "text");
    assert.equal((await person.look()).view.total, 0);
  });

test("a field that is missing, came twice, or is no text is refused", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.look();
  const headers = { accept: "application/json", "x-csrf-token": person.csrf };
  const form = { ...headers, "content-type": "application/x-www-form-urlencoded" };
  const json = { ...headers, "content-type": "application/json" };
  for (const [payload, kind] of [
    ["", form],
    ["text=a&text=b", form],
    ["text[]=a", form],
    ["{}", json],
    ["[]", json],
    ["null", json],
    ['{"text":5}', json],
    ['{"text":["a"]}', json],
    ['{"text":{"toString":"a"}}', json],
    ['{"__proto__":{"text":"a"}}', json],
    ["{broken", json],
  ] as const) {
    const reply = await person.request({ method: "POST", url: "/add", headers: kind, payload });
    assert.equal(reply.statusCode, 400, payload);
    if (kind === form) assert.equal(errorOf(reply).message, "The field “text” is to be sent once, as text.");
  }
  assert.equal((await person.look()).view.total, 0);
});

test("who sends JSON is answered in JSON, without asking for it, and is told where it is none", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.look();
  const headers = { accept: "*/*", "content-type": "application/json", "x-csrf-token": person.csrf };
  const added = await person.request({ method: "POST", url: "/add", headers, payload: '{"text":"a"}' });
  assert.deepEqual([added.statusCode, added.json<QueueAnswer>().added.text], [201, "a"]);
  for (const payload of ["{broken", ""]) {
    const broken = await person.request({ method: "POST", url: "/add", headers, payload });
    assert.deepEqual([broken.statusCode, errorOf(broken).message], [400, "The body is not valid JSON."]);
  }
});

test("exactly 200 code points fit, whatever they are made of", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  for (const text of ["x".repeat(200), "𝒳".repeat(200), "é".repeat(200)])
    assert.equal((await visitor().add(text)).added.text, text);
});

const hostile = [
  "<img src=x onerror=alert(1)>",
  "</li></ol><script>alert(1)</script>",
  '"><svg onload=alert(1)>',
  "' onmouseover='alert(1)",
  "&lt;b&gt;",
  "<%= it.csrf %>",
  "${7*7} {{7*7}}",
];
for (const text of hostile)
  test(`${text} is text on every way that it is shown`, async (t) => {
    const { visitor } = await testApp(t, sqlite);
    const person = visitor();
    await person.post("/add", { text });
    const pages = [await person.page(), await person.post("/add", { text: `${text}\u0007` })];
    await person.post("/remove");
    pages.push(await person.page());
    for (const page of pages) {
      assert.ok(page.body.includes(escaped(text).slice(0, 30)), "it is shown");
      assert.doesNotMatch(page.body, /<img|<svg onload|<script>|onmouseover='/);
    }
  });

test("bodies that are too large, or of another kind, are refused", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.look();
  const headers = { accept: "application/json", "x-csrf-token": person.csrf };
  const large = await person.request({
    method: "POST",
    url: "/add",
    headers: { ...headers, "content-type": "application/x-www-form-urlencoded" },
    payload: `text=${"x".repeat(20_000)}`,
  });
  assert.deepEqual([large.statusCode, errorOf(large).code], [413, "too-large"]);
  for (const kind of ["text/plain", "multipart/form-data; boundary=x", "application/xml"]) {
    const reply = await person.request({
      method: "POST",
      url: "/add",
      headers: { ...headers, "content-type": kind },
      payload: "text=x",
    });
    assert.deepEqual([reply.statusCode, errorOf(reply).code], [415, "content-type"], kind);
  }
});

test("where nothing can be sent, that is said whatever was sent", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  for (const [kind, payload] of [
    ["multipart/form-data; boundary=x", "--x--"],
    ["application/json", "{"],
    ["application/x-www-form-urlencoded", `text=${"x".repeat(20_000)}`],
  ] as const) {
    const sent = { headers: { accept: "application/json", "content-type": kind }, payload };
    const nowhere = await person.request({ method: "POST", url: "/nothing", ...sent });
    assert.deepEqual([nowhere.statusCode, errorOf(nowhere).code], [404, "not-found"]);
    const page = await person.request({ method: "PUT", url: "/add", ...sent });
    assert.deepEqual([page.statusCode, page.headers["allow"], errorOf(page).code], [405, "POST", "method"]);
  }
});

function texts(answer: QueueAnswer): string[] {
  return [...answer.view.front, ...answer.view.back].map((item) => item.text);
}

function errorOf(reply: Reply): QueueAnswer["error"] {
  return reply.json<QueueAnswer>().error;
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
