/** Which cache an environment describes, and which environments are refused. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { channel } from "node:diagnostics_channel";
import { test } from "node:test";
import { cacheFromEnv, createCache, memcached, memory } from "everfresh";
import { createClient } from "everfresh/client";

const secret = "s3cret";

for (const [prefix, extra] of [
  ["MEMCACHIER", true],
  ["MEMCACHEDCLOUD", true],
  ["MEMCACHE", false],
] as const) {
  const [servers, username, password] = [`${prefix}_SERVERS`, `${prefix}_USERNAME`, `${prefix}_PASSWORD`];

  test(`${prefix}_* is taken, and said without its secret`, async () => {
    const messages: string[] = [];
    const listener = (message: unknown): void => void messages.push((message as { message: string }).message);
    channel("everfresh:notice").subscribe(listener);
    const made = await cacheFromEnv({
      NODE_ENV: "production",
      [servers]: "a.example:11211, b.example:11212",
      [username]: "me",
      [password]: secret,
    });
    channel("everfresh:notice").unsubscribe(listener);
    assert.equal(made.kind, "memcached");
    assert.match(made.description, /a\.example:11211, b\.example:11212/);
    assert.match(made.description, new RegExp(servers));
    assert.deepEqual(messages, [made.description]);
    assert.doesNotMatch(made.description, new RegExp(secret));
    assert.equal(made.cache.health().servers.length, 2);
    await made.close();
  });

  const halves: [Record<string, string>, string][] = [
    [{ [username]: "me", [password]: secret }, servers],
    [{ [servers]: "a:1", [username]: "me" }, password],
    [{ [servers]: "a:1", [password]: secret }, username],
    ...(extra ? ([[{ [servers]: "a:1" }, username]] as [Record<string, string>, string][]) : []),
  ];
  for (const [env, missing] of halves)
    test(`${Object.keys(env).join(" and ")} alone stops the start and names ${missing}`, async () => {
      for (const mode of ["production", "development"])
        await assert.rejects(cacheFromEnv({ ...env, NODE_ENV: mode }), (error: Error & { code: string }) => {
          assert.equal(error.code, "EF_OPTION");
          assert.match(error.message, new RegExp(`${missing} is not|set ${missing}`));
          assert.doesNotMatch(error.message, new RegExp(secret));
          return true;
        });
    });
}

test("a list without credentials is enough for a pool that asks for none", async () => {
  const made = await cacheFromEnv({ MEMCACHE_SERVERS: "127.0.0.1:11211" });
  assert.equal(made.kind, "memcached");
  await made.close();
});

test("nothing configured, outside production, is the embedded server, and one line says so", async () => {
  const made = await cacheFromEnv({}, { namespace: "app" });
  assert.equal(made.kind, "embedded");
  assert.match(made.description, /embedded server at 127\.0\.0\.1:\d+, because no server is configured/);
  assert.equal(await made.cache.getOrSet("k", () => "v", { tags: ["t"] }), "v");
  assert.equal((await made.cache.getEntry("k")).status, "hit");
  await made.cache.invalidateTags(["t"]);
  assert.equal((await made.cache.getEntry("k")).why, "tag t");
  await made.close();
});

test("production without a configuration stops and says what to set", async () => {
  await assert.rejects(cacheFromEnv({ NODE_ENV: "production" }), {
    code: "EF_OPTION",
    message: /MEMCACHIER_SERVERS.*MEMCACHE_SERVERS.*EVERFRESH_BACKEND/,
  });
});

test("production may choose one process's memory, or no cache, by name", async () => {
  for (const kind of ["memory", "none"] as const) {
    const made = await cacheFromEnv({ NODE_ENV: "production", EVERFRESH_BACKEND: kind });
    assert.equal(made.kind, kind);
    assert.match(made.description, /EVERFRESH_BACKEND/);
    await made.close();
  }
  await assert.rejects(cacheFromEnv({ EVERFRESH_BACKEND: "redis" }), { code: "EF_OPTION", message: /"redis"/ });
});

test("memcached by name needs servers, also outside production", async () => {
  await assert.rejects(cacheFromEnv({ EVERFRESH_BACKEND: "memcached" }), {
    code: "EF_OPTION",
    message: /EVERFRESH_BACKEND is "memcached".*MEMCACHIER_SERVERS.*MEMCACHE_SERVERS/,
  });
  const made = await cacheFromEnv({ EVERFRESH_BACKEND: "memcached", MEMCACHE_SERVERS: "a:1" });
  assert.equal(made.kind, "memcached");
  await made.close();
});

test("a server that cannot be read is refused by the name of its variable", async () => {
  await assert.rejects(cacheFromEnv({ MEMCACHE_SERVERS: "a:x" }), {
    code: "EF_OPTION",
    message: /^MEMCACHE_SERVERS: "a:x" is not host/,
  });
});

test("credentials go with every way to write a server", async () => {
  for (const [server, name] of [
    ["memcached://h", "h:11211"],
    ["memcacheds://h:1", "h:1"],
    ["/run/memcached.sock", "unix:/run/memcached.sock"],
    ["h:1:5", "h:1"],
  ] as const) {
    const made = await cacheFromEnv({ MEMCACHE_SERVERS: server, MEMCACHE_USERNAME: "me", MEMCACHE_PASSWORD: secret });
    assert.deepEqual(
      made.cache.health().servers.map((each) => each.name),
      [name],
    );
    await made.close();
  }
});

test("options that are refused leave no server behind, so the process can end", () => {
  const script = `import { cacheFromEnv } from "everfresh"; await cacheFromEnv({}, { ttll: 1 }).catch(({ code }) => console.log(code));`;
  const args = ["--input-type=module", "--eval", script];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 20_000 });
  assert.deepEqual({ status, stdout }, { status: 0, stdout: "EF_OPTION\n" });
});

test("cacheFromEnv says what it takes where it is given nothing", async () => {
  for (const wrong of [undefined, null, "production"])
    await assert.rejects(cacheFromEnv(wrong as never), { code: "EF_OPTION", message: /such as process\.env/ });
});

test("memcached says what it takes where it is given something else", async () => {
  for (const wrong of [null, 11211, { servers: "a" }])
    assert.throws(() => memcached(wrong as never), { code: "EF_OPTION", message: /a text or a list, such as/ });
  for (const wrong of [null, "user"])
    assert.throws(() => memcached("a", wrong as never), { code: "EF_OPTION", message: /an object of options/ });
});

test("createCache says what was given for a backend where it is none", async () => {
  const client = createClient({ servers: "127.0.0.1:1" });
  for (const [backend, given] of [
    [memory, /got a function; call it: memory\(\.\.\.\)/],
    [{}, /got an object without describe, .*, close$/],
    ["memory", /got "memory"$/],
    [client, /got a client; write memcached\(client\)$/],
    [null, /got null$/],
    [undefined, /got undefined$/],
  ] as const)
    assert.throws(() => createCache({ backend: backend as never }), { code: "EF_OPTION", message: given });
  await client.close();
});

function refused(what: string): { readonly code: string; readonly message: RegExp } {
  return { code: "EF_OPTION", message: new RegExp(`^${what} below a cache.*previousServers`) };
}

test("below a cache keys move by deployments only", async () => {
  const discovery = { endpoint: "127.0.0.1:1" };
  // @ts-expect-error -- the types refuse it, too
  assert.throws(() => memcached("a:1", { failover: "next" }), refused("failover"));
  // @ts-expect-error -- the types refuse it, too
  assert.throws(() => memcached("a:1", { discovery }), refused("discovery"));
  await memcached("a:1", { failover: "none" } as never).close();
  for (const [what, options] of [
    ["failover", { failover: "next" }],
    ["discovery", { discovery }],
  ] as const) {
    const client = createClient({ servers: "a:1", ...options });
    assert.throws(() => memcached(client), refused(what));
    await client.close();
  }
  const client = createClient({ servers: "a:1,b:1:2" });
  const backend = memcached(client);
  for (const other of ["a:1", "b:1:2,a:1", "a:1,b:1", "a:1,b:1:2,c:1"])
    assert.throws(() => client.changeServers(other), refused("changeServers with other servers"), other);
  client.changeServers("a:1,b:1:2");
  client.changeServers("memcached://me:secret@a:1,memcached://me:secret@b:1:2");
  assert.deepEqual(
    client.servers().map(({ name }) => name),
    ["a:1", "b:1"],
  );
  await backend.close();
});

test("an empty place in a list of servers is refused", async () => {
  await assert.rejects(cacheFromEnv({ MEMCACHE_SERVERS: "a:1,,b:1" }), { code: "EF_OPTION" });
});
