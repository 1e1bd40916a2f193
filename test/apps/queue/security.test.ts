/** What protects the queue app and its visitors: tokens, cookies, headers, limits, and logs that keep secrets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Visitor, type QueueAnswer } from "../../support/queue-visitor.ts";
import { testApp, testConfig } from "../../support/queue-app.ts";
import { testDatabases } from "../../support/queue-databases.ts";

const [sqlite] = testDatabases();
if (sqlite === undefined) throw new Error("no databases");

const form = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };

test("a write without a token, with a wrong one, or with another visitor's, is refused and changes nothing", async (t) => {
  const { app, visitor } = await testApp(t, sqlite);
  const [person, stranger] = [visitor(), visitor()];
  await person.look();
  await stranger.look();
  for (const [path, token] of [
    ["/add", ""],
    ["/add", "x"],
    ["/add", `${person.csrf}x`],
    ["/add", stranger.csrf],
    ["/remove", stranger.csrf],
  ] as const) {
    const payload = new URLSearchParams({ csrf: token, text: "x" }).toString();
    const reply = await person.request({ method: "POST", url: path, headers: form, payload });
    assert.deepEqual([reply.statusCode, reply.json<QueueAnswer>().error.code], [403, "csrf"], `${path} ${token}`);
  }
  const bare = await app.inject({ method: "POST", url: "/add", headers: form, payload: `text=x&csrf=${person.csrf}` });
  assert.equal(bare.statusCode, 403, "a token without its cookie");
  assert.equal((await person.look()).view.total, 0);
});

test("a write that another site sends is refused, even with a cookie and a token that fit", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.look();
  for (const [site, status] of [
    ["cross-site", 403],
    ["same-site", 403],
    ["same-origin", 201],
    ["none", 201],
  ] as const) {
    const headers = { ...form, "x-csrf-token": person.csrf, "sec-fetch-site": site };
    const reply = await person.request({ method: "POST", url: "/add", headers, payload: "text=x" });
    assert.equal(reply.statusCode, status, site);
    if (status === 201) continue;
    const page = await person.request({
      method: "POST",
      url: "/add",
      headers: { ...headers, accept: "text/html" },
      payload: "text=x",
    });
    assert.equal(page.statusCode, status);
    assert.match(page.body, /<p>[^<]*this site&#39;s own pages only/);
    assert.equal(page.headers["set-cookie"], undefined);
  }
  assert.equal((await person.look()).view.total, 2);
});

test("a sentence that was not signed by the app is not shown", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  person.cookies.set("notice", Buffer.from('{"notice":{"kind":"done","text":"forged"}}').toString("base64url"));
  assert.doesNotMatch((await person.page()).body, /forged/);
});

test("a form whose token has expired shows the page again, with the text kept and a token that works", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  person.csrf = "from before the restart";
  const refused = await person.post("/add", { text: "typed with care" });
  assert.equal(refused.statusCode, 403);
  assert.match(refused.body, /value="typed with care"/);
  assert.match(refused.body, /Nothing was changed/);
  person.csrf = /name="csrf" value="([^"]+)"/.exec(refused.body)?.[1] ?? "";
  assert.equal((await person.post("/add", { text: "typed with care" })).statusCode, 303);
});

test("processes with the same secret take each other's tokens", async (t) => {
  const first = await testApp(t, sqlite);
  const second = await testApp(t, sqlite, { database: first.database });
  const person = first.visitor();
  await person.look();
  const elsewhere = new Visitor(second.app);
  for (const [name, value] of person.cookies) elsewhere.cookies.set(name, value);
  elsewhere.csrf = person.csrf;
  assert.equal((await elsewhere.send("/add", { text: "x" })).statusCode, 201);
});

test("cookies are out of reach of scripts and other sites, and only travel encrypted where the page did", async (t) => {
  const { app } = await testApp(t, sqlite, { config: { trustedProxies: 1 } });
  const plain = await app.inject({ url: "/" });
  assert.match(String(plain.headers["set-cookie"]), /^csrf=.*; Path=\/; HttpOnly; SameSite=Lax$/);
  const encrypted = await app.inject({ url: "/", headers: { "x-forwarded-proto": "https" } });
  assert.match(String(encrypted.headers["set-cookie"]), /; Secure/);
});

test("the policy allows nothing inline, nothing from elsewhere and no framing, and the page keeps to it", async (t) => {
  const { visitor } = await testApp(t, sqlite);
  const person = visitor();
  await person.post("/add", { text: "x" });
  const page = await person.page();
  const policy = String(page.headers["content-security-policy"]);
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.doesNotMatch(page.body, /<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:/i);
  assert.doesNotMatch(page.body, /(?:src|href|action)="(?:https?:)?\/\//i);
  assert.equal(page.headers["x-content-type-options"], "nosniff");
  assert.equal(page.headers["cache-control"], "no-store");
  assert.equal(page.headers["x-powered-by"], undefined);
});

test("every answer carries the policy, errors included", async (t) => {
  const { app } = await testApp(t, sqlite);
  for (const url of ["/", "/nothing", "/%zz", "/add", "/healthz", "/assets/queue.js"])
    assert.match(String((await app.inject({ url })).headers["content-security-policy"]), /default-src 'none'/, url);
});

test("only in production does the app insist on HTTPS", async (t) => {
  const development = await testApp(t, sqlite);
  const production = await testApp(t, sqlite, { config: { production: true } });
  assert.equal((await development.app.inject({ url: "/" })).headers["strict-transport-security"], undefined);
  assert.match(
    String((await production.app.inject({ url: "/" })).headers["strict-transport-security"]),
    /max-age=\d{7}/,
  );
});

test("assets that are asked for with their version are kept for ever, without it they are asked for again", async (t) => {
  const { app, visitor } = await testApp(t, sqlite);
  const [, address = ""] = /href="(\/assets\/queue\.css\?v=[0-9a-f]+)"/.exec((await visitor().page()).body) ?? [];
  const kept = await app.inject({ url: address });
  assert.deepEqual([kept.statusCode, kept.headers["cache-control"]], [200, "public, max-age=31536000, immutable"]);
  const asked = await app.inject({ url: "/assets/queue.css" });
  assert.equal(asked.headers["cache-control"], "public, max-age=0");
  const again = await app.inject({
    url: "/assets/queue.css",
    headers: { "if-none-match": String(asked.headers.etag) },
  });
  assert.equal(again.statusCode, 304);
});

test("writes have a limit per visitor, adds and removes together; looking has none", async (t) => {
  const { visitor } = await testApp(t, sqlite, { config: { writesPerMinute: 3 } });
  const person = visitor();
  await person.add("a");
  await person.add("b");
  await person.remove();
  const refused = await person.send("/add", { text: "c" });
  assert.deepEqual([refused.statusCode, refused.json<QueueAnswer>().error.code], [429, "too-many"]);
  assert.match(refused.json<QueueAnswer>().error.message, /try again in \d+ seconds/);
  assert.ok(Number(refused.headers["retry-after"]) > 0);
  const page = await person.post("/add", { text: "kept" });
  assert.deepEqual([page.statusCode, page.body.includes('value="kept"')], [429, true]);
  assert.equal((await person.page()).statusCode, 200);
});

test("the visitor's address is taken from a proxy only where one is trusted", async (t) => {
  const limited = { writesPerMinute: 1 };
  const direct = await testApp(t, sqlite, { config: limited });
  const behind = await testApp(t, sqlite, { config: { ...limited, trustedProxies: 1 } });
  for (const [{ app, visitor }, expected] of [
    [direct, 429],
    [behind, 201],
  ] as const) {
    const person = visitor();
    await person.look();
    const statuses = [];
    for (const address of ["203.0.113.1", "203.0.113.2"]) {
      const headers = { ...form, "x-csrf-token": person.csrf, "x-forwarded-for": `198.51.100.7, ${address}` };
      statuses.push((await person.request({ method: "POST", url: "/add", headers, payload: "text=x" })).statusCode);
    }
    assert.deepEqual(statuses, [201, expected]);
    await app.close();
  }
});

test("log lines are JSON and hold no cookie, token, text, address or secret", async (t) => {
  const lines: string[] = [];
  const { visitor } = await testApp(t, sqlite, {
    logging: { level: "trace", stream: { write: (line) => void lines.push(line) } },
  });
  const person = visitor();
  await person.post("/add", { text: "a private text" });
  await person.request({ url: "/?token=in-the-query", headers: { authorization: "Bearer of-nothing" } });
  await person.post("/add", { text: "a private text\u0007" });
  const all = lines.join("");
  assert.ok(lines.length >= 4);
  for (const line of lines) assert.equal(typeof (JSON.parse(line) as { msg: unknown }).msg, "string");
  for (const secret of [
    "private",
    "in-the-query",
    "of-nothing",
    person.csrf,
    testConfig.sessionSecret,
    "127.0.0.1",
    ...person.cookies.values(),
  ])
    assert.ok(!all.includes(secret), secret);
  assert.ok(lines.some((line) => line.includes('"path":"/add"') && line.includes('"status":303')));
});
