/**
 * The response cache: looks pages up, has them rendered once, and says what to send. It knows no framework.
 *
 *     request ──may not be cached──────────────────────────────> pass: the handler answers, nobody listens
 *        │
 *        ├─ a page under its key ──────────────────────────────> answer: 200, 304, 206 ...
 *        ├─ "this URL varies on these names" ── look again under the key with their values
 *        ├─ "this URL cannot be stored" ───────────────────────> pass
 *        └─ nothing: one request in the fleet renders ─────────> own: its handler answers, and the page is kept
 *                    the others wait for the page
 *
 * Freshness is that of the cache below: a page is filled under a lease, so one that was rendered before a write can never
 * land after it. Where a content coding is wanted, the coded page is made from the plain one, not rendered again.
 */
import { AsyncResource } from "node:async_hooks";
import { systemClock, type Clock } from "../clock.ts";
import { EverfreshError, isEverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { answerHit, answerWith, mark, prepare, type Answer, type AnswerFields, type PreparedPage } from "./answer.ts";
import { mayBeServedStale, requestObstacle } from "./cacheable.ts";
import type { CacheOutcome, Reason } from "./cache-status.ts";
import { refuse } from "./checks.ts";
import { compressed } from "./compress.ts";
import { current } from "./current.ts";
import { bare, targetOf, type Errand } from "./errand.ts";
import { field } from "./fields.ts";
import { preferredCoding, type Coding } from "./negotiation.ts";
import { resolvePageOptions, type PageOptions, type PagePolicy } from "./options.ts";
import { decodeRecord, encodeRecord, type Page, type PageRecord } from "./page.ts";
import { Places, urlTag, type PlaceOptions } from "./places.ts";
import { Rendering } from "./render.ts";
import { isSafeMethod, type PageRequest } from "./request.ts";
import type { PageStore, StoreContext, StoreOptions, StoreResult } from "./store.ts";
import { codedKey, textPart, variantKey } from "./variants.ts";

/** What an adapter does with a request. */
export type Served =
  /** Send this. */
  | { readonly kind: "answer"; readonly answer: Answer }
  /** The handler was started by `start` and answers by itself. */
  | { readonly kind: "own" }
  /** Let the handler answer, with these fields; nobody listens. */
  | { readonly kind: "pass"; readonly fields: AnswerFields; readonly reason: Reason };

/** What an adapter knows of its framework. */
export interface Framework<Source> {
  /** The id of the session that belongs to a request, if the request came with one. */
  readonly sessionOf?: (source: Source) => string | undefined;
  /** Sends an errand through the whole site; undefined where this request does not tell how. */
  readonly runnerOf?: (source: Source) => ((errand: Errand) => void) | undefined;
}

/** One visit: a request, and what was found out about it. */
interface Visit {
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
interface Look {
  /** It found a stale page: the visitor is gone, and what it loads is loaded without one. */
  hasLeft: boolean;
  readonly run: ((errand: Errand) => void) | undefined;
  readonly learned: readonly string[];
}

/** Names that URLs were found to vary on are remembered for so many URLs. */
const limitLearned = 10_000;
/** Longer keys are not remembered, because a visitor may send as many as they like; they are looked up once more instead. */
const longestLearned = 1_000;
/** A chain of "look again" longer than this is a fault, and the handler answers. */
const mostLooks = 4;
const own: Served = { kind: "own" };
const nothing: readonly string[] = [];
const noLook: Look = { hasLeft: false, run: undefined, learned: nothing };
/** Where no visitor's request stands. */
const nowhere = new AsyncResource("everfresh:errand");
const notices = eventChannel("everfresh:notice");

export class ResponseCache<Source> {
  readonly policy: PagePolicy<Source>;
  readonly #store: PageStore;
  readonly #framework: Framework<Source>;
  readonly #clock: Clock;
  readonly #learned = new Map<string, readonly string[]>();
  readonly #places: Places;
  /** Pages that were found current, ready to be sent. */
  readonly #prepared = new WeakMap<Page, PreparedPage>();

  constructor(
    store: PageStore,
    options: PageOptions<Source>,
    framework: Framework<Source> = {},
    clock: Clock = systemClock,
  ) {
    if (typeof (store as Partial<PageStore> | undefined)?.getOrSetEntry !== "function")
      refuse("what pages are kept in", store, "a cache, such as createCache makes");
    this.policy = resolvePageOptions(options);
    if (options.private === "session" && framework.sessionOf === undefined)
      throw new EverfreshError(
        "EF_OPTION",
        'private: "session" needs a framework that knows sessions; give a function that names the user',
      );
    if (options.staleWhileRevalidate !== undefined && framework.runnerOf === undefined)
      throw new EverfreshError(
        "EF_OPTION",
        "staleWhileRevalidate needs a site that can be asked without a visitor; with Hono give it as the option app",
      );
    this.#places = new Places(this.policy);
    this.#store = store;
    this.#framework = framework;
    this.#clock = clock;
  }

  /**
   * Serves a request; `start` is called at most once, when this request's handler is to render. Answers at once where nobody
   * needs to be asked; never rejects.
   */
  serve(request: PageRequest, source: Source, start: (rendering: Rendering) => void): Served | Promise<Served> {
    const startedMs = this.#clock.monotonic();
    let visit: Visit | Reason;
    let atHand: StoreResult | undefined;
    try {
      visit = this.#within(request, this.#visit(request, source, startedMs, start));
      if (typeof visit !== "string") atHand = this.#store.peekEntry?.(keyOf(visit), visit.options.hasty);
    } catch (error) {
      // A function among the options threw, or gave what is refused. The handler does not need the cache.
      if (notices.hasSubscribers) notices.publish({ message: `a page went past the cache: ${String(error)}` });
      visit = isEverfreshError(error, "EF_CLOSED") ? "unavailable" : "option";
    }
    if (typeof visit === "string") return this.#pass("bypass", visit, startedMs);
    return atHand === undefined ? this.#look(visit) : this.#found(visit, atHand);
  }

  /**
   * The rendering that a request without a visitor was made for, once it has come through the site; undefined when it came to
   * other pages, or as a request for another page than the visitor's.
   */
  accept(errand: Errand, request: PageRequest, source: Source): Rendering | undefined {
    try {
      const visit = this.#visit(request, source, 0, () => undefined);
      if (errand.pages !== this) this.#within(request, visit);
      else return typeof visit !== "string" && visit.base === errand.base ? errand.rendering : undefined;
    } catch {
      // A function among the options threw: the handler does not need the cache.
    }
    return undefined;
  }

  /**
   * To be called when the handler of a request with an unsafe method has succeeded, before its response leaves: RFC 9111
   * section 4.4 demands that what is stored for its URL is invalidated.
   */
  async wrote(request: PageRequest, status: number): Promise<void> {
    if (isSafeMethod(request.method) || status >= 400) return;
    await this.#store.invalidateTags([urlTag(request)]);
  }

  #look(visit: Visit): Promise<Served> {
    visit.looks++;
    visit.look = lookOf(visit);
    return this.#first(visit).then(
      (first) => (typeof first === "function" ? this.#begin(visit, first) : this.#found(visit, first)),
      (error: unknown) => this.#failed(visit, error),
    );
  }

  /**
   * What is found, or the order to begin. The cache calls loaders wherever it stands; a handler must run where its
   * request stands, or it would see what belongs to another one (its logger, its transaction). So the loader hands it over
   * to here, and what follows runs where this request came from.
   */
  #first(visit: Visit): Promise<StoreResult | (() => void)> {
    return new Promise((resolve, reject) => {
      visit.begin = resolve;
      visit.finding = this.#find(visit);
      visit.finding.then(resolve, reject);
    });
  }

  async #begin(visit: Visit, begin: () => void): Promise<Served> {
    begin();
    try {
      return await this.#found(visit, (await visit.finding) as StoreResult);
    } catch (error) {
      return this.#failed(visit, error);
    }
  }

  #found(visit: Visit, result: StoreResult): Served | Promise<Served> {
    visit.answered = true;
    if (visit.started && !visit.discarded) return own;
    const record = recordOf(result);
    if (result.status === "stale" && !visit.discarded) {
      visit.look.hasLeft = true;
      if (!this.#mayShow(result, record)) return this.#wait(visit);
    }
    if (record?.kind === "page") return { kind: "answer", answer: this.#answer(visit, record, result) };
    if (record?.kind === "vary") {
      if (visit.looks >= mostLooks) return this.#pass("miss", "vary-too-many", visit.startedMs);
      this.#learn(visit, record.names);
      visit.answered = false;
      return this.#look(visit);
    }
    if (visit.discarded) return { kind: "answer", answer: this.#broken(visit.startedMs) };
    if (record?.kind === "pass")
      return this.#pass("miss", result.status === "hit" ? "unstorable" : record.reason, visit.startedMs);
    return this.#pass("miss", visit.request.method === "HEAD" ? "head" : "unavailable", visit.startedMs);
  }

  /** The stale page that was found is not for this visitor, who waits for the new one. */
  #wait(visit: Visit): Served | Promise<Served> {
    if (visit.run === undefined) return this.#pass("miss", "unavailable", visit.startedMs);
    visit.run = undefined;
    visit.answered = false;
    return this.#look(visit);
  }

  #failed(visit: Visit, error: unknown): Served {
    visit.answered = true;
    if (visit.discarded) return { kind: "answer", answer: this.#broken(visit.startedMs) };
    if (visit.started) return own;
    // The rendering that this one waited for failed or was given up. This request's own handler may do better.
    return this.#pass("miss", error instanceof GaveWay ? "status" : "unavailable", visit.startedMs);
  }

  #find(visit: Visit): Promise<StoreResult> {
    const key = variantKey(visit.base, visit.learned, visit.request.fields);
    const { coding } = visit;
    const options = visit.run === undefined ? visit.options.patient : visit.options.hasty;
    if (visit.request.method === "HEAD") return this.#findOnly(key, coding);
    if (coding === undefined) return this.#plain(visit, key, options);
    return this.#store.getOrSetEntry(
      codedKey(key, coding),
      async (context) => {
        const result = await this.#plain(visit, key, visit.options.patient);
        const record = recordOf(result);
        if (result.status === "stale" && !this.#mayShow(result, record)) throw new GaveWay();
        if (result.ttlMs > 0) context.setTtl({ milliseconds: result.ttlMs });
        else context.skip();
        return record && encodeRecord(record.kind === "page" ? await compressed(record, coding) : record);
      },
      options,
    );
  }

  /** HEAD is answered from what GET has stored (RFC 9111 section 4), and never renders: it has no body to store. */
  async #findOnly(key: string, coding: Coding | undefined): Promise<StoreResult> {
    const result = await this.#store.getEntry(coding === undefined ? key : codedKey(key, coding));
    return result.value === undefined && coding !== undefined ? await this.#store.getEntry(key) : result;
  }

  /** The page without a coding; rendered by this visit when nobody has it and nobody else renders it. */
  #plain(visit: Visit, key: string, options: StoreOptions): Promise<StoreResult> {
    const { look } = visit;
    return this.#store.getOrSetEntry(key, (context) => this.#render(visit, look, context), options);
  }

  async #render(visit: Visit, look: Look, context: StoreContext): Promise<Buffer> {
    // A visitor who was given a stale page has got it when this turn is over.
    if (this.policy.staleWhileRevalidateMs > 0) await new Promise(setImmediate);
    const { run, learned } = look;
    if (look.hasLeft && run !== undefined)
      return await this.#rendering(visit, look, context, (rendering) => {
        const { policy } = this;
        const { base, request } = visit;
        const target = targetOf(request, policy);
        const errand: Errand = { pages: this, base, rendering, target, request: bare(request, policy, learned) };
        nowhere.runInAsyncScope(() => context.within(() => current.within(rendering, () => run(errand))));
      });
    // A handler answers one request once. Should the cache ask again, there is nothing to be stored.
    if (visit.started || visit.answered) throw new GaveWay();
    visit.started = true;
    return await this.#rendering(visit, look, context, (rendering) =>
      visit.begin(() => context.within(() => current.within(rendering, () => visit.start(rendering)))),
    );
  }

  /** The record that comes of one rendering. */
  #rendering(
    visit: Visit,
    { hasLeft: isAlone, learned }: Look,
    context: StoreContext,
    begin: (rendering: Rendering) => void,
  ): Promise<Buffer> {
    const ended = current.begin();
    let kept = visit.tags;
    return new Promise<Buffer>((resolve, reject) => {
      const page = new Rendering({
        policy: this.policy,
        request: visit.request,
        base: visit.base,
        learned,
        tags: visit.tags,
        hasStale: isAlone || this.#mayServe(context.stale),
        isAlone,
        now: () => this.#clock.now(),
        took: () => this.#clock.monotonic() - visit.startedMs,
        takes: (tags: readonly string[]) => {
          const added = tags.filter((tag) => !kept.includes(tag));
          if (added.length > 0 && !mayAdd(context, added)) return false;
          kept = tags;
          return true;
        },
        settle: (record: PageRecord, ttlMs: number) => {
          if (ttlMs > 0) context.setTtl({ milliseconds: ttlMs });
          else context.skip();
          resolve(encodeRecord(record));
        },
        discard: () => {
          // Its deadline has passed, and nobody else answers any more.
          if (visit.answered && !isAlone) return false;
          visit.discarded = !isAlone;
          reject(new GaveWay());
          return true;
        },
      });
      begin(page);
    }).finally(ended);
  }

  #answer(visit: Visit, page: Page, result: StoreResult): Answer {
    const nowMs = this.#clock.now();
    const ttl = (page.freshUntilMs - nowMs) / 1000;
    const time = { nowMs, tookMs: this.#clock.monotonic() - visit.startedMs };
    if (result.status !== "hit" || visit.discarded) {
      const outcome = visit.discarded ? staleOutcome(ttl) : outcomeOf(result, ttl);
      return answerWith(prepare(page, this.policy), visit.request, outcome, this.policy, time);
    }
    let prepared = this.#prepared.get(page);
    if (prepared === undefined) this.#prepared.set(page, (prepared = prepare(page, this.policy, result.tags)));
    return answerHit(prepared, visit.request, ttl, this.policy, time);
  }

  /** Whether a stale page that was found may be shown, and why it is stale may be told. */
  #mayShow({ why }: StoreResult, page: PageRecord | undefined): boolean {
    const { staleWhileRevalidateMs, staleIfErrorMs, isPrivate } = this.policy;
    if (page?.kind !== "page" || !mayBeServedStale(page.fields, !isPrivate)) return false;
    if (why === "the loader failed") return this.#clock.now() < page.freshUntilMs + staleIfErrorMs;
    // Its time is over. What was invalidated (`tag songs`) is shown to nobody.
    return staleWhileRevalidateMs > 0 && (why === "expired" || why === "invalidated");
  }

  /** Whether a page that is kept may go out in the place of an error (RFC 5861 section 4, RFC 9111 section 4.2.4). */
  #mayServe(stale: unknown): boolean {
    const { staleIfErrorMs, isPrivate } = this.policy;
    const page = staleIfErrorMs > 0 && Buffer.isBuffer(stale) ? decodeRecord(stale) : undefined;
    if (page?.kind !== "page" || !mayBeServedStale(page.fields, !isPrivate)) return false;
    return this.#clock.now() < page.freshUntilMs + staleIfErrorMs;
  }

  /** The handler failed, and the stale page that was to go out instead is gone in the same moment. */
  #broken(startedMs: number): Answer {
    const fields: AnswerFields = { "content-length": "0", "cache-control": "no-store" };
    mark(fields, { kind: "miss", reason: "status" }, this.policy, this.#clock.monotonic() - startedMs);
    return { status: 503, fields, body: undefined };
  }

  /** A visit, or why there is none. */
  #visit(
    request: PageRequest,
    source: Source,
    startedMs: number,
    start: (rendering: Rendering) => void,
  ): Visit | Reason {
    const { policy } = this;
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
      answered: false,
    };
  }

  /** Within pages of the same key, which are being rendered and would wait for these, a visit is theirs. */
  #within(request: PageRequest, visit: Visit | Reason): Visit | Reason {
    const isTheirs = current.current?.standsFor(
      request,
      typeof visit === "string" ? undefined : visit,
      this.policy.ttlMs,
    );
    return isTheirs === true ? "nested" : visit;
  }

  #obstacle(request: PageRequest, source: Source, user: string | undefined): Reason | undefined {
    const obstacle = requestObstacle(request, this.policy, user);
    if (obstacle !== undefined) return obstacle;
    if (this.policy.when === undefined) return undefined;
    const may: unknown = this.policy.when(source);
    if (may === true) return undefined;
    return may === false ? "option" : refuse("what when gave", may, "true or false");
  }

  #userOf(source: Source): string | undefined {
    const { userOf } = this.policy;
    if (userOf === undefined) return undefined;
    const user = userOf === "session" ? this.#framework.sessionOf?.(source) : userOf(source);
    return user === undefined || typeof user === "string" ? user : refuse("what private gave", user, "a text");
  }

  #learn(visit: Visit, names: readonly string[]): void {
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

  #pass(kind: "bypass" | "miss", reason: Reason, startedMs: number): Served {
    const fields: AnswerFields = {};
    mark(fields, { kind, reason }, this.policy, this.#clock.monotonic() - startedMs);
    return { kind: "pass", fields, reason };
  }
}

function lookOf({ run, learned }: Visit): Look {
  return { hasLeft: false, run, learned };
}

/** Adds the tags of a rendering; false where the cache refuses them, and a page that they cannot invalidate is not kept. */
function mayAdd(context: StoreContext, tags: readonly string[]): boolean {
  try {
    context.addTags(tags);
    return true;
  } catch (error) {
    if (notices.hasSubscribers) notices.publish({ message: `a page was not stored: ${String(error)}` });
    return false;
  }
}

/** The key of the page that a visit is to be answered with. */
function keyOf({ base, learned, request, coding }: Visit): string {
  const key = learned.length === 0 ? base : variantKey(base, learned, request.fields);
  return coding === undefined ? key : codedKey(key, coding);
}

function recordOf(result: StoreResult): PageRecord | undefined {
  return Buffer.isBuffer(result.value) ? decodeRecord(result.value) : undefined;
}

/** What is said of an answer that is no plain hit. */
function outcomeOf(result: StoreResult, ttl: number): CacheOutcome {
  if (result.status === "stale") return staleOutcome(ttl);
  return { kind: "miss", collapsed: true, reason: result.status === "bypass" ? "unavailable" : undefined };
}

/** RFC 9211 section 2.4: the ttl of what is stale is negative, also when an invalidation ended it early. */
function staleOutcome(ttl: number): CacheOutcome {
  return { kind: "stale", ttl: Math.min(ttl, -1) };
}

/** A rendering that answered with 5xx where a stale page may go out instead. Never leaves this file. */
class GaveWay extends Error {}
