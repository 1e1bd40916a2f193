/**
 * Has pages rendered: by the handler of the visitor who is to load one, or by an errand when that visitor has left with a stale
 * one.
 */
import { AsyncResource } from "node:async_hooks";
import type { Clock } from "../clock.ts";
import { eventChannel } from "../events.ts";
import { current } from "./current.ts";
import { bare, targetOf, type Errand } from "./errand.ts";
import type { PagePolicy } from "./options.ts";
import { encodeRecord, type PageRecord } from "./page.ts";
import { Rendering } from "./render.ts";
import { mayStandForError } from "./staleness.ts";
import type { StoreContext } from "./store.ts";
import type { Look, Visit } from "./visits.ts";

/** Where no visitor's request stands. */
const nowhere = new AsyncResource("everfresh:errand");
const notices = eventChannel("everfresh:notice");

/** A rendering that answered with 5xx where a stale page may go out instead. */
export class GaveWay extends Error {}

export class Renderer {
  readonly #pages: object;
  readonly #policy: PagePolicy<never>;
  readonly #clock: Clock;

  /** @param pages whose pages these are: only they accept its errands */
  constructor(pages: object, policy: PagePolicy<never>, clock: Clock) {
    this.#pages = pages;
    this.#policy = policy;
    this.#clock = clock;
  }

  /** What comes of the page of a visit; the loader of the cache. */
  async render(visit: Visit, look: Look, context: StoreContext): Promise<Buffer> {
    // A visitor who was given a stale page has got it when this turn is over.
    if (this.#policy.staleWhileRevalidateMs > 0) await new Promise(setImmediate);
    const { run, learned } = look;
    if (look.hasLeft && run !== undefined)
      return await this.#rendering(visit, look, context, (rendering) => {
        const policy = this.#policy;
        const { base, request } = visit;
        const target = targetOf(request, policy);
        const errand: Errand = {
          pages: this.#pages,
          base,
          rendering,
          target,
          request: bare(request, policy, learned),
          isUnderWay: false,
        };
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
        policy: this.#policy,
        request: visit.request,
        base: visit.base,
        learned,
        tags: visit.tags,
        hasStale: isAlone || mayStandForError(context.stale, this.#policy, this.#clock.now()),
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
