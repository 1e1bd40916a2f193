/** `memcached(...)`: a backend from a list of servers, or from a client that is there already. */
import { createClient, type ClientOptions, type MemcachedClient } from "../client/index.ts";
import type { Backend } from "./backend.ts";
import { metaBackend } from "./memcached.ts";

export interface MemcachedOptions extends Omit<ClientOptions, "servers"> {
  /**
   * The servers before, or after, the set changed: invalidations go to the homes that keys have there, too. Change a
   * set in three deployments: old with `previousServers: new`; new with `previousServers: old`; new alone.
   */
  readonly previousServers?: ClientOptions["servers"];
  /** The largest item that the servers take (`-I`), in bytes. Default: 1 MiB. Larger values are cut into chunks. */
  readonly itemBytes?: number;
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
  const { previousServers, itemBytes, ...rest } = options;
  const client = isClient(servers) ? servers : createClient({ ...rest, servers });
  return metaBackend(client, {
    ...(previousServers !== undefined && {
      previous: metaBackend(createClient({ ...rest, servers: previousServers })),
    }),
    ...(itemBytes !== undefined && { itemLimitBytes: itemBytes - 1024 }),
  });
}

function isClient(servers: ClientOptions["servers"] | MemcachedClient): servers is MemcachedClient {
  return typeof servers === "object" && "meta" in servers;
}
