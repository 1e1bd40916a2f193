/**
 * Where the pages of a URL live: the parts of their keys, their tags and their options. What is the same for all visits of a URL
 * is made once, because making it would cost more than the answer.
 */
import { createHash } from "node:crypto";
import type { PagePolicy } from "./options.ts";
import { canonicalHost, type PageRequest } from "./request.ts";
import type { StoreOptions } from "./store.ts";
import { addressKey, urlKey, visitorKey } from "./variants.ts";

/** What all visits of one URL have in common. */
export interface Place {
  /** The key of its page; the part of it that visitors share, where they can differ. */
  readonly key: string;
  /** The tag of everything that is stored for the path. */
  readonly tag: string;
  /** The options of pages whose tags do not depend on the request. */
  readonly options: PlaceOptions;
}

/** How a page is asked for. The cache resolves a frozen object once. */
export interface PlaceOptions {
  /** By a visitor who may be given a stale page. */
  readonly hasty: StoreOptions;
  /** By one who waits for the new page. The old one stays for the others. */
  readonly patient: StoreOptions;
}

/** URLs beyond this are made anew, and so are long ones: a visitor may send as many as they like. */
const limitPlaces = 10_000;
const longestPlace = 500;
const never = { milliseconds: 0 };

export class Places {
  readonly #policy: PagePolicy<never>;
  readonly #places = new Map<string, Place>();
  /** Whether a visitor can differ from another one. */
  readonly #isForEverybody: boolean;

  constructor(policy: PagePolicy<never>) {
    this.#policy = policy;
    this.#isForEverybody = !policy.isPrivate && policy.keyCookies.length === 0 && policy.vary.length === 0;
  }

  of(request: PageRequest): Place {
    const { scheme, host, path, query } = request;
    // With the lengths no two URLs share a name, whatever they hold.
    const name = `${scheme} ${host.length} ${path.length} ${host}${path}?${query}`;
    return this.#places.get(name) ?? this.#remember(name, request);
  }

  /** The key of a visit, apart from what its response varies on. */
  keyOf(place: Place, request: PageRequest, user: string | undefined): string {
    const key = this.#isForEverybody ? place.key : place.key + visitorKey(request, this.#policy, user);
    return key + addressKey(request);
  }

  /** The options of a place with further tags. */
  optionsOf(place: Place, further: readonly string[]): PlaceOptions {
    return optionsOf(this.#policy, [...further, place.tag]);
  }

  #remember(name: string, request: PageRequest): Place {
    const policy = this.#policy;
    const tag = urlTag(request);
    const rest = this.#isForEverybody ? visitorKey(request, policy, undefined) : "";
    const place = { key: urlKey(request, policy) + rest, tag, options: optionsOf(policy, [tag]) };
    if (name.length > longestPlace) return place;
    if (this.#places.size >= limitPlaces) this.#places.clear();
    this.#places.set(name, place);
    return place;
  }
}

/** The tag of everything that is stored for a path, whatever its query, user or variant. */
export function urlTag(request: Pick<PageRequest, "scheme" | "host" | "path">): string {
  const url = canonicalHost(request.scheme, request.host) + request.path;
  return url.length <= 120 ? `page:${url}` : `page#${createHash("sha256").update(url).digest("base64url")}`;
}

function optionsOf(policy: PagePolicy<never>, further: readonly string[]): PlaceOptions {
  const { ttlMs, timeoutMs, staleWhileRevalidateMs, staleIfErrorMs } = policy;
  const shared = {
    tags: Object.freeze([...policy.tags, ...further]),
    ttl: { milliseconds: ttlMs },
    hardTimeout: { milliseconds: timeoutMs },
    collects: true,
    monitored: false,
    shared: true,
    // Relaxations that the cache may have for its values, and that nobody has asked for here.
    refreshAhead: never,
    timeout: never,
    staleIfError: { milliseconds: Math.max(staleWhileRevalidateMs, staleIfErrorMs) },
  } as const;
  const patient = Object.freeze({ ...shared, staleWhileRevalidate: never });
  if (staleWhileRevalidateMs === 0) return { hasty: patient, patient };
  return {
    hasty: Object.freeze({ ...shared, staleWhileRevalidate: { milliseconds: staleWhileRevalidateMs } }),
    patient,
  };
}
