/** Connections that break after every single byte, on every protocol. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createClient, isEverfreshError, type MemcachedClient } from "everfresh/client";
import { startMemcached, type RealMemcached } from "../support/memcached.ts";
import { startProxy } from "../support/peers.ts";
import { needs } from "../support/programs.ts";

const keys = ["alice", "bob", "carol"];
const valueOf = (key: string): string => `${key}:${"x".repeat(20)}\r\n${key}`;
const honest = new Set(["EF_CONNECTION_LOST", "EF_SERVER_DOWN", "EF_TIMEOUT", "EF_PROTOCOL"]);

/** Reads everything at once; every outcome must be the right value or an honest failure. Returns the number of failures. */
async function readAll(client: MemcachedClient): Promise<number> {
  const single = await Promise.allSettled(keys.map((key) => client.get(key)));
  const many = await client.getMany(keys);
  let failures = 0;
  for (const [at, outcome] of single.entries()) {
    if (outcome.status === "rejected") {
      assert.ok(isEverfreshError(outcome.reason) && honest.has(outcome.reason.code), String(outcome.reason));
      failures++;
    } else {
      assert.ok(outcome.value.kind === "hit");
      assert.equal(outcome.value.value, valueOf(keys[at] ?? ""));
    }
  }
  for (const key of keys) {
    if (many.errors.has(key)) failures++;
    else assert.equal(many.values.get(key), valueOf(key));
  }
  return failures;
}

describe("a connection that breaks", needs("memcached"), () => {
  let server: RealMemcached;
  before(async () => {
    server = await startMemcached();
    const client = createClient({ servers: server.address });
    await client.setMany(keys.map((key) => [key, valueOf(key)]));
    await client.close();
  });
  after(() => server.stop());

  for (const protocol of ["meta", "text", "binary"] as const) {
    for (const how of ["end", "reset"] as const) {
      test(`after any number of bytes by ${how} gives nobody wrong bytes and comes back (${protocol})`, async () => {
        let total = 1000;
        for (let cut = 0; cut <= total; cut += how === "end" ? 1 : 7) {
          let said = 0;
          const proxy = await startProxy(server.port, (chunk, socket, connection) => {
            const left = connection > 0 ? Infinity : cut - said;
            if (connection === 0) said += chunk.length;
            if (left >= chunk.length) {
              socket.write(chunk);
              return;
            }
            socket.write(chunk.subarray(0, Math.max(0, left)), () => {
              if (how === "end") socket.end();
              else socket.resetAndDestroy();
            });
          });
          const client = createClient({
            servers: proxy.address,
            protocol,
            timeoutMs: 2000,
            backoff: { firstMs: 1, longestMs: 5 },
          });
          const failures = await readAll(client);
          if (failures === 0 && said <= cut) total = Math.min(total, cut);
          // The way back may take the first probe.
          const until = performance.now() + 2000;
          while ((await readAll(client)) > 0) {
            assert.ok(performance.now() < until, `it did not come back after a cut at ${cut}`);
            await new Promise((resolve) => setTimeout(resolve, 2));
          }
          await client.close();
          await proxy.stop();
        }
        assert.ok(total > 100 && total < 1000, `the session has ${total} bytes`);
      });
    }

    test(`a server that answers byte by byte is understood (${protocol})`, async () => {
      const proxy = await startProxy(server.port, (chunk, socket) => {
        for (let at = 0; at < chunk.length; at++) socket.write(chunk.subarray(at, at + 1));
      });
      const client = createClient({ servers: proxy.address, protocol });
      assert.equal(await readAll(client), 0);
      await client.close();
      await proxy.stop();
    });
  }
});
