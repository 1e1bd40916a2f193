/**
 * Backends that break one rule of the contract each, and the contract suite over each of them. Run by
 * `contract.test.ts`, as a program of its own: its tests are to fail.
 */
import { memory, type Backend, type Token } from "everfresh";
import { backendContract, ManualClock } from "everfresh/testing";

type Method = (...args: never[]) => unknown;
/** What is wrong with one: methods in the place of those of `right`. */
type Wrong = (right: Backend) => Partial<Record<keyof Backend, Method>>;

const methods = ["read", "claim", "expire", "replace", "renew", "drop", "put", "remove"] as const;
const rest = ["describe", "serverOf", "servers", "close"] as const;

/** Stores where `right` refused, if `isAllowed` says so. */
function alsoFills(right: Backend, isAllowed: (key: string, token: Token) => Promise<boolean> | boolean): Method {
  return async (...[key, token, item, seconds]: Parameters<Backend["replace"]>) => {
    const stored = await right.replace(key, token, item, seconds);
    if (stored !== undefined || !(await isAllowed(key, token))) return stored;
    await right.put(key, item, seconds, "set");
    const reading = await right.read(key, {});
    return reading.kind === "item" ? reading.token : undefined;
  };
}

/** A `read` that notes the token of the last lease of `kind` that it gave for each key. */
function noting(right: Backend, kind: "won" | "item", given: Map<string, Token>): Method {
  return async (...[key, want]: Parameters<Backend["read"]>) => {
    const reading = await right.read(key, want);
    const gave = reading.kind === "won" || (reading.kind === "item" && reading.won);
    if (gave && reading.kind === kind) given.set(key, reading.token);
    return reading;
  };
}

const isVersion = (token: Token | undefined, { version }: Token): boolean => token?.version === version;

const wrongs: Record<string, Wrong> = {
  "none: this one is right": () => ({}),
  "drop removes whatever stands": (right) => ({
    drop: async (key: string, token: Token) => (await right.drop(key, token)) || (await right.remove(key)),
  }),
  "expire marks whatever stands": (right) => ({
    expire: async (key: string, token: Token, seconds = 30) =>
      (await right.expire(key, token, seconds)) || (await right.remove(key, seconds)),
  }),
  "renew gives the lease that stands to who had one before": (right) => {
    const latest = new Map<string, Token>();
    return {
      read: noting(right, "won", latest),
      renew: async (key: string, token: Token, seconds: number) =>
        await right.renew(key, latest.get(key) ?? token, seconds),
    };
  },
  "put does not end a lease": (right) => {
    const put = new Set<string>();
    return {
      put: async (...args: Parameters<Backend["put"]>) => {
        put.add(args[0]);
        return await right.put(...args);
      },
      replace: alsoFills(right, (key) => put.has(key)),
    };
  },
  "an invalidation that keeps nothing leaves the lease of a refresh": (right) => {
    const refreshes = new Map<string, Token>();
    return {
      read: noting(right, "item", refreshes),
      replace: alsoFills(right, (key, token) => isVersion(refreshes.get(key), token)),
    };
  },
  "an invalidation that keeps a value leaves a lease": (right) => ({
    remove: async (key: string, seconds = 0) => {
      if (seconds > 0 && (await right.read(key, {})).kind !== "item") return false;
      return await right.remove(key, seconds);
    },
  }),
  "an invalidation that keeps a value leaves one that is kept already": (right) => ({
    remove: async (key: string, seconds = 0) => {
      const reading = await right.read(key, {});
      return (seconds > 0 && reading.kind === "item" && reading.stale) || (await right.remove(key, seconds));
    },
  }),
  "a lease that is over fills where nothing is": (right) => {
    const won = new Map<string, Token>();
    return {
      read: noting(right, "won", won),
      remove: async (key: string, seconds?: number) => {
        const wasThere = await right.remove(key, seconds);
        if (wasThere) won.delete(key);
        return wasThere;
      },
      drop: async (key: string, token: Token) => {
        won.delete(key);
        return await right.drop(key, token);
      },
      replace: alsoFills(
        right,
        async (key, token) => isVersion(won.get(key), token) && (await right.read(key, {})).kind === "absent",
      ),
    };
  },
  "a lease that was given back fills": (right) => {
    const dropped = new Map<string, Token>();
    return {
      drop: async (key: string, token: Token) => {
        dropped.set(key, token);
        return await right.drop(key, token);
      },
      replace: alsoFills(right, (key, token) => isVersion(dropped.get(key), token)),
    };
  },
  "a fill lives as long as its lease": (right) => ({
    replace: (...[key, token, item]: Parameters<Backend["replace"]>) => right.replace(key, token, item, 1),
  }),
  "a fill lives for ever": (right) => ({
    replace: (...[key, token, item]: Parameters<Backend["replace"]>) => right.replace(key, token, item, 0),
  }),
  "what is kept is kept for ever": (right) => ({
    remove: (key: string, seconds = 0) => right.remove(key, seconds * 1_000_000),
  }),
};

for (const [name, wrong] of Object.entries(wrongs))
  backendContract(name, () => {
    const clock = new ManualClock();
    const right = memory({ clock });
    const { reach, keepsStale, itemLimitBytes } = right;
    const bound = Object.fromEntries(
      [...methods, ...rest].map((method) => [method, (right[method] as Method).bind(right)]),
    );
    return {
      backend: { reach, keepsStale, itemLimitBytes, ...bound, ...wrong(right) } as unknown as Backend,
      pass: (ms) => Promise.resolve(clock.advance(ms)),
    };
  });
