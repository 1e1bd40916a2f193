/** `memcached(...)`: a backend from a list of servers, or from a client that is there already. */
import { createClient, type ClientOptions, type MemcachedClient } from "../client/index.ts";
import { systemRandom } from "../clock.ts";
import { EverfreshError, shown } from "../errors.ts";
import { AdaptiveBackend } from "./adaptive.ts";
import type { Backend, ReadSink, Want } from "./backend.ts";
import { ChunkingBackend } from "./chunking.ts";
import { classicBackend } from "./classic.ts";
import { metaBackend } from "./memcached.ts";

export interface MemcachedOptions extends Omit<ClientOptions, "servers" | "failover" | "discovery"> {
  /**
   * The servers before, or after, the set changed: invalidations go to the homes that keys have there, too. Change a
   * set in three deployments: old with `previousServers: new`; new with `previousServers: old`; new alone.
   */
  readonly previousServers?: ClientOptions["servers"] | undefined;
  /** The largest item that the servers take (`-I`), in bytes. Default: 1 MiB. Larger values are cut into chunks. */
  readonly itemBytes?: number | undefined;
}

/**
 * Values on memcached servers.
 *
 * @param servers `"10.0.0.1:11211,10.0.0.2:11211"`, a list, or a client of `everfresh/client`
 * @throws EverfreshError `EF_OPTION`
 */
export function memcached(
  servers: ClientOptions["servers"] | MemcachedClient,
  options: MemcachedOptions = {},
): Backend {
  if (typeof options !== "object" || options === null)
    throw new EverfreshError("EF_OPTION", `memcached takes servers and an object of options; got ${shown(options)}`);
  const { previousServers, itemBytes = 1024 * 1024, ...rest } = options;
  // Its key, its header and its place in the server's memory belong to an item, too.
  const itemLimitBytes = itemBytes - 1024;
  if (!(itemLimitBytes >= 1024))
    throw new EverfreshError("EF_OPTION", `itemBytes is ${shown(itemBytes)}; at least 2048`);
  const random = rest.random ?? systemRandom;
  const over = (client: MemcachedClient, previous: Backend | undefined): Backend => {
    const refused = (key: string, want: Want, sink: ReadSink, error: unknown): void =>
      adaptive.refused(key, want, sink, error);
    const classic = classicBackend(client, { itemLimitBytes, random });
    const meta = metaBackend(client, { itemLimitBytes, refused });
    const adaptive = new AdaptiveBackend(meta, classic, previous, (server) => client.protocolOf(server));
    if (rest.protocol === "text" || rest.protocol === "binary") adaptive.useClassic();
    return new ChunkingBackend(adaptive, random);
  };
  if (isClient(servers)) servers.keepHomes();
  const client = isClient(servers) ? servers : connect({ ...rest, servers });
  const previous =
    previousServers === undefined ? undefined : over(connect({ ...rest, servers: previousServers }), undefined);
  return over(client, previous);
}

function connect(options: ClientOptions): MemcachedClient {
  const client = createClient(options);
  try {
    client.keepHomes();
  } catch (error) {
    void client.close();
    throw error;
  }
  return client;
}

function isClient(servers: ClientOptions["servers"] | MemcachedClient): servers is MemcachedClient {
  return typeof servers === "object" && servers !== null && "meta" in servers;
}
