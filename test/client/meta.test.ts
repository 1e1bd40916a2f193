/** The meta commands against a real memcached. */
import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { createClient, isEverfreshError, type CallSink, type Cas, type MemcachedClient } from "everfresh/client";
import { deferred } from "../support/deferred.ts";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";

async function textOf(meta: MemcachedClient["meta"], key: string): Promise<string | undefined> {
  const item = await meta.get(key);
  return item.kind === "hit" ? item.value?.toString() : item.kind;
}

describe("meta commands on a real memcached", needs("memcached"), () => {
  let server: RealMemcached;
  let client: MemcachedClient;

  before(async () => {
    server = await startMemcached();
    client = createClient({ servers: server.address });
  });
  after(async () => {
    await client.close();
    await server.stop();
  });

  const clientOf = (t: TestContext, protocol: "meta" | "text" | "binary"): MemcachedClient => {
    const own = createClient({ servers: server.address, protocol });
    t.after(() => own.close());
    return own;
  };

  test("a value comes back byte for byte, with its flags", async () => {
    const bytes = Buffer.from([0, 13, 10, 255, 86, 65, 32, 13, 10]);
    assert.equal((await client.meta.set("bytes", bytes, { clientFlags: 4_294_967_295, ttl: 60 })).kind, "stored");
    const hit = await client.meta.get("bytes", { cas: true, ttl: true, size: true });
    assert.ok(hit.kind === "hit");
    assert.deepEqual(hit.value, bytes);
    assert.deepEqual([hit.clientFlags, hit.size], [4_294_967_295, bytes.length]);
    assert.ok(hit.ttl !== undefined && hit.ttl > 50 && hit.ttl <= 60);
    assert.match(hit.cas ?? "", /^\d+$/);
  });

  test("what is not there is a miss, and deleting it is notFound", async () => {
    assert.equal((await client.meta.get("nothing")).kind, "miss");
    assert.equal((await client.meta.delete("nothing")).kind, "notFound");
  });

  test("a sink is told of a hit and of a miss in the order of the questions, and of a refusal afterwards", async () => {
    await client.meta.set("lent", "bytes", { clientFlags: 7 });
    const told: string[] = [];
    const over = deferred();
    const sink = (name: string): CallSink => ({
      answered: (answer) => {
        told.push(`${name} ${answer.kind}${answer.hasData ? ` ${answer.textValue()} ${answer.clientFlags}` : ""}`);
        if (told.length === 3) over.resolve();
      },
      failed: (error) => void told.push(`${name} ${isEverfreshError(error) ? error.code : "other"}`),
    });
    client.meta.getInto("lent", {}, sink("first"));
    client.meta.getInto("nothing lent", {}, sink("refused"));
    client.meta.getInto("nothing-lent", {}, sink("second"));
    assert.deepEqual(told, [], "nothing before the asking has returned");
    await over.promise;
    assert.deepEqual(told, ["refused EF_KEY", "first hit bytes 7", "second miss"]);
  });

  test("closing waits for what a sink was promised, and refuses later questions", async () => {
    const own = createClient({ servers: server.address });
    const told: string[] = [];
    const sink: CallSink = {
      answered: (answer) => void told.push(answer.kind),
      failed: (error) => void told.push(isEverfreshError(error) ? error.code : "other"),
    };
    own.meta.getInto("nothing", {}, sink);
    await own.close();
    assert.deepEqual(told, ["miss"]);
    own.meta.getInto("nothing", {}, sink);
    assert.deepEqual(told, ["miss"], "not within the call");
    await Promise.resolve();
    assert.deepEqual(told, ["miss", "EF_CLOSED"]);
  });

  test("one caller wins the lease, the others see that somebody has it, and an invalidation kills it", async () => {
    const [first, second] = await Promise.all([
      client.meta.get("lease", { cas: true, vivify: 30 }),
      client.meta.get("lease", { cas: true, vivify: 30 }),
    ]);
    assert.ok(first.kind === "hit" && second.kind === "hit");
    assert.deepEqual([first.won, first.leased, second.won, second.leased], [true, false, false, true]);
    assert.equal(first.epoch, second.epoch);
    assert.ok(first.cas);
    assert.equal((await client.meta.delete("lease")).kind, "deleted");
    const fill = await client.meta.set("lease", "old", { compareCas: first.cas }, { on: first.epoch });
    assert.equal(fill.kind, "notFound");
  });

  test("a value that is invalidated with I is still served, as stale", async () => {
    await client.meta.set("swr", "old");
    await client.meta.delete("swr", { invalidate: true, ttl: 30 });
    const [first, second] = await Promise.all([client.meta.get("swr"), client.meta.get("swr")]);
    assert.ok(first.kind === "hit" && second.kind === "hit");
    assert.deepEqual([first.won, first.stale, second.leased, second.stale], [true, true, true, true]);
    assert.equal(first.value?.toString(), "old");
  });

  test("calls of one tick are executed in the order of the calls", async () => {
    const [, before_, , after_] = await Promise.all([
      client.meta.set("order", "1"),
      client.meta.get("order"),
      client.meta.delete("order"),
      client.meta.get("order"),
    ]);
    assert.deepEqual([before_.kind, after_.kind], ["hit", "miss"]);
  });

  test("large and small values travel together", async () => {
    const big = Buffer.alloc(900_000, "x");
    const sizes = [0, 1, 100, 8191, 8192, 65_536, 900_000];
    await Promise.all(sizes.map((size) => client.meta.set(`size-${size}`, big.subarray(0, size))));
    const read = await Promise.all(sizes.map((size) => client.meta.get(`size-${size}`)));
    assert.deepEqual(
      read.map((hit) => (hit.kind === "hit" ? hit.value?.length : hit.kind)),
      sizes,
    );
    assert.ok(read.every((hit) => hit.kind === "hit" && hit.value?.equals(big.subarray(0, hit.value.length))));
  });

  test("text outside of ASCII is stored as UTF-8", async () => {
    await client.meta.set("text", "é€😀");
    const hit = await client.meta.get("text");
    assert.equal(hit.kind === "hit" ? hit.value?.toString() : hit.kind, "é€😀");
  });

  test("a value over the item limit is refused by the server, and the connection goes on", async () => {
    await assert.rejects(client.meta.set("huge", Buffer.alloc(2_000_000)), { code: "EF_VALUE_TOO_LARGE", key: "huge" });
    assert.equal((await client.meta.get("huge")).kind, "miss");
  });

  test("a value of megabytes over the client's limit is told to a promise and to a sink, and the connection goes on", async (t) => {
    const roomy = await startMemcached(["-I", "16m", "-m", "128"]);
    t.after(() => roomy.stop());
    const small = createClient({ servers: roomy.address, valueLimitBytes: 1_000_000 });
    t.after(() => small.close());
    const { epoch } = await small.meta.set("over", Buffer.alloc(12_000_000, "\r\n"));
    await small.meta.set("fine", "1");
    const code = deferred<unknown>();
    const alone = assert.rejects(small.meta.get("over"), { code: "EF_VALUE_TOO_LARGE", key: "over" });
    small.meta.getInto(
      "over",
      {},
      {
        answered: ({ kind }) => code.resolve(kind),
        failed: (error) => code.resolve(isEverfreshError(error) && error.code),
      },
    );
    assert.equal(await textOf(small.meta, "fine"), "1");
    assert.equal(await code.promise, "EF_VALUE_TOO_LARGE");
    await alone;
    const size = await small.meta.get("over", { value: false, size: true }, { on: epoch });
    assert.equal(size.kind === "hit" && size.size, 12_000_000);
  });

  test("flags that the server lacks are refused by its version", async () => {
    await assert.rejects(client.meta.get("old", { ifChangedFrom: "1" as never }), { code: "EF_UNSUPPORTED" });
    await assert.rejects(client.meta.delete("old", { dropValue: true }), { code: "EF_UNSUPPORTED" });
  });

  test("keys that could break the command line are refused", async () => {
    for (const key of ["", "a b", "a\r\nflush_all", "x".repeat(251), "\u007f", "a\0b"])
      await assert.rejects(client.meta.get(key), { code: "EF_KEY" });
  });

  test("counters count in 64 bits", async () => {
    const made = await client.meta.arithmetic("n", { vivify: 0, initial: 18_446_744_073_709_551_614n });
    const more = await client.meta.arithmetic("n");
    assert.ok(made.kind === "number" && more.kind === "number");
    assert.deepEqual([made.value, more.value], [18_446_744_073_709_551_614n, 18_446_744_073_709_551_615n]);
    await client.meta.set("word", "abc");
    await assert.rejects(client.meta.arithmetic("word"), { code: "EF_CLIENT_ERROR" });
  });

  test("a call that was made for a lost connection is not sent on the next one", async () => {
    const hit = await client.meta.get("nothing");
    await server.kill();
    await server.restart();
    await assert.rejects(client.meta.set("late", "1", {}, { on: hit.epoch }), { code: "EF_CONNECTION_LOST" });
    assert.equal((await client.meta.get("late")).kind, "miss");
  });

  for (const protocol of ["text", "binary"] as const) {
    test(`what ${protocol} cannot say is refused, and nothing is done instead`, async (t) => {
      const { meta } = clientOf(t, protocol);
      await meta.set("n", "10");
      await meta.set("a", "head");
      const hit = await meta.get("a", { cas: true });
      assert.ok(hit.kind === "hit" && hit.cas !== undefined);
      const { cas } = hit;
      const beyond: Promise<unknown>[] = [
        meta.arithmetic("n", { ttl: 60 }),
        meta.arithmetic("n", { opaque: "o" }),
        meta.get("a", { opaque: "o" }),
        meta.set("a", "tail", { mode: "add", compareCas: cas }),
      ];
      if (protocol === "text")
        beyond.push(
          meta.arithmetic("n", { compareCas: cas }),
          meta.arithmetic("n", { cas: true }),
          meta.set("a", "tail", { mode: "append", compareCas: cas }),
          meta.set("a", "tail", { mode: "prepend", compareCas: cas }),
        );
      await Promise.all(beyond.map((call) => assert.rejects(call, { code: "EF_UNSUPPORTED" })));
      assert.deepEqual([await textOf(meta, "n"), await textOf(meta, "a")], ["10", "head"]);
      assert.equal((await meta.set("a", "tail", { mode: "replace", compareCas: cas })).kind, "stored");
    });
  }

  test("binary counts and appends only where the token is still the same, and tells the new one", async (t) => {
    const { meta } = clientOf(t, "binary");
    await meta.set("n", "10");
    const first = await meta.arithmetic("n", { cas: true });
    assert.ok(first.kind === "number" && first.cas !== undefined);
    const second = await meta.arithmetic("n", { compareCas: first.cas, cas: true });
    assert.ok(second.kind === "number" && second.cas !== undefined);
    assert.deepEqual([second.value, second.cas !== first.cas], [12n, true]);
    assert.equal((await meta.arithmetic("n", { compareCas: first.cas })).kind, "exists");
    assert.equal((await meta.set("n", "0", { mode: "append", compareCas: first.cas })).kind, "exists");
    assert.equal((await meta.set("n", "0", { mode: "append", compareCas: second.cas })).kind, "stored");
    assert.equal(await textOf(meta, "n"), "120");
  });

  test("the token 0, which a server without tokens gives, changes nothing over binary", async (t) => {
    const own = clientOf(t, "binary");
    await own.meta.set("n", "10");
    const compareCas = "0" as Cas;
    await assert.rejects(own.cas("n", "old", compareCas), { code: "EF_UNSUPPORTED", message: /token 0/ });
    await assert.rejects(own.cas("absent", "old", compareCas), { code: "EF_UNSUPPORTED" });
    await assert.rejects(own.delete("n", { compareCas }), { code: "EF_UNSUPPORTED" });
    await assert.rejects(own.meta.arithmetic("n", { compareCas }), { code: "EF_UNSUPPORTED" });
    assert.deepEqual([await textOf(own.meta, "n"), await textOf(own.meta, "absent")], ["10", "miss"]);
  });

  test("the token 0 adds nothing to what is there over meta, where memcached would not compare with it", async (t) => {
    const own = clientOf(t, "meta");
    await own.meta.set("n", "10");
    const compareCas = "0" as Cas;
    for (const work of [
      own.meta.arithmetic("n", { compareCas }),
      own.meta.set("n", "0", { mode: "append", compareCas }),
      own.meta.set("n", "0", { mode: "prepend", compareCas }),
    ])
      await assert.rejects(work, { code: "EF_UNSUPPORTED", message: /token 0/ });
    assert.equal((await own.cas("n", "old", compareCas)).kind, "exists");
    assert.equal((await own.delete("n", { compareCas })).kind, "exists");
    assert.equal(await textOf(own.meta, "n"), "10");
  });

  test("what the server knows about an item can be asked for", async () => {
    await client.meta.set("known", "1");
    const known = await client.meta.debug("known");
    assert.ok(known.kind === "hit" && Number(known.fields["size"]) > 0);
    assert.deepEqual((await client.meta.noop(server.address)).server, server.address);
    for (const timeoutMs of [-1, 2 ** 31 - 0.5])
      await assert.rejects(client.meta.noop(server.address, { timeoutMs }), { code: "EF_OPTION" });
  });
});
