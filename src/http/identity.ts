/**
 * Who asks: noticing that a handler looked.
 *
 * A page for everybody must not depend on who asks. Where the options say that cookies do not matter, the handler does not
 * get to see them, and whoever reads the session or the user while rendering has shown that the page depends on them after
 * all: it is sent, and not stored.
 */

/** Properties of requests that say who asks, by the names that the known libraries give them. */
export const identityNames: readonly string[] = [
  "session",
  "sessionID",
  "user",
  // Not who, but from where: as much one visitor's own.
  "ip",
  "ips",
  "currentUser",
  "account",
  "auth",
  "isAuthenticated",
  "isUnauthenticated",
  "signedCookies",
  "csrfToken",
  "oidc",
  "kauth",
  "jwt",
  "jwtPayload",
];

/** What says who asks by way of cookies. */
const ofCookies = new Set(["session", "sessionID", "isAuthenticated", "isUnauthenticated", "signedCookies"]);

/**
 * What to watch while a page for everybody is rendered.
 *
 * Where requests with cookies pass by, what is rendered had none: its session is new and says nothing about anybody, and
 * a user matters only if something else than a cookie named one.
 */
export function identityRule(policy: { readonly cookies: unknown; readonly identity: readonly string[] }): {
  readonly names: readonly string[];
  readonly onlyIfSet: boolean;
} {
  if (policy.cookies !== "bypass") return { names: policy.identity, onlyIfSet: false };
  return { names: policy.identity.filter((name) => !ofCookies.has(name)), onlyIfSet: true };
}

/** Fields by which proxies and APIs say who asks; a request with one of them is treated like one with Authorization. */
export const identityFields: readonly string[] = [
  "authorization",
  "x-api-key",
  "x-auth-token",
  "x-access-token",
  "x-csrf-token",
  "x-forwarded-user",
  "x-forwarded-email",
  "x-auth-request-user",
  "x-auth-request-email",
  "x-remote-user",
  "remote-user",
  "x-goog-authenticated-user-email",
  "x-amzn-oidc-data",
  "cf-access-jwt-assertion",
  "x-goog-iap-jwt-assertion",
  "x-ms-client-principal",
  "x-authentik-username",
  "x-pomerium-jwt-assertion",
  "x-webauth-user",
  "tailscale-user-login",
  "x-forwarded-client-cert",
  "x-ssl-client-cert",
];

/** A watch over some properties of an object. */
export interface IdentityWatch {
  /** Whether one of them was read. */
  readonly wasRead: boolean;
  /** Runs `work` without noticing what it reads: the sessions' own middleware, for one. */
  unwatched<T>(work: () => T): T;
  /** Puts the properties back as they were. */
  end(): void;
}

/**
 * Watches reads of `names` on `target`, whether they exist or not.
 *
 * @param onlyIfSet notice only reads that find something: for requests without any cookie, whose session says nothing
 */
export function watchIdentity(target: object, names: readonly string[], onlyIfSet: boolean): IdentityWatch {
  let wasRead = false;
  let pauses = 0;
  const before = new Map<string, PropertyDescriptor | undefined>();
  const values = new Map<string, unknown>();
  for (const name of names) {
    const own = Object.getOwnPropertyDescriptor(target, name);
    if (own?.configurable === false) continue;
    before.set(name, own);
    Object.defineProperty(target, name, {
      configurable: true,
      enumerable: own?.enumerable ?? false,
      get(this: object) {
        const value: unknown = values.has(name) ? values.get(name) : readBelow(this, target, name, own);
        if (pauses === 0 && !(onlyIfSet && (value === undefined || value === null))) wasRead = true;
        return value;
      },
      set(value: unknown) {
        values.set(name, value);
      },
    });
  }
  return {
    get wasRead() {
      return wasRead;
    },
    unwatched(work) {
      pauses++;
      try {
        return work();
      } finally {
        pauses--;
      }
    },
    end() {
      for (const [name, own] of before) {
        if (own === undefined) Reflect.deleteProperty(target, name);
        else Object.defineProperty(target, name, own);
        if (values.has(name)) Reflect.set(target, name, values.get(name));
      }
      before.clear();
    },
  };
}

function readBelow(receiver: object, target: object, name: string, own: PropertyDescriptor | undefined): unknown {
  if (own !== undefined) return own.get === undefined ? own.value : (own.get.call(receiver) as unknown);
  const below: unknown = Object.getPrototypeOf(target);
  return typeof below === "object" && below !== null ? (Reflect.get(below, name, receiver) as unknown) : undefined;
}
