/**
 * A cache from environment variables, as hosts set them.
 *
 * The first of these that is there is taken, and said:
 *
 *     EVERFRESH_BACKEND=memory | none                                    chosen by hand; "memcached" asks for one of the next three
 *     MEMCACHIER_SERVERS, MEMCACHIER_USERNAME, MEMCACHIER_PASSWORD       MemCachier
 *     MEMCACHEDCLOUD_SERVERS, MEMCACHEDCLOUD_USERNAME, MEMCACHEDCLOUD_PASSWORD
 *     MEMCACHE_SERVERS, and MEMCACHE_USERNAME with MEMCACHE_PASSWORD     any pool; the last two where it asks for them
 *     nothing, outside production                                      the embedded server
 *
 * A configuration that is half there stops the start and names what is missing; nothing is fallen back to silently.
 */
import { memcached, memory, none, type Backend } from "../backend/index.ts";
import { EverfreshError, isEverfreshError, shown } from "../errors.ts";
import { eventChannel } from "../events.ts";
import type { Cache } from "./cache.ts";
import { createCache, type CacheOptions } from "./create-cache.ts";

/** The environment: `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What {@link cacheFromEnv} made. */
export interface CacheFromEnv {
  readonly cache: Cache;
  readonly kind: "memcached" | "embedded" | "memory" | "none";
  /** One sentence: what it runs on, and which variables said so. Never a secret. */
  readonly description: string;
  /** Closes the cache, and the embedded server where there is one. */
  close(): Promise<void>;
}

interface Choice {
  readonly kind: CacheFromEnv["kind"];
  readonly backend: Backend;
  readonly description: string;
  readonly stop?: () => Promise<void>;
}

/** Without any configuration: a server in this process, spoken to like any other; outside production only. */
async function embedded(env: Environment): Promise<Choice> {
  if (text(env, "NODE_ENV") === "production")
    throw wrong(
      `no cache is configured: set ${serverVariables}; or choose EVERFRESH_BACKEND=memory (one process only) or EVERFRESH_BACKEND=none`,
    );
  // Loaded where it is used: it is a third of what there is to load, and production never runs it.
  const { createServer } = await import("../server/index.ts");
  const server = await createServer().listen();
  const backend = memcached(server.address);
  const description = `The cache is the embedded server at ${server.address}, because no server is configured; it lives and dies with this process.`;
  return { kind: "embedded", backend, description, stop: () => server.close() };
}

const serverVariables = "MEMCACHIER_SERVERS, MEMCACHIER_USERNAME and MEMCACHIER_PASSWORD, or MEMCACHE_SERVERS";

/** Prefixes of variables, and whether the service behind them always asks who one is. */
const services = [
  { prefix: "MEMCACHIER", asksWho: true },
  { prefix: "MEMCACHEDCLOUD", asksWho: true },
  { prefix: "MEMCACHE", asksWho: false },
] as const;

/**
 * Makes the cache that the environment describes.
 *
 * @param options everything but the backend
 * @throws EverfreshError `EF_OPTION` that names the variable that is missing or wrong
 */
export async function cacheFromEnv(
  env: Environment,
  options: Omit<CacheOptions, "backend"> = {},
): Promise<CacheFromEnv> {
  if (typeof env !== "object" || env === null)
    throw new EverfreshError("EF_OPTION", `cacheFromEnv takes an environment, such as process.env; got ${shown(env)}`);
  const { kind, backend, description, stop } = byHand(env) ?? pool(env) ?? (await embedded(env));
  let cache: Cache;
  try {
    cache = createCache({ ...options, backend });
  } catch (error) {
    // Options that are refused must not leave a server behind, which would keep the process alive.
    await backend.close();
    await stop?.();
    throw error;
  }
  const notice = eventChannel("everfresh:notice");
  if (notice.hasSubscribers) notice.publish({ message: description });
  return {
    cache,
    kind,
    description,
    async close() {
      await cache.close();
      await stop?.();
    },
  };
}

function byHand(env: Environment): Choice | undefined {
  const chosen = text(env, "EVERFRESH_BACKEND");
  switch (chosen) {
    case undefined:
      return undefined;
    case "memcached": {
      const servers = pool(env);
      if (servers !== undefined) return servers;
      throw wrong(`EVERFRESH_BACKEND is "memcached", but no variable names servers: set ${serverVariables}`);
    }
    case "memory": {
      const backend = memory();
      const description = `The cache is ${backend.describe()}, as EVERFRESH_BACKEND says. Other processes do not see it.`;
      return { kind: "memory", backend, description };
    }
    case "none":
      return {
        kind: "none",
        backend: none(),
        description: "There is no cache, as EVERFRESH_BACKEND says: every read computes.",
      };
    default:
      throw wrong(`EVERFRESH_BACKEND is ${shown(chosen)}; it is "memcached", "memory" or "none"`);
  }
}

function pool(env: Environment): Choice | undefined {
  for (const { prefix, asksWho } of services) {
    const names = { servers: `${prefix}_SERVERS`, username: `${prefix}_USERNAME`, password: `${prefix}_PASSWORD` };
    const servers = text(env, names.servers);
    const username = text(env, names.username);
    const password = text(env, names.password);
    if (servers === undefined && username === undefined && password === undefined) continue;
    if (servers === undefined) throw missing(names.servers, username === undefined ? names.password : names.username);
    if (username === undefined && (asksWho || password !== undefined)) throw missing(names.username, names.servers);
    if (password === undefined && username !== undefined) throw missing(names.password, names.username);
    const list = servers.split(",").map((server) => server.trim());
    if (list.includes("")) throw wrong(`${names.servers} has an empty place in its list`);
    const backend = poolOf(list, username, password, names.servers);
    const description = `The cache is ${backend.describe()}, from ${names.servers}${username === undefined ? "" : ` with ${names.username}`}.`;
    return { kind: "memcached", backend, description };
  }
  return undefined;
}

/** The servers of a variable, which is named where they are refused. */
function poolOf(
  servers: readonly string[],
  username: string | undefined,
  password: string | undefined,
  variable: string,
): Backend {
  try {
    return memcached(servers, username === undefined || password === undefined ? {} : { username, password });
  } catch (error) {
    if (!isEverfreshError(error, "EF_OPTION")) throw error;
    throw wrong(`${variable}: ${error.message.replace(/^(?:servers|createClient): /, "")}`);
  }
}

/** An empty variable is how many hosts say "none". */
function text(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === "" ? undefined : value;
}

function missing(name: string, because: string): EverfreshError {
  return wrong(`${because} is set but ${name} is not; set ${name}, or remove ${because}`);
}

function wrong(message: string): EverfreshError {
  return new EverfreshError("EF_OPTION", message);
}
