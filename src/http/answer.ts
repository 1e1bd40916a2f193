/**
 * From a page to what one visitor is sent: 200, 304, 206, 416 or 412, with Age and Cache-Status, without a body for HEAD.
 *
 * The order is that of RFC 9110 section 13.2.2: preconditions, then If-Range and Range.
 */
import { allowsOneOrigin } from "./cacheable.ts";
import { appended, cacheStatus, serverTiming, tenthsOf, type CacheOutcome } from "./cache-status.ts";
import { hasConditions, ifRangeHolds, precondition } from "./conditional.ts";
import { field, listOf, type Fields } from "./fields.ts";
import { currentAge } from "./freshness.ts";
import type { Page } from "./page.ts";
import { rangeOf } from "./range.ts";
import type { PageRequest } from "./request.ts";

export type AnswerFields = Record<string, string | readonly string[]>;

/** What is sent. */
export interface Answer {
  readonly status: number;
  readonly fields: AnswerFields;
  /** Undefined where none may be sent: HEAD, 304. */
  readonly body: Buffer | undefined;
}

/** What the options say about how answers look. */
export interface AnswerStyle {
  /** The name in Cache-Status and Server-Timing. */
  readonly name: string;
  readonly showsTiming: boolean;
  readonly isPrivate: boolean;
  readonly negotiatesCoding: boolean;
  /** The headers that the options tell pages apart by. */
  readonly varies: readonly string[];
  /** What to tell a shared cache in front; undefined where there is none. */
  readonly surrogate: SurrogateStyle | undefined;
}

/** How a shared cache in front (CDN, Varnish) is told what it may keep and how it will be purged. */
export interface SurrogateStyle {
  /** The field that carries the tags: `surrogate-key` (Fastly, Varnish) or `cache-tag` (Cloudflare, Akamai). */
  readonly header: string;
  readonly separator: " " | ",";
  /** Seconds that the cache in front may keep a page, sent as `surrogate-control` or `cdn-cache-control`. */
  readonly maxAgeSeconds: number;
  readonly controlHeader: "surrogate-control" | "cdn-cache-control";
}

/** When an answer is made, and how long it took until then. */
export interface AnswerTime {
  readonly nowMs: number;
  readonly tookMs: number;
}

/** A page with more to purge it by is not kept in front: proxies refuse longer fields. */
const longestKeys = 8_000;
const nothingInFront = "no-store, max-age=0";

/**
 * The fields of a 304 (RFC 9110 section 15.4.5), Last-Modified only where there is no entity tag. What a cache in front is told
 * guides how it updates what it has.
 */
const notModifiedFields = [
  "cache-control",
  "content-location",
  "date",
  "etag",
  "expires",
  "vary",
  "surrogate-control",
  "surrogate-key",
  "cdn-cache-control",
  "cache-tag",
] as const;

/** A page with the fields that are the same for everybody. */
export interface PreparedPage {
  readonly page: Page;
  readonly fields: AnswerFields;
  /** The fields of several lines: every visitor gets lists of their own, because layers around the page append to them. */
  readonly lists: readonly string[];
  /** The last hit that was answered with all of it, and what that one said. */
  last: { readonly age: number; readonly ttl: number; readonly tenths: number; readonly answer: Answer } | undefined;
}

/** @param tags what a cache in front may keep the page by; undefined: it is to keep nothing */
export function prepare(page: Page, style: AnswerStyle, tags?: readonly string[]): PreparedPage {
  const fields = outgoing(page.fields, style, tags);
  if (page.status !== 204) fields["content-length"] = String(page.body.length);
  const lists = Object.keys(fields).filter((name) => typeof fields[name] !== "string");
  return { page, fields, lists, last: undefined };
}

/** Answers a plain hit. What nobody could tell apart, most hits of one second, is made once. */
export function answerHit(
  prepared: PreparedPage,
  request: PageRequest,
  ttlSeconds: number,
  style: AnswerStyle,
  time: AnswerTime,
): Answer {
  const isPlain = request.method === "GET" && !hasConditions(request.fields);
  if (!isPlain) return answerWith(prepared, request, { kind: "hit", ttl: ttlSeconds }, style, time);
  const { page, last } = prepared;
  const age = currentAge(page.arrivalAgeSeconds, page.storedAtMs, time.nowMs);
  const ttl = Math.trunc(ttlSeconds);
  const tenths = tenthsOf(time.tookMs);
  if (last !== undefined && last.age === age && last.ttl === ttl && last.tenths === tenths) return last.answer;
  const answer = answerWith(prepared, request, { kind: "hit", ttl }, style, time);
  if (prepared.lists.length === 0) prepared.last = { age, ttl, tenths, answer };
  return answer;
}

/** Answers `request` with a page. */
export function answerWith(
  { page, fields: prepared, lists }: PreparedPage,
  request: PageRequest,
  outcome: CacheOutcome,
  style: AnswerStyle,
  time: AnswerTime,
): Answer {
  const fields = { ...prepared };
  for (const name of lists) fields[name] = [fields[name] ?? []].flat();
  const age = currentAge(page.arrivalAgeSeconds, page.storedAtMs, time.nowMs);
  // RFC 9111 section 4: all but what was rendered for this very visitor, whose handler may pass on what is older.
  if (outcome.kind !== "miss" || outcome.collapsed === true || age > 0) fields["age"] = String(age);
  mark(fields, outcome, style, time.tookMs);
  if (page.status < 200 || page.status > 299) return whole(page, request, fields);
  const validators = { etag: field(fields, "etag"), lastModified: field(fields, "last-modified") };
  const verdict = precondition(request.fields, validators, time.nowMs);
  if (verdict === "not-modified") return { status: 304, fields: notModified(fields), body: undefined };
  if (verdict === "failed")
    return { status: 412, fields: { ...marks(fields), "content-length": "0" }, body: undefined };
  if (page.status !== 200 || request.method !== "GET" || request.fields["range"] === undefined)
    return whole(page, request, fields);
  return part(page, request, fields, validators);
}

/**
 * The fields as they leave: with the Cache-Control that never lets a browser show an old page, unless the handler said
 * otherwise; with Vary for what the options tell apart and the cache itself negotiates; with the keys for a cache in front.
 *
 * In front, only what the cache has just found to be current is kept: what was rendered may have been invalidated and purged
 * meanwhile, and what is stale was.
 */
export function outgoing(
  stored: Readonly<Record<string, string | readonly string[]>>,
  style: AnswerStyle,
  tags: readonly string[] | undefined,
): AnswerFields {
  const fields: AnswerFields = { ...stored };
  if (fields["cache-control"] === undefined && fields["expires"] === undefined)
    fields["cache-control"] = style.isPrivate ? "private, no-cache" : "no-cache";
  for (const name of style.varies) fields["vary"] = withName(field(fields, "vary"), name);
  if (style.isPrivate) fields["vary"] = withName(field(fields, "vary"), "Cookie");
  if (allowsOneOrigin(fields)) fields["vary"] = withName(field(fields, "vary"), "Origin");
  if (style.negotiatesCoding) fields["vary"] = withName(field(fields, "vary"), "Accept-Encoding");
  if (style.surrogate !== undefined && !style.isPrivate) keepInFront(fields, style.surrogate, tags);
  return fields;
}

function keepInFront(fields: AnswerFields, style: SurrogateStyle, tags: readonly string[] | undefined): void {
  const keys = tags?.map(surrogateKey).join(style.separator);
  const mayKeep = keys !== undefined && keys.length <= longestKeys;
  if (mayKeep && keys !== "") fields[style.header] = keys;
  // Not all of them know `no-store`, and not all of them obey what is said to browsers.
  fields[style.controlHeader] = mayKeep ? `max-age=${style.maxAgeSeconds}` : nothingInFront;
}

/**
 * Has a cache in front keep nothing of what is not kept here, so that it could not be purged, unless the handler has `said`
 * what it may.
 */
export function keepNothingInFront(fields: AnswerFields, { surrogate, isPrivate }: AnswerStyle, said: Fields): void {
  if (surrogate === undefined || isPrivate || said[surrogate.controlHeader] !== undefined) return;
  fields[surrogate.controlHeader] = nothingInFront;
}

/** A tag as a cache in front can carry it: without white space, commas and anything beyond ASCII. */
export function surrogateKey(tag: string): string {
  return encodeURIComponent(tag).replaceAll("%3A", ":").replaceAll("%2F", "/");
}

/** Adds Cache-Status and Server-Timing. */
export function mark(fields: AnswerFields, outcome: CacheOutcome, style: AnswerStyle, tookMs: number): void {
  fields["cache-status"] = appended(fields, "cache-status", cacheStatus(style.name, outcome));
  if (style.showsTiming)
    fields["server-timing"] = appended(fields, "server-timing", serverTiming(style.name, outcome, tookMs));
}

function whole(page: Page, request: PageRequest, fields: AnswerFields): Answer {
  const isBare = request.method === "HEAD" || page.status === 204;
  return { status: page.status, fields, body: isBare ? undefined : page.body };
}

function part(
  page: Page,
  request: PageRequest,
  fields: AnswerFields,
  validators: { readonly etag: string | undefined; readonly lastModified: string | undefined },
): Answer {
  fields["accept-ranges"] = "bytes";
  const range = ifRangeHolds(request.fields, validators)
    ? rangeOf(field(request.fields, "range"), page.body.length)
    : ({ kind: "whole" } as const);
  if (range.kind === "whole") return whole(page, request, fields);
  if (range.kind === "unsatisfiable") {
    // RFC 9110 section 15.5.17.
    const about = { "content-range": `bytes */${page.body.length}`, "content-length": "0" };
    return { status: 416, fields: { ...marks(fields), ...about }, body: undefined };
  }
  // RFC 9530 section 2: of the content of this very message, which is a part. (RFC 1864 says the same of the older field.)
  for (const name of ["content-digest", "content-md5"]) Reflect.deleteProperty(fields, name);
  const body = page.body.subarray(range.first, range.last + 1);
  fields["content-range"] = `bytes ${range.first}-${range.last}/${page.body.length}`;
  fields["content-length"] = String(body.length);
  return { status: 206, fields, body };
}

function notModified(fields: AnswerFields): AnswerFields {
  const kept: AnswerFields = marks(fields);
  for (const name of notModifiedFields) if (fields[name] !== undefined) kept[name] = fields[name];
  if (fields["etag"] === undefined && fields["last-modified"] !== undefined)
    kept["last-modified"] = fields["last-modified"];
  return kept;
}

function marks(fields: AnswerFields): AnswerFields {
  const kept: AnswerFields = {};
  for (const name of ["age", "cache-status", "server-timing"])
    if (fields[name] !== undefined) kept[name] = fields[name];
  return kept;
}

function withName(vary: string | undefined, name: string): string {
  if (vary === undefined || vary === "") return name;
  const has = listOf(vary).some((each) => each === "*" || each.toLowerCase() === name.toLowerCase());
  return has ? vary : `${vary}, ${name}`;
}
