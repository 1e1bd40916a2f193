/** From a request to a visit: which page it asks for, under which key and tags, or why it goes past the cache. */
import { requestObstacle } from "./cacheable.ts";
import type { Reason } from "./cache-status.ts";
import { refuse } from "./checks.ts";
import { current } from "./current.ts";
import type { Errand } from "./errand.ts";
import { field } from "./fields.ts";
import { preferredCoding, type Coding } from "./negotiation.ts";
import type { PagePolicy } from "./options.ts";
import { Places, type PlaceOptions } from "./places.ts";
import type { Rendering } from "./render.ts";
import type { PageRequest } from "./request.ts";
import type { StoreResult } from "./store.ts";
import { codedKey, textPart, variantKey } from "./variants.ts";

/** What an adapter knows of its framework. */
export interface Framework<Source> {
  /** The id of the session that belongs to a request, if the request came with one. */
  readonly sessionOf?: (source: Source) => string | undefined;
  /** Sends an errand through the whole site; undefined where this request does not tell how. */
  readonly runnerOf?: (source: Source) => ((errand: Errand) => void) | undefined;
}

/** One visit: a request, and what was found out about it. */
export interface Visit {
  readonly request: PageRequest;
  readonly base: string;
  readonly options: PlaceOptions;
  readonly tags: readonly string[];
  readonly coding: Coding | undefined;
  readonly startedMs: number;
  readonly start: (rendering: Rendering) => void;
  /** Has the handler started, from this request's own asynchronous context; set while something is looked up. */
  begin: (work: () => void) => void;
  finding: Promise<StoreResult> | undefined;
  look: Look;
  looks: number;
  /** It waited for a rendering that broke off, and has looked again. */
  hasWaitedInVain: boolean;
  /** How a page is rendered without this visitor; undefined: this one waits. */
  run: ((errand: Errand) => void) | undefined;
  /** What this visit is answered with is known: its handler may not begin any more. */
  answered: boolean;
  learned: readonly string[];
  started: boolean;
  /** Its handler answered with 5xx and was not heard: a stale page is to go out. */
  discarded: boolean;
}

/** One look into the cache, and the loader that it brought. */
export interface Look {
  /** It found a stale page: the visitor is gone, and what it loads is loaded without one. */
  hasLeft: boolean;
  readonly run: ((errand: Errand) => void) | undefined;
  readonly learned: readonly string[];
}

/** Names that URLs were found to vary on are remembered for so many URLs. */
const limitLearned = 10_000;
/** Longer keys are not remembered, because a visitor may send as many as they like; they are looked up once more instead. */
const longestLearned = 1_000;
const nothing: readonly string[] = [];
const noLook: Look = { hasLeft: false, run: undefined, learned: nothing };

export class Visits<Source> {
  readonly #policy: PagePolicy<Source>;
  readonly #framework: Framework<Source>;
  readonly #learned = new Map<string, readonly string[]>();
  readonly #places: Places;

  constructor(policy: PagePolicy<Source>, framework: Framework<Source>) {
    this.#policy = policy;
    this.#framework = framework;
    this.#places = new Places(policy);
  }

  /** A visit, or why there is none. */
  of(request: PageRequest, source: Source, startedMs: number, start: (rendering: Rendering) => void): Visit | Reason {
    const policy = this.#policy;
    const user = this.#userOf(source);
    const obstacle = this.#obstacle(request, source, user);
    if (obstacle !== undefined) return obstacle;
    const place = this.#places.of(request);
    let base = this.#places.keyOf(place, request, user);
    if (policy.keyOf !== undefined) base += `+${textPart(policy.keyOf(source), "key")}`;
    const tags = policy.tagsOf?.(source);
    if (policy.tagsOf !== undefined && !Array.isArray(tags)) refuse("what tags gave", tags, "a list of texts");
    const options = tags === undefined ? place.options : this.#places.optionsOf(place, tags);
    return {
      request,
      base,
      tags: options.patient.tags,
      options,
      coding: preferredCoding(field(request.fields, "accept-encoding"), policy.codings),
      learned: this.#learned.get(base) ?? nothing,
      started: false,
      discarded: false,
      startedMs,
      start,
      begin: (work) => work(),
      finding: undefined,
      look: noLook,
      run: policy.staleWhileRevalidateMs > 0 ? this.#framework.runnerOf?.(source) : undefined,
      looks: 0,
      hasWaitedInVain: false,
      answered: false,
    };
  }

  /** Within pages of the same key, which are being rendered and would wait for these, a visit is theirs. */
  within(request: PageRequest, visit: Visit | Reason): Visit | Reason {
    const isTheirs = current.current?.standsFor(request, typeof visit === "string" ? undefined : visit, this.#policy);
    return isTheirs === true ? "nested" : visit;
  }

  #obstacle(request: PageRequest, source: Source, user: string | undefined): Reason | undefined {
    const obstacle = requestObstacle(request, this.#policy, user);
    if (obstacle !== undefined) return obstacle;
    if (this.#policy.when === undefined) return undefined;
    const may: unknown = this.#policy.when(source);
    if (may === true) return undefined;
    return may === false ? "option" : refuse("what when gave", may, "true or false");
  }

  #userOf(source: Source): string | undefined {
    const { userOf } = this.#policy;
    if (userOf === undefined) return undefined;
    const user = userOf === "session" ? this.#framework.sessionOf?.(source) : userOf(source);
    return user === undefined || typeof user === "string" ? user : refuse("what private gave", user, "a text");
  }

  /** Remembers what the pages of a URL vary on. */
  learn(visit: Visit, names: readonly string[]): void {
    visit.learned = names;
    if (visit.base.length > longestLearned) return;
    this.#learned.delete(visit.base);
    this.#learned.set(visit.base, names);
    if (this.#learned.size <= limitLearned) return;
    for (const oldest of this.#learned.keys()) {
      this.#learned.delete(oldest);
      return;
    }
  }
}

export function lookOf({ run, learned }: Visit): Look {
  return { hasLeft: false, run, learned };
}

/** The key of the page that a visit is to be answered with. */
export function keyOf({ base, learned, request, coding }: Visit): string {
  const key = learned.length === 0 ? base : variantKey(base, learned, request.fields);
  return coding === undefined ? key : codedKey(key, coding);
}
