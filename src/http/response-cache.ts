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
import { systemClock, type Clock } from "../clock.ts";
import { EverfreshError, isEverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import {
  answerHit,
  answerWith,
  keepNothingInFront,
  mark,
  prepare,
  type Answer,
  type AnswerFields,
  type PreparedPage,
} from "./answer.ts";
import type { CacheOutcome, Reason } from "./cache-status.ts";
import { refuse } from "./checks.ts";
import { compressed } from "./compress.ts";
import type { Errand } from "./errand.ts";
import type { Coding } from "./negotiation.ts";
import { resolvePageOptions, type PageOptions, type PagePolicy } from "./options.ts";
import { decodeRecord, encodeRecord, type Page, type PageRecord } from "./page.ts";
import { urlTag } from "./places.ts";
import type { Rendering } from "./render.ts";
import { GaveWay, Renderer } from "./renderer.ts";
import { isSafeMethod, type PageRequest } from "./request.ts";
import { mayShow } from "./staleness.ts";
import type { PageStore, StoreOptions, StoreResult } from "./store.ts";
import { codedKey, variantKey } from "./variants.ts";
import { keyOf, lookOf, Visits, type Framework, type Visit } from "./visits.ts";

/** What an adapter does with a request. */
export type Served =
  /** Send this. */
  | { readonly kind: "answer"; readonly answer: Answer }
  /** The handler was started by `start` and answers by itself. */
  | { readonly kind: "own" }
  /** Let the handler answer, with these fields; nobody listens. */
  | { readonly kind: "pass"; readonly fields: AnswerFields; readonly reason: Reason };

/** A chain of "look again" longer than this is a fault, and the handler answers. */
const mostLooks = 4;
const own: Served = { kind: "own" };
const notices = eventChannel("everfresh:notice");

export class ResponseCache<Source> {
  readonly policy: PagePolicy<Source>;
  readonly #store: PageStore;
  readonly #clock: Clock;
  readonly #visits: Visits<Source>;
  readonly #renderer: Renderer;
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
    this.#visits = new Visits(this.policy, framework);
    this.#renderer = new Renderer(this, this.policy, clock);
    this.#store = store;
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
      visit = this.#visits.within(request, this.#visits.of(request, source, startedMs, start));
      if (typeof visit !== "string") atHand = this.#store.peekEntry?.(keyOf(visit), visit.options.hasty);
    } catch (error) {
      // A function among the options threw, or gave what is refused. The handler does not need the cache.
      if (notices.hasSubscribers) notices.publish({ message: `a page went past the cache: ${String(error)}` });
      visit = this.#visits.within(request, isEverfreshError(error, "EF_CLOSED") ? "unavailable" : "option");
    }
    if (typeof visit === "string") return this.#pass("bypass", visit, startedMs);
    return atHand === undefined ? this.#look(visit) : this.#found(visit, atHand);
  }

  /**
   * The rendering that a request without a visitor was made for, once it has come through the site; undefined when it came to
   * other pages, or as a request for another page than the visitor's.
   */
  accept(errand: Errand, request: PageRequest, source: Source): Rendering | undefined {
    const isOurs = errand.pages === this;
    // On its way it comes through the pages that these stand within, too.
    if (!isOurs && !errand.isUnderWay) return undefined;
    let visit: Visit | Reason;
    try {
      visit = this.#visits.of(request, source, 0, () => undefined);
    } catch {
      visit = "option";
    }
    if (!isOurs) this.#visits.within(request, visit);
    if (!isOurs || typeof visit === "string" || visit.base !== errand.base) return undefined;
    errand.isUnderWay = true;
    return errand.rendering;
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
      if (!mayShow(result, record, this.policy, this.#clock.now())) return this.#wait(visit);
    }
    if (record?.kind === "page") return { kind: "answer", answer: this.#answer(visit, record, result) };
    if (record?.kind === "vary") {
      if (visit.looks >= mostLooks) return this.#pass("miss", "vary-too-many", visit.startedMs);
      this.#visits.learn(visit, record.names);
      visit.answered = false;
      return this.#look(visit);
    }
    if (visit.discarded) return { kind: "answer", answer: this.#broken(visit.startedMs) };
    // Its visitor has left, most often. One of those who waited renders for all of them, once.
    if (record?.kind === "pass" && record.reason === "incomplete" && !visit.hasWaitedInVain) {
      visit.hasWaitedInVain = true;
      visit.answered = false;
      return this.#look(visit);
    }
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
    if (visit.request.method === "HEAD") return this.#findOnly(key, coding, visit.options.patient);
    if (coding === undefined) return this.#plain(visit, key, options);
    return this.#store.getOrSetEntry(
      codedKey(key, coding),
      async (context) => {
        const result = await this.#plain(visit, key, visit.options.patient);
        const record = recordOf(result);
        const isStale = result.status === "stale";
        if (isStale && !mayShow(result, record, this.policy, this.#clock.now())) throw new GaveWay();
        if (result.ttlMs > 0) context.setTtl({ milliseconds: result.ttlMs });
        else context.skip();
        return record && encodeRecord(record.kind === "page" ? await compressed(record, coding) : record);
      },
      options,
    );
  }

  /** HEAD is answered from what GET has stored (RFC 9111 section 4), and never renders: it has no body to store. */
  async #findOnly(key: string, coding: Coding | undefined, options: StoreOptions): Promise<StoreResult> {
    const result = await this.#store.getEntry(coding === undefined ? key : codedKey(key, coding), options);
    return result.value === undefined && coding !== undefined ? await this.#store.getEntry(key, options) : result;
  }

  /** The page without a coding; rendered by this visit when nobody has it and nobody else renders it. */
  #plain(visit: Visit, key: string, options: StoreOptions): Promise<StoreResult> {
    const { look } = visit;
    return this.#store.getOrSetEntry(key, (context) => this.#renderer.render(visit, look, context), options);
  }

  #answer(visit: Visit, page: Page, result: StoreResult): Answer {
    const nowMs = this.#clock.now();
    const ttl = (page.freshUntilMs - nowMs) / 1000;
    const time = { nowMs, tookMs: this.#clock.monotonic() - visit.startedMs };
    if (result.status !== "hit" || visit.discarded) {
      const outcome = visit.discarded ? staleOutcome(ttl) : outcomeOf(result, ttl);
      return answerWith(prepare(page, this.policy), visit.request, outcome, this.policy, time);
    }
    // It may have been invalidated, and purged in front, a moment ago.
    if (result.why !== undefined && this.policy.surrogate !== undefined)
      return answerHit(prepare(page, this.policy), visit.request, ttl, this.policy, time);
    let prepared = this.#prepared.get(page);
    if (prepared === undefined) this.#prepared.set(page, (prepared = prepare(page, this.policy, result.tags)));
    return answerHit(prepared, visit.request, ttl, this.policy, time);
  }

  /** The handler failed, and the stale page that was to go out instead is gone in the same moment. */
  #broken(startedMs: number): Answer {
    const fields: AnswerFields = { "content-length": "0", "cache-control": "no-store" };
    mark(fields, { kind: "miss", reason: "status" }, this.policy, this.#clock.monotonic() - startedMs);
    return { status: 503, fields, body: undefined };
  }

  #pass(kind: "bypass" | "miss", reason: Reason, startedMs: number): Served {
    const fields: AnswerFields = {};
    mark(fields, { kind, reason }, this.policy, this.#clock.monotonic() - startedMs);
    // Of what is written nothing is kept anywhere, and what is nested is for the pages around it to say.
    if (reason !== "method" && reason !== "nested") keepNothingInFront(fields, this.policy, {});
    return { kind: "pass", fields, reason };
  }
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
