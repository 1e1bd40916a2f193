/** Which leases a pool uses, by what its servers turn out to speak. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { memcached } from "everfresh";
import { createClient } from "everfresh/client";
import { onLines, startPeer } from "../support/peers.ts";

test("a server that cannot be used, or once spoke nothing but text, is asked in meta as soon as it speaks that", async (t) => {
  const heard: string[] = [];
  const sockets: { destroy(): void }[] = [];
  let phase: "full" | "old" | "new" = "full";
  const peer = await startPeer((socket) => {
    sockets.push(socket);
    if (phase === "full") socket.end("ERROR Too many open connections\r\n");
    onLines(socket, (line) => {
      if (!socket.writable) return;
      heard.push(line);
      if (line === "version") socket.write("VERSION 1.6.18\r\n");
      else if (phase === "old") socket.write(/^gets? /.test(line) ? "VALUE k 0 1 7\r\nv\r\nEND\r\n" : "ERROR\r\n");
      else socket.write(line === "mn" ? "MN\r\n" : "VA 1 kk f0 c7\r\nv\r\n");
    });
  });
  t.after(() => peer.stop());
  const client = createClient({ servers: peer.address, backoff: { firstMs: 1, longestMs: 1 } });
  const backend = memcached(client);
  t.after(() => backend.close());
  await assert.rejects(backend.read("k", { lease: 5 }), { code: "EF_SERVER_DOWN" });
  assert.equal(backend.keepsStale, true);
  /** Reads until the server was found again. */
  const read = async (): Promise<string> => {
    for (let tries = 0; ; tries++) {
      const reading = await backend
        .read("k", { lease: 5 })
        .catch((error: unknown) => (tries > 200 ? error : undefined));
      if (reading !== undefined) return (reading as { kind: string }).kind;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  phase = "old";
  assert.equal(await read(), "item");
  assert.equal(backend.keepsStale, false);
  phase = "new";
  for (const socket of sockets) socket.destroy();
  assert.equal(await read(), "item");
  assert.equal(client.servers()[0]?.protocol, "meta");
  assert.equal(await read(), "item");
  assert.equal(backend.keepsStale, true);
  assert.ok(heard.some((line) => line.startsWith("mg k")));
});
