/**
 * A rendering without a visitor: a page that is past its time was sent, and the handler renders the next one with a request
 * that was made for that alone.
 *
 *     visitor ── stale page
 *        └─ errand ── request of its own ── the site, from its outermost layer ── cachePage: the same key? ── handler
 *
 * The request holds what is part of the page's key and nothing else of the visitor. It is known by being the very object
 * that was made here, which nobody can send. It goes through the whole site, because the layers around a handler give it
 * what it needs; where it does not arrive, or arrives as a request for another page, nothing is rendered.
 */
import { onlyCookies } from "./cookies.ts";
import { field } from "./fields.ts";
import type { PagePolicy } from "./options.ts";
import { canonicalQuery } from "./query.ts";
import type { Rendering } from "./render.ts";
import type { PageRequest } from "./request.ts";
import { addressFields } from "./variants.ts";

/** What a rendering without a visitor is about. */
export interface Errand {
  /** The cache of the pages that it is for. */
  readonly pages: object;
  /** The key of the page, apart from what its response varies on. */
  readonly base: string;
  readonly rendering: Rendering;
  /** What the handler is asked for: path and query as it gets to see them. */
  readonly target: string;
  readonly request: PageRequest;
  /** Whether it has come to its pages. */
  isUnderWay: boolean;
}

const errands = new WeakMap<object, Errand>();

/** Says that `request`, an object of the framework's, was made for `errand`. */
export function sendFor(errand: Errand, request: object): void {
  errands.set(request, errand);
}

/** What `request` was made for; undefined: a visitor sent it. */
export function errandOf(request: object): Errand | undefined {
  return errands.get(request);
}

/** A request with what is part of its page's key: the address, and the fields that count. */
export function bare(request: PageRequest, policy: PagePolicy<never>, learned: readonly string[]): PageRequest {
  const fields: Record<string, string> = {};
  const names = ["host", ...addressFields, ...policy.vary.map(({ header }) => header), ...learned];
  for (const name of names) {
    const value = field(request.fields, name);
    if (value !== undefined) fields[name] = value;
  }
  fields["host"] ??= request.host;
  const cookies = onlyCookies(field(request.fields, "cookie"), policy.keyCookies);
  if (cookies !== undefined) fields["cookie"] = cookies;
  return { ...request, method: "GET", fields };
}

/** Path and query of a request, with only the parameters that count. */
export function targetOf({ path, query }: PageRequest, policy: PagePolicy<never>): string {
  const kept = policy.query === "all" ? query : canonicalQuery(query, policy.query);
  return kept === "" ? path : `${path}?${kept}`;
}
