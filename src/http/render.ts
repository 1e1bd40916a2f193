/**
 * The one rendering of a page, as the adapters report it: what the handler sent, and what is to be done with it.
 *
 * An adapter calls `head` once, when the handler's head is complete and nothing was sent yet, then either `complete` with
 * the whole body or `fail`. The rendering decides whether the page is stored; it never changes what this visitor sees.
 */
import { answerWith, keepNothingInFront, mark, outgoing, prepare, type Answer, type AnswerFields } from "./answer.ts";
import {
  carriesCsrfToken,
  lifetimeMs,
  responseObstacle,
  storedFields,
  varyNames,
  type ResponseHead,
} from "./cacheable.ts";
import type { Reason } from "./cache-status.ts";
import { entityTagOf } from "./conditional.ts";
import { formatHttpDate } from "./dates.ts";
import { field, type Fields } from "./fields.ts";
import { arrivalAge } from "./freshness.ts";
import type { PagePolicy } from "./options.ts";
import type { Page, PageRecord } from "./page.ts";
import { canonicalQuery } from "./query.ts";
import type { PageRequest } from "./request.ts";
import { mostVaryNames, unkeyedNames } from "./variants.ts";

/** What to do with a response whose head is known. */
export type Verdict =
  /** Keep a copy of the body up to the limit; `streamed` says which fields to set if it leaves before it is whole. */
  | { readonly kind: "keep"; readonly limitBytes: number }
  /** Send it with these fields set; no copy is wanted. */
  | { readonly kind: "pass"; readonly fields: AnswerFields }
  /** Send nothing: a stale page that is allowed goes out instead. */
  | { readonly kind: "discard" };

/** What a rendering must know. */
export interface RenderingParts {
  readonly policy: PagePolicy<never>;
  readonly request: PageRequest;
  /** The key of the page, apart from what its response varies on. */
  readonly base: string;
  /** The names that the key of this page already honours because they were learned. */
  readonly learned: readonly string[];
  readonly tags: readonly string[];
  /** Whether a stale page stands ready for the case that this rendering answers with 5xx. */
  readonly hasStale: boolean;
  /** Whether there is no visitor: a stale page was sent and stays until there is another one. */
  readonly isAlone: boolean;
  readonly now: () => number;
  readonly took: () => number;
  /** Whether the cache takes these tags of the page. */
  readonly takes: (tags: readonly string[]) => boolean;
  /** Takes the result: a record to store, or why there is none. */
  readonly settle: (record: PageRecord, ttlMs: number) => void;
  /** Lets the stale page go out; false where this visitor was told already to be answered by the handler. */
  readonly discard: () => boolean;
}

/** Whether `outer` tells pages apart, and notices who asks, by all that `inner` does so by. */
function asksNoMore(inner: PagePolicy<never>, outer: PagePolicy<never>): boolean {
  return (
    [undefined, outer.userOf].includes(inner.userOf) &&
    [undefined, outer.keyOf].includes(inner.keyOf) &&
    [undefined, outer.when].includes(inner.when) &&
    inner.vary.every(({ header, as }) =>
      outer.vary.some((rule) => rule.header === header && [undefined, as].includes(rule.as)),
    ) &&
    inner.identity.every((name) => outer.identity.includes(name))
  );
}

/** A mark that a URL cannot be stored lasts so long. */
const passMs = 5_000;

export class Rendering {
  readonly #parts: RenderingParts;
  #head: ResponseHead | undefined;
  /** Tags that were added while rendering. */
  readonly #added: Set<string>;
  #settled = false;
  /** The shortest time that somebody keeps this page for, the smallest limit, and the statuses that all of them keep. */
  #ttlMs = Infinity;
  #limitBytes: number;
  #statuses: ReadonlySet<number>;
  /** Others declare pages of this URL, and tell more of them apart. */
  #isOverruled = false;

  constructor(parts: RenderingParts) {
    this.#parts = parts;
    this.#added = new Set(parts.tags);
    this.#limitBytes = parts.policy.maxBodyBytes;
    this.#statuses = parts.policy.statuses;
  }

  /** The tags of the page, so far. */
  get tags(): readonly string[] {
    return [...this.#added];
  }

  addTags(tags: readonly string[]): void {
    for (const tag of tags) this.#added.add(tag);
  }

  /**
   * Pages that are declared within these, for a request of the handler's. Where they would be kept under the same key, these
   * stand for both, and the answer is true. Where they would not, for the same URL, these would keep one of them for all; nor
   * are they kept where they share a key by chance: another function names the user of the next request differently.
   */
  standsFor(
    request: PageRequest,
    visit: { base: string; tags: readonly string[] } | undefined,
    inner: PagePolicy<never>,
  ): boolean {
    const { request: ours, base, policy } = this.#parts;
    const { scheme, host, path, query } = request;
    if (path !== ours.path || host !== ours.host || scheme !== ours.scheme) return false;
    if (canonicalQuery(query, policy.query) !== canonicalQuery(ours.query, policy.query)) return false;
    if (visit?.base !== base || !asksNoMore(inner, policy)) this.#isOverruled = true;
    if (visit?.base !== base) return false;
    this.addTags(visit.tags);
    this.#ttlMs = Math.min(this.#ttlMs, inner.ttlMs);
    this.#limitBytes = Math.min(this.#limitBytes, inner.maxBodyBytes);
    this.#statuses = new Set([...this.#statuses].filter((status) => inner.statuses.has(status)));
    return true;
  }

  /** The handler's head is complete. */
  head(head: ResponseHead): Verdict {
    const { hasStale, discard } = this.#parts;
    this.#head = head;
    if (hasStale && head.status >= 500 && !this.#settled && discard()) {
      this.#settled = true;
      return { kind: "discard" };
    }
    const obstacle = this.#obstacle(head);
    if (obstacle !== undefined) return { kind: "pass", fields: this.fail(obstacle) };
    const declared = Number(field(head.fields, "content-length") ?? 0);
    if (declared > this.#limitBytes) return { kind: "pass", fields: this.fail("too-large") };
    return { kind: "keep", limitBytes: this.#limitBytes };
  }

  /** The fields to set on a response that leaves before all of it is known. */
  streamed(): AnswerFields {
    const { policy, took } = this.#parts;
    const before = this.#head?.fields ?? {};
    const after = outgoing(before, policy, undefined);
    mark(after, { kind: "miss", stored: true }, policy, took());
    return Object.fromEntries(Object.entries(after).filter(([name, value]) => before[name] !== value));
  }

  /** The handler has sent all of it. Answers what to send, for those who have sent nothing yet. */
  complete(body: Buffer): Answer {
    const { policy, request, now, took } = this.#parts;
    const head = this.#head ?? { status: 0, fields: {} };
    const declared = field(head.fields, "content-length");
    const page = this.#page(head, body);
    const obstacle = this.#bodyObstacle(declared, page);
    if (obstacle !== undefined) {
      const fields = { ...head.fields, ...this.fail(obstacle) };
      return { status: head.status, fields, body };
    }
    const unkeyed = this.#unkeyed(page.fields);
    const time = { nowMs: now(), tookMs: took() };
    if (unkeyed.length > 0) {
      const names = [...new Set([...this.#parts.learned, ...unkeyed])].toSorted();
      this.#settle({ kind: "vary", names }, policy.ttlMs);
      return answerWith(prepare(page, policy), request, { kind: "miss", reason: "vary-learned" }, policy, time);
    }
    this.#settle(page, page.freshUntilMs - page.storedAtMs);
    return answerWith(prepare(page, policy), request, { kind: "miss", stored: true }, policy, time);
  }

  /** There is no page to store. Answers the fields that say so, for those who have not sent the head yet. */
  fail(reason: Reason): AnswerFields {
    this.#settle({ kind: "pass", reason }, this.#isLasting(reason) ? passMs : 0);
    const fields: AnswerFields = {};
    const head = this.#head?.fields ?? {};
    for (const name of ["cache-status", "server-timing"]) if (head[name] !== undefined) fields[name] = head[name];
    mark(fields, { kind: "miss", reason }, this.#parts.policy, this.#parts.took());
    keepNothingInFront(fields, this.#parts.policy, head);
    return fields;
  }

  #obstacle(head: ResponseHead): Reason | undefined {
    const { policy, request, now, learned } = this.#parts;
    if (this.#isOverruled) return "nested";
    const obstacle = responseObstacle(head, policy, now());
    if (obstacle !== undefined) return obstacle;
    if (!this.#statuses.has(head.status)) return "status";
    // The answer to one spelling of a query serves all of them, and one that sends this spelling on to the right one must
    // not send the right one on to itself.
    if (
      head.fields["location"] !== undefined &&
      policy.query === "all" &&
      canonicalQuery(request.query, "all") !== request.query
    )
      return "status";
    // A page for everybody that says it depends on cookies it does not get to see is not for everybody.
    if (!policy.isPrivate && policy.cookies === "ignore" && varyNames(head.fields).includes("cookie"))
      return "vary-cookie";
    if (learned.length + this.#unkeyed(head.fields).length > mostVaryNames) return "vary-too-many";
    return this.#tagsObstacle();
  }

  #bodyObstacle(declared: string | undefined, page: Page): Reason | undefined {
    // RFC 9112 section 8: what is shorter or longer than it said is incomplete.
    if (declared !== undefined && Number(declared) !== page.body.length) return "incomplete";
    if (page.body.length > this.#limitBytes) return "too-large";
    if (!this.#parts.policy.isPrivate && carriesCsrfToken(page.fields, page.body)) return "csrf-token";
    return this.#tagsObstacle();
  }

  /** What its tags cannot invalidate is kept by nobody, neither here nor by a shared cache in front. */
  #tagsObstacle(): Reason | undefined {
    return this.#parts.takes(this.tags) ? undefined : "option";
  }

  #unkeyed(fields: Fields): string[] {
    const { policy, learned } = this.#parts;
    const settled = ["cookie", "host", ...learned, ...(policy.negotiatesCoding ? ["accept-encoding"] : [])];
    return unkeyedNames(varyNames(fields), policy, settled);
  }

  #page(head: ResponseHead, body: Buffer): Page {
    const { policy, now } = this.#parts;
    const storedAtMs = Math.floor(now());
    const fields = storedFields(head);
    if (fields["date"] === undefined) fields["date"] = formatHttpDate(storedAtMs);
    if (fields["etag"] === undefined && head.status === 200) fields["etag"] = entityTagOf(body);
    return {
      kind: "page",
      status: head.status,
      fields,
      body,
      storedAtMs,
      arrivalAgeSeconds: arrivalAge(head.fields, storedAtMs),
      freshUntilMs: storedAtMs + Math.min(this.#ttlMs, lifetimeMs(head.fields, policy, storedAtMs)),
    };
  }

  /** Whether the next rendering will most likely end the same way, so that nobody should wait for it. */
  #isLasting(reason: Reason): boolean {
    if (reason === "incomplete" || reason === "unavailable") return false;
    // The handler has answered in another way (404, say), so the page that it had is not to be shown on.
    if (this.#parts.isAlone) return true;
    return reason !== "status" && reason !== "not-fresh";
  }

  #settle(record: PageRecord, ttlMs: number): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.settle(record, ttlMs);
  }
}
