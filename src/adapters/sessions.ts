/**
 * Sessions in a cache, for `express-session` and `@fastify/session`, which ask their stores the same questions.
 *
 * Two requests of one visitor that run at the same time each load the session, change their part of it and save all of it;
 * the later one would undo the earlier. Here a save compares: what the request has changed since it loaded the session is
 * put into what is stored by now, one top-level property at a time, until nobody else wrote in between.
 *
 * A session that was ended stays ended: for an hour a mark stands in its place, so that a slow request which had loaded it
 * before cannot bring it back to life.
 */
import { durationMs, type Duration } from "../duration.ts";
import { EverfreshError } from "../errors.ts";
import { checkNames } from "../option-names.ts";

/** What a session store needs of a cache; the one of `everfresh` has it. */
export interface SessionCache {
  getEntry(key: string): Promise<{ readonly value: unknown; readonly why: string | undefined }>;
  update<T>(key: string, change: (value: T) => T | undefined, options?: { ttl?: Duration }): Promise<T | undefined>;
  add(key: string, value: unknown, options?: { ttl?: Duration }): Promise<boolean>;
  set(key: string, value: unknown, options?: { ttl?: Duration }): Promise<boolean>;
}

export interface SessionStoreOptions {
  /** What stands before the session's id in the key. Default: `session:`. */
  readonly prefix?: string | undefined;
  /** How long a session lasts whose cookie does not say so. Default: 1 day. */
  readonly ttl?: Duration | undefined;
}

/** A session as the middleware hands it over: properties of the app's own, and a cookie that says until when. */
export interface SessionLike {
  readonly cookie?: { readonly maxAge?: number | null; readonly expires?: unknown; readonly originalMaxAge?: unknown };
}

type Done = (error?: unknown, session?: unknown) => void;
type Data = Record<string, unknown>;

const endedFor = { hours: 1 } as const;
/** Thrown, and caught, where the mark of an ended session is found. */
const ended = new Error("the session was ended");
const mostAttempts = 4;
/** Where a loaded session remembers how it was; it disappears when the session is written down. */
const baseName = "everfreshBase";

/** What both middlewares call. */
export class SessionStore {
  readonly #cache: SessionCache;
  readonly #prefix: string;
  readonly #ttlMs: number;
  /** How each session object was when it was last saved. */
  readonly #saved = new WeakMap<object, Data>();

  constructor(cache: SessionCache, options: SessionStoreOptions = {}) {
    checkNames(options, { prefix: true, ttl: true }, "the store of sessions");
    if (typeof cache?.getEntry !== "function" || typeof cache.update !== "function")
      throw new EverfreshError("EF_OPTION", "sessions are kept in a cache, such as createCache makes");
    if (options.prefix !== undefined && typeof options.prefix !== "string")
      throw new EverfreshError("EF_OPTION", `the prefix of sessions is ${typeof options.prefix}; it is a text`);
    this.#cache = cache;
    this.#prefix = options.prefix ?? "session:";
    this.#ttlMs = durationMs(options.ttl ?? "1d", "ttl");
  }

  /** @param done is given a session of its middleware's own type */
  get(id: string, done: (error?: unknown, session?: never) => void): void {
    void settle(this.load(id), done as Done);
  }

  set(id: string, session: SessionLike, done?: Done): void {
    void settle(this.save(id, session), done);
  }

  touch(id: string, session: SessionLike, done?: Done): void {
    void settle(
      this.#update(id, session, (now) => now),
      done,
    );
  }

  destroy(id: string, done?: Done): void {
    void settle(this.end(id), done);
  }

  /** The session, or null where there is none. Rejects when it cannot be known, rather than logging somebody out. */
  async load(id: string): Promise<Data | null> {
    const { value, why } = await this.#cache.getEntry(this.#prefix + id);
    if (value === undefined && (why === "unreachable" || why === "pending")) throw unreachable();
    if (!isData(value) || isEnded(value)) return null;
    const base = new Base(structuredClone(value));
    return { ...value, [baseName]: base };
  }

  async save(id: string, session: SessionLike): Promise<void> {
    const data = plain(session);
    const loaded: unknown = Reflect.get(session, baseName);
    const base = this.#saved.get(session) ?? (loaded instanceof Base ? loaded.data : {});
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const isWritten =
        (await this.#update(id, session, (now) => merged(base, now, data))) ||
        (await this.#cache.add(this.#prefix + id, data, this.#lifeOf(session)));
      if (isWritten) {
        this.#saved.set(session, data);
        return;
      }
    }
    throw unreachable();
  }

  async end(id: string): Promise<void> {
    if (!(await this.#cache.set(this.#prefix + id, { ended: true }, { ttl: endedFor }))) throw unreachable();
  }

  /**
   * Changes what is stored of a session, which lives on for as long as `session` says. Of one that was ended the mark stays for as
   * long as it was to. Answers whether there was anything.
   */
  async #update(id: string, session: SessionLike, change: (now: Data) => Data): Promise<boolean> {
    const unlessEnded = (now: Data): Data => {
      if (isEnded(now)) throw ended;
      return change(now);
    };
    try {
      return (await this.#cache.update(this.#prefix + id, unlessEnded, this.#lifeOf(session))) !== undefined;
    } catch (error) {
      if (error === ended) return true;
      throw error;
    }
  }

  #lifeOf({ cookie }: SessionLike): { ttl: Duration } {
    const own = [cookie?.maxAge, cookie?.originalMaxAge].find((ms) => typeof ms === "number");
    return { ttl: { milliseconds: typeof own === "number" ? Math.max(1, own) : this.#ttlMs } };
  }
}

/** How a session was when it was loaded; not a part of what is written down. */
class Base {
  readonly data: Data;

  constructor(data: Data) {
    this.data = data;
  }

  toJSON(): undefined {
    return undefined;
  }
}

/** `now` with what has changed from `base` to `mine`. The cookie is always mine: it was renewed by this request. */
function merged(base: Data, now: Data, mine: Data): Data {
  const result: Data = { ...now };
  for (const name of new Set([...Object.keys(base), ...Object.keys(mine)])) {
    if (name !== "cookie" && JSON.stringify(base[name]) === JSON.stringify(mine[name])) continue;
    if (Object.hasOwn(mine, name)) result[name] = mine[name];
    else Reflect.deleteProperty(result, name);
  }
  return result;
}

/** The session as both middlewares mean it: what JSON makes of it. */
function plain(session: SessionLike): Data {
  return JSON.parse(JSON.stringify(session)) as Data;
}

function isData(value: unknown): value is Data {
  return typeof value === "object" && value !== null;
}

function isEnded(value: Data): boolean {
  return value["ended"] === true && value["cookie"] === undefined;
}

function unreachable(): EverfreshError {
  return new EverfreshError("EF_SERVER_DOWN", "the cache that holds the sessions cannot be asked");
}

async function settle(work: Promise<unknown>, done: Done | undefined): Promise<void> {
  let value: unknown;
  try {
    value = await work;
  } catch (error) {
    done?.(error);
    return;
  }
  done?.(null, value);
}
