/**
 * What a handler of Hono gets to see of a request while it renders a page for the cache, and whether it looks at who asks.
 *
 * A handler that streams has returned before it has ended: the layers around it go on, and what makes the stream is still the
 * handler. Both ask the same context. From then on each gets its own view, told apart by the asynchronous context.
 */
import { canonicalQuery, identityRule, isPartOf, onlyCookies, type PagePolicy, type Rendering } from "../http/index.ts";

/** The parts of Hono's context that are used. */
interface SeenContext {
  readonly req: { raw: Request };
  get: (key: never) => unknown;
}

/** RFC 9110 sections 13 and 14: the cache judges these itself, on the whole page. */
const partial = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

export class View {
  readonly #context: SeenContext;
  readonly #rendering: Rendering;
  #full: Request;
  readonly #narrowed: Request;
  readonly #get: SeenContext["get"];
  readonly #watches: boolean;
  #hasReturned = false;
  #hasEnded = false;
  #wasRead = false;

  /** Begins: from now on the context shows only what is part of the key. */
  constructor(policy: PagePolicy<never>, context: SeenContext, rendering: Rendering) {
    this.#context = context;
    this.#rendering = rendering;
    this.#full = context.req.raw;
    this.#narrowed = narrowed(this.#full, policy);
    const { get } = context;
    this.#get = get;
    this.#watches = !policy.isPrivate;
    context.req.raw = this.#narrowed;
    if (this.#watches) this.#watch(policy);
  }

  /** Whether the handler asked who asks. */
  get wasRead(): boolean {
    return this.#wasRead;
  }

  /** The handler has returned, and may still stream. */
  returned(): void {
    this.#hasReturned = true;
    Object.defineProperty(this.#context.req, "raw", {
      configurable: true,
      enumerable: true,
      get: () => (isPartOf(this.#rendering) ? this.#narrowed : this.#full),
      set: (raw: Request) => {
        this.#full = raw;
      },
    });
  }

  /** Puts everything back. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    Object.defineProperty(this.#context.req, "raw", {
      configurable: true,
      enumerable: true,
      writable: true,
      value: this.#full,
    });
    if (!this.#watches) return;
    this.#context.get = this.#get;
    Reflect.deleteProperty(this.#context, "var");
  }

  #watch(policy: PagePolicy<never>): void {
    const context = this.#context;
    const { names, onlyIfSet } = identityRule(policy);
    const notice = (name: string, value: unknown): void => {
      if (!names.includes(name) || (onlyIfSet && (value === undefined || value === null))) return;
      if (!this.#hasReturned || isPartOf(this.#rendering)) this.#wasRead = true;
    };
    context.get = (name: never): unknown => {
      const value = this.#get(name);
      notice(name, value);
      return value;
    };
    Object.defineProperty(context, "var", {
      configurable: true,
      get(this: SeenContext) {
        const all = Reflect.get(Object.getPrototypeOf(context) as object, "var", context) as Record<string, unknown>;
        return new Proxy(all, {
          get(target, name) {
            const value: unknown = Reflect.get(target, name);
            if (typeof name === "string") notice(name, value);
            return value;
          },
        });
      },
    });
  }
}

/** The request without what is not part of the key, and without what would make the handler answer less than all. */
export function narrowed(raw: Request, policy: PagePolicy<never>): Request {
  const headers = new Headers(raw.headers);
  for (const name of partial) headers.delete(name);
  if (policy.negotiatesCoding) headers.delete("accept-encoding");
  if (!policy.isPrivate && policy.cookies !== "bypass") {
    const cookies = onlyCookies(headers.get("cookie") ?? undefined, policy.keyCookies);
    if (cookies === undefined) headers.delete("cookie");
    else headers.set("cookie", cookies);
  }
  const url = new URL(raw.url);
  if (policy.query !== "all") url.search = canonicalQuery(url.search.slice(1), policy.query);
  return new Request(url, { method: raw.method, headers });
}
