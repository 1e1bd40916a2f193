/**
 * The environment, read once into one frozen object; every problem with it is told in one go, a sentence each.
 *
 * The cache's own variables (`MEMCACHIER_*`, `MEMCACHE_*`, `EVERFRESH_BACKEND`) are read by `cacheFromEnv`.
 */
import { randomBytes } from "node:crypto";
import { databaseTarget, type DatabaseTarget } from "./database-url.ts";

/** How log lines look: one JSON object each, or short lines for the person who ran `npm start`. */
export type LogFormat = "json" | "human";

const logFormats = ["json", "human"] as const satisfies readonly LogFormat[];
const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

/** Everything that the app takes from its environment. */
export interface Config {
  /** `NODE_ENV=production`: nothing is guessed, what is missing stops the start. */
  readonly production: boolean;
  /** `HOST`, the address to listen on. Default: `localhost`; in production `::`, which is every address. */
  readonly host: string;
  /** `PORT`. Default: 8000. 0 takes a free one. */
  readonly port: number;
  /** `DATABASE_URL`. Default: `sqlite:///.everfresh/queue.sqlite`; must be set in production. */
  readonly database: DatabaseTarget;
  /** `DATABASE_POOL_SIZE`, connections to PostgreSQL per process. Default: 5; the small plans of Heroku allow 20 in all. */
  readonly poolSize: number;
  /** `SLOW_QUERY_MS`, how much the queue's query is slowed down to make caching visible. Default: 0. */
  readonly slowQueryMs: number;
  /** `PAGE_CACHE`: 1 (default) caches the whole page; 0 renders it for each visitor from the cached query, as the article does. */
  readonly pageCache: boolean;
  /** `WRITES_PER_MINUTE`, adds and removes together, per address of the network. Default: 120; 0 means no limit. */
  readonly writesPerMinute: number;
  /** `QUEUE_MAX_ITEMS`, adding to a longer queue is refused. Default: 1,000,000. */
  readonly maxItems: number;
  /** `SESSION_SECRET`, signs the cookies. At least 32 characters; in development a random one per start. */
  readonly sessionSecret: string;
  /** `TRUST_PROXY`, how many proxies in front may be believed about the visitor's address. Default: 0; on Heroku 1. */
  readonly trustedProxies: number;
  /** `LOG_LEVEL`. Default: `info`. */
  readonly logLevel: (typeof logLevels)[number];
  /** `LOG_FORMAT`, `json` or `human`. Default: `json`. */
  readonly logFormat: LogFormat;
  /** `EVERFRESH_MIGRATE=1`: bring the tables up to date before listening. */
  readonly migrate: boolean;
}

/** The environment cannot be used; the message has a sentence per problem. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/**
 * Reads the configuration.
 *
 * @throws ConfigError with everything that is wrong, not only the first
 */
export function configFromEnv(env: NodeJS.ProcessEnv): Config {
  const problems: string[] = [];
  const reader = new EnvReader(env, problems);
  const production = env["NODE_ENV"] === "production";
  const heroku = reader.text("DYNO") !== undefined;
  const config: Config = {
    production,
    host: reader.text("HOST") ?? (production ? "::" : "localhost"),
    port: reader.whole("PORT", 8_000, 0, 65_535),
    database: databaseTarget(env, { production, heroku }, problems),
    poolSize: reader.whole("DATABASE_POOL_SIZE", 5, 1, 1_000),
    slowQueryMs: reader.whole("SLOW_QUERY_MS", 0, 0, 60_000),
    pageCache: reader.oneOf("PAGE_CACHE", ["0", "1"], "1") === "1",
    writesPerMinute: reader.whole("WRITES_PER_MINUTE", 120, 0, 1_000_000),
    maxItems: reader.whole("QUEUE_MAX_ITEMS", 1_000_000, 1, 1_000_000_000),
    sessionSecret: sessionSecret(reader, production, problems),
    trustedProxies: reader.whole("TRUST_PROXY", heroku ? 1 : 0, 0, 10),
    logLevel: reader.oneOf("LOG_LEVEL", logLevels, "info"),
    logFormat: reader.oneOf("LOG_FORMAT", logFormats, "json"),
    migrate: reader.oneOf("EVERFRESH_MIGRATE", ["0", "1"], "0") === "1",
  };
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config);
}

/** Reads single variables. An empty one counts as not set, as everywhere in Heroku's and Docker's tools. */
class EnvReader {
  readonly #env: NodeJS.ProcessEnv;
  readonly #problems: string[];

  constructor(env: NodeJS.ProcessEnv, problems: string[]) {
    this.#env = env;
    this.#problems = problems;
  }

  text(name: string): string | undefined {
    const value = this.#env[name]?.trim();
    return value === "" ? undefined : value;
  }

  whole(name: string, fallback: number, least: number, most: number): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    this.#problems.push(`${name} is ${JSON.stringify(text)}; it must be a whole number from ${least} to ${most}.`);
    return fallback;
  }

  oneOf<const Choice extends string>(name: string, choices: readonly Choice[], fallback: Choice): Choice {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const choice = choices.find((each) => each === text);
    if (choice === undefined)
      this.#problems.push(`${name} is ${JSON.stringify(text)}; it is one of ${choices.join(", ")}.`);
    return choice ?? fallback;
  }
}

function sessionSecret(reader: EnvReader, production: boolean, problems: string[]): string {
  const secret = reader.text("SESSION_SECRET");
  if (secret === undefined) {
    if (production)
      problems.push(
        "SESSION_SECRET is missing. In production it must be set, the same for every process: 32 characters or more that nobody can guess, for example from `openssl rand -hex 32`.",
      );
    return randomBytes(32).toString("hex");
  }
  if (secret.length < 32) problems.push("SESSION_SECRET is too short: it needs at least 32 characters.");
  return secret;
}
