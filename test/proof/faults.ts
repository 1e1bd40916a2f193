/** What happens to the servers, the connections and the processes while the fleet of the proof runs. */
import assert from "node:assert/strict";
import type { MemcachedClient } from "everfresh/client";
import { startFaultProxy } from "../support/fault-proxy.ts";
import type { RealMemcached } from "../support/memcached.ts";
import { pause, type Fleet } from "./fleet.ts";

/** What a fault is given. */
export interface Place {
  /** Milliseconds; what happens is measured by it. */
  readonly ms: number;
  /** How many times as long as usual that is. */
  readonly scale: number;
  readonly start: (flags?: readonly string[]) => Promise<RealMemcached>;
  /** Logged in, where that is needed. */
  readonly client: (address: string) => MemcachedClient;
}

/** A fault, ready to happen. */
export interface Scene {
  readonly servers: string;
  /** How long the fleet runs. */
  readonly ms: number;
  meanwhile(fleet: Fleet): Promise<void>;
  /** Whether what should happen did happen. */
  check?(): Promise<string>;
  close(): Promise<void>;
}

export const faults = {
  /** Nothing happens. */
  async nothing({ ms, start }: Place): Promise<Scene> {
    const server = await start();
    return { servers: server.address, ms, meanwhile: () => Promise.resolve(), close: () => server.stop() };
  },

  /** Away for longer than invalidations wait, so that some are pending. */
  async server({ ms, start, client }: Place): Promise<Scene> {
    const server = await start();
    return {
      servers: server.address,
      ms: 2.5 * ms,
      async meanwhile() {
        await pause(ms / 4);
        await server.kill();
        await pause(ms / 2);
        await server.restart();
        await pause(ms / 3);
        server.signal("SIGSTOP");
        await pause(350);
        server.signal("SIGCONT");
        await pause(ms / 4);
        const own = client(server.address);
        await own.flush();
        await own.close();
      },
      close: () => server.stop(),
    };
  },

  /** Items of the sizes that the cache's own have push those out of a small memory, all the time. */
  async memory({ ms, start, client }: Place): Promise<Scene> {
    const server = await start(["-m", "2"]);
    const own = client(server.address);
    const fill = async (): Promise<void> => {
      const items = Array.from({ length: 4_000 }, () => "x".repeat(8 + Math.floor(Math.random() * 120)));
      await Promise.all(items.map((value) => own.set(`f${Math.random()}`, value)));
    };
    const evictions = async (): Promise<number> => {
      const [stats] = (await own.stats()).values.values();
      return Number(stats?.["evictions"]);
    };
    while ((await evictions()) === 0) await fill();
    return {
      servers: server.address,
      ms,
      async meanwhile() {
        const until = performance.now() + ms * 0.8;
        while (performance.now() < until) {
          await fill();
          await pause(20);
        }
      },
      async check() {
        const count = await evictions();
        assert.ok(count > 1_000, `${count} evictions`);
        return `${count} evictions`;
      },
      async close() {
        await own.close();
        await server.stop();
      },
    };
  },

  /** Connections are cut, delayed and black-holed. */
  async connections({ ms, scale, start }: Place): Promise<Scene> {
    const server = await start();
    const proxy = await startFaultProxy(server.port);
    return {
      servers: proxy.address,
      ms: 2 * ms,
      async meanwhile() {
        for (let round = 0; round < 1.5 * scale; round += 1) {
          // Long enough for what is pending to be delivered, so that there are hits to be judged.
          await pause(ms / 2 / scale);
          proxy.cut();
          await pause(ms / 10 / scale);
          proxy.cut();
          proxy.delay(30);
          await pause(ms / 5 / scale);
          proxy.delay(0);
          proxy.blackHole(true);
          await pause(300);
          proxy.blackHole(false);
        }
      },
      async close() {
        await proxy.close();
        await server.stop();
      },
    };
  },

  /** A pool of three loses one and gets it back. */
  async pool({ ms, start }: Place): Promise<Scene> {
    const pool = [await start(), await start(), await start()] as const;
    return {
      servers: pool.map((server) => server.address).join(","),
      ms: 2 * ms,
      async meanwhile() {
        await pause(ms / 2);
        await pool[1].kill();
        await pause(ms / 2);
        await pool[1].restart();
      },
      async close() {
        for (const server of pool) await server.stop();
      },
    };
  },

  /** Another set of servers takes over, process by process, in the three steps that the guide names. */
  async rollout({ ms, start }: Place): Promise<Scene> {
    const [gone, stays, comes] = [await start(), await start(), await start()];
    const before = `${gone.address},${stays.address}`;
    const next = `${stays.address},${comes.address}`;
    const steps = [
      { servers: before, options: { previousServers: next } },
      { servers: next, options: { previousServers: before } },
      { servers: next, options: { previousServers: undefined } },
    ];
    return {
      servers: before,
      ms,
      async meanwhile(fleet) {
        for (const step of steps)
          for (let index = 0; index < fleet.children.length; index += 1) {
            await fleet.replace(index, step);
            await pause(ms / 20);
          }
        // Nobody asks it any more.
        await gone.kill();
        await pause(ms / 4);
      },
      async close() {
        for (const server of [gone, stays, comes]) await server.stop();
      },
    };
  },

  /** Processes are killed at any moment, and others take their place. */
  async processes({ ms, scale, start }: Place): Promise<Scene> {
    const server = await start();
    return {
      servers: server.address,
      ms: 2 * ms,
      async meanwhile(fleet) {
        for (let kills = 0; kills < 4 * scale; kills += 1) {
          await pause((ms / 4 / scale) * Math.random());
          await fleet.respawn(kills % fleet.children.length);
        }
      },
      close: () => server.stop(),
    };
  },
} as const;

export const inWords: Readonly<Record<keyof typeof faults, string>> = {
  nothing: "nothing happens",
  server: "memcached is killed and restarted, stopped and continued, and flushed",
  memory: "everything is evicted all the time",
  connections: "connections are cut, delayed and black-holed",
  pool: "a pool of three loses one and gets it back",
  rollout: "the set of servers is changed, process by process",
  processes: "processes are killed at any moment",
};
