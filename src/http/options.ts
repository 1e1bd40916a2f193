/** Every option of cached pages, its default and the reason to change it; resolved once. */
import { durationMs, type Duration } from "../duration.ts";
import { checkTags } from "../cache/index.ts";
import { EverfreshError, shown } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import type { AnswerStyle, SurrogateStyle } from "./answer.ts";
import { defaultStatuses, possibleStatuses, type StoragePolicy } from "./cacheable.ts";
import { checkFlag, checkFunction, checkObject, checkTexts, refuse } from "./checks.ts";
import { availableCodings } from "./compress.ts";
import { isToken } from "./fields.ts";
import { identityNames } from "./identity.ts";
import type { Coding } from "./negotiation.ts";
import type { QueryRule } from "./query.ts";
import type { KeyPolicy, VaryRule } from "./variants.ts";

/**
 * How pages are kept.
 *
 * A function among the options that throws, or gives what it should not, costs its request the cache and nothing else: the
 * handler answers, `Cache-Status` says `detail=option`, and the channel `everfresh:notice` says why.
 *
 * @typeParam Source the framework's own request, which functions among the options are given
 */
export interface PageOptions<Source = unknown> {
  /** How long a page is used without rendering it again. Its invalidation does not wait for this. */
  readonly ttl: Duration;
  /** What the pages show: whoever changes that invalidates these tags. Entries read while rendering add theirs. */
  readonly tags?: readonly string[] | ((request: Source) => readonly string[]) | undefined;
  /**
   * Headers that the page depends on. A text keys by the header's value; `{ header, as }` by what `as` makes of it, see
   * `preferredLanguage`. Headers that responses name in `Vary` are honoured without being listed here, at the price of
   * one more rendering when they are met for the first time.
   */
  readonly vary?:
    | readonly (string | { readonly header: string; readonly as: (value: string | undefined) => string })[]
    | undefined;
  /** Parameters of the query that count; others are not shown to the handler. Default: "all". */
  readonly query?: QueryRule | undefined;
  /**
   * What cookies mean for a page that is for everybody.
   *
   * `"bypass"` (default): a request with cookies is neither answered from the cache nor is its page stored. `"ignore"`:
   * the page does not depend on cookies; the handler does not see them, and if it reads the session or the user all the
   * same, the page is not stored. A list: the page depends on these cookies and on no others.
   */
  readonly cookies?: "bypass" | "ignore" | readonly string[] | undefined;
  /**
   * Makes the page one user's own: `"session"` keys it by the session's id, a function by what it returns, undefined
   * meaning "not cached". Default: the page is for everybody.
   */
  readonly private?: "session" | ((request: Source) => string | undefined) | undefined;
  /** A further part of the key, a text, for what the page depends on besides the request. */
  readonly key?: ((request: Source) => string) | undefined;
  /** Whether this request's page may be cached at all. Default: yes. */
  readonly when?: ((request: Source) => boolean) | undefined;
  /** Status codes that are stored. Default: 200, 203, 301, 308. */
  readonly statuses?: readonly number[] | undefined;
  /** Larger bodies are sent and not stored. Default: 1 MiB. */
  readonly maxBodyBytes?: number | undefined;
  /**
   * The content codings that pages are kept in, the preferred one first; `false` leaves it to others. Default: br, zstd where
   * Node has it, gzip; for private pages false, because secrets and compression do not mix (the BREACH attack).
   */
  readonly compress?: false | readonly Coding[] | undefined;
  /**
   * A relaxation: a page whose time is over since less than this is sent at once, and rendered anew without anybody waiting,
   * once in the fleet. Not for pages that were invalidated: whoever comes after an invalidation waits for the new page. The
   * rendering gets a request of its own, with nothing but what is part of the key, through the whole site; so not for
   * private pages. Default: never.
   */
  readonly staleWhileRevalidate?: Duration | undefined;
  /**
   * A relaxation: a page whose time is over since less than this, or that was invalidated before, is served when rendering
   * answers with 5xx. Default: never.
   */
  readonly staleIfError?: Duration | undefined;
  /** After this a rendering is given up, as far as the cache and those who wait for it are concerned. Default: 30 s. */
  readonly timeout?: Duration | undefined;
  /** Further properties of requests that say who asks; see `cookies`. */
  readonly identity?: readonly string[] | undefined;
  /** Whether `Server-Timing` is sent. Default: true. */
  readonly serverTiming?: boolean | undefined;
  /** Tells a shared cache in front what it may keep, and by which keys it will be purged. Default: there is none. */
  readonly surrogate?: SurrogateOptions | undefined;
}

/** A shared cache in front: Fastly and Varnish read `Surrogate-Key`, Cloudflare and Akamai `Cache-Tag`. */
export interface SurrogateOptions {
  readonly style: "surrogate-key" | "cache-tag";
  /** How long the cache in front may keep a page when nothing purges it. */
  readonly maxAge: Duration;
}

/** Options, resolved. */
export interface PagePolicy<Source> extends StoragePolicy, KeyPolicy, AnswerStyle {
  readonly tags: readonly string[];
  readonly tagsOf: ((request: Source) => readonly string[]) | undefined;
  readonly userOf: "session" | ((request: Source) => string | undefined) | undefined;
  readonly keyOf: ((request: Source) => string) | undefined;
  readonly when: ((request: Source) => boolean) | undefined;
  readonly maxBodyBytes: number;
  readonly codings: readonly Coding[];
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly timeoutMs: number;
  readonly identity: readonly string[];
}

const known: Record<keyof PageOptions, true> = {
  ttl: true,
  tags: true,
  vary: true,
  query: true,
  cookies: true,
  private: true,
  key: true,
  when: true,
  statuses: true,
  maxBodyBytes: true,
  compress: true,
  staleWhileRevalidate: true,
  staleIfError: true,
  timeout: true,
  identity: true,
  serverTiming: true,
  surrogate: true,
};

/** The name under which this cache speaks in `Cache-Status` and `Server-Timing`. */
const cacheName = "everfresh";
const defaultMaxBodyBytes = 1_048_576;
const largestMaxBodyBytes = 64 * 1_048_576;

/** @throws EverfreshError `EF_OPTION` */
export function resolvePageOptions<Source>(options: PageOptions<Source>): PagePolicy<Source> {
  checkObject("what is said of a page", options, 'an object of options, such as { ttl: "10m" }');
  checkNames(options, known, "pages");
  checkForms(options);
  const isPrivate = options.private !== undefined;
  const codings = codingsOf(options.compress, isPrivate);
  const cookies = options.cookies ?? "bypass";
  const keyCookies = typeof cookies === "string" ? [] : cookies;
  const vary = varyOf(options.vary);
  const isInFront = options.surrogate !== undefined && !isPrivate;
  if (isPrivate && options.cookies !== undefined)
    throw new EverfreshError("EF_OPTION", "cookies is for pages for everybody; a private page is keyed by its user");
  if (isPrivate && options.staleWhileRevalidate !== undefined)
    throw new EverfreshError(
      "EF_OPTION",
      "staleWhileRevalidate is for pages for everybody; a private page is rendered for its user, who has left by then",
    );
  return Object.freeze({
    ttlMs: durationMs(options.ttl, "ttl"),
    tags: typeof options.tags === "function" ? [] : tagsOf(options.tags ?? []),
    tagsOf: typeof options.tags === "function" ? options.tags : undefined,
    userOf: options.private,
    keyOf: options.key,
    when: options.when,
    isPrivate,
    cookies,
    keyCookies,
    statuses: statusesOf(options.statuses),
    negotiatesCoding: codings.length > 0,
    codings,
    query: options.query ?? "all",
    vary,
    varies: [
      ...vary.map(({ header }) => header),
      ...(keyCookies.length > 0 || (isInFront && cookies === "bypass") ? ["Cookie"] : []),
      // Who says who they are goes past this cache, and must not be answered by one in front of it.
      ...(isInFront ? ["Authorization"] : []),
    ],
    maxBodyBytes: bytesOf(options.maxBodyBytes),
    staleWhileRevalidateMs: span(options.staleWhileRevalidate, "staleWhileRevalidate"),
    staleIfErrorMs: span(options.staleIfError, "staleIfError"),
    timeoutMs: durationMs(options.timeout ?? "30s", "timeout"),
    identity: [...identityNames, ...(options.identity ?? [])],
    name: cacheName,
    showsTiming: options.serverTiming ?? true,
    surrogate: surrogateOf(options.surrogate),
  });
}

/** Refuses what has no form that an option can have. */
function checkForms(options: PageOptions<never>): void {
  const { cookies, query, identity } = options;
  if (cookies !== undefined && cookies !== "bypass" && cookies !== "ignore")
    checkTexts("cookies", cookies, '"bypass", "ignore" or a list of names of cookies');
  if (query !== undefined && query !== "all") checkTexts("query", query, '"all" or a list of names of parameters');
  if (identity !== undefined) checkTexts("identity", identity, "a list of names of properties");
  if (options.private !== "session")
    checkFunction("private", options.private, '"session" or a function that names the user');
  if (!Array.isArray(options.tags))
    checkFunction("tags", options.tags, "a list of texts, or a function that gives one");
  checkFunction("key", options.key, "a function that gives a text");
  checkFunction("when", options.when, "a function that gives true or false");
  checkFlag("serverTiming", options.serverTiming);
}

/** The tags of every page of a declaration. The tag of its URL is one more, and a value has at most 100. */
function tagsOf(tags: readonly string[]): readonly string[] {
  return tags.length > 99
    ? refuse("the number of tags", tags.length, "at most 99, beside the page's own")
    : checkTags(tags);
}

function span(duration: Duration | undefined, name: string): number {
  return duration === undefined ? 0 : durationMs(duration, name);
}

const varyForms = "a list of names of headers, or of { header, as } with a function";

function varyOf(vary: NonNullable<PageOptions["vary"]> = []): readonly VaryRule[] {
  return Array.isArray(vary) ? vary.map(varyRule) : refuse("vary", vary, varyForms);
}

function varyRule(rule: NonNullable<PageOptions["vary"]>[number]): VaryRule {
  if (typeof rule !== "string") {
    checkObject("a part of vary", rule, varyForms);
    checkNames(rule, { header: true, as: true }, "a part of vary");
    if (typeof rule.header !== "string" || typeof rule.as !== "function") refuse("a part of vary", rule, varyForms);
  }
  const header = (typeof rule === "string" ? rule : rule.header).toLowerCase();
  if (!isToken(header) || header === "*")
    throw new EverfreshError("EF_OPTION", `vary names ${JSON.stringify(header)}, which is no header`);
  if (header === "cookie")
    throw new EverfreshError("EF_OPTION", "vary by cookies with the option cookies: name those that count");
  return { header, as: typeof rule === "string" ? undefined : rule.as };
}

function statusesOf(statuses: readonly number[] | undefined): ReadonlySet<number> {
  if (statuses !== undefined && !Array.isArray(statuses)) refuse("statuses", statuses, "a list of status codes");
  for (const status of statuses ?? [])
    if (!possibleStatuses.includes(status))
      throw new EverfreshError(
        "EF_OPTION",
        `statuses has ${shown(status)}; possible are ${possibleStatuses.join(", ")}`,
      );
  return new Set(statuses ?? defaultStatuses);
}

function codingsOf(compress: PageOptions["compress"], isPrivate: boolean): readonly Coding[] {
  if (compress === false) return [];
  if (compress !== undefined && !Array.isArray(compress))
    refuse("compress", compress, 'false or a list of "br", "zstd" and "gzip"');
  if (compress === undefined) return isPrivate ? [] : (["br", "zstd", "gzip"] as const).filter(isAvailable);
  for (const coding of compress)
    if (!(["br", "zstd", "gzip"] as readonly string[]).includes(coding))
      throw new EverfreshError("EF_OPTION", `compress has ${shown(coding)}; it takes "br", "zstd" and "gzip"`);
  // What this Node cannot make is left out, so that a fleet of different Nodes can share one set of options.
  return compress.filter(isAvailable);
}

function isAvailable(coding: Coding): boolean {
  return availableCodings.includes(coding);
}

function bytesOf(bytes: number | undefined): number {
  if (bytes === undefined) return defaultMaxBodyBytes;
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > largestMaxBodyBytes)
    throw new EverfreshError("EF_OPTION", `maxBodyBytes is ${bytes}; it is a number from 1 to ${largestMaxBodyBytes}`);
  return bytes;
}

function surrogateOf(options: SurrogateOptions | undefined): SurrogateStyle | undefined {
  if (options === undefined) return undefined;
  checkObject("surrogate", options, "an object with style and maxAge");
  checkNames(options, { style: true, maxAge: true }, "surrogate");
  if (options.style !== "surrogate-key" && options.style !== "cache-tag")
    refuse("surrogate.style", options.style, '"surrogate-key" or "cache-tag"');
  const isKeys = options.style === "surrogate-key";
  return {
    header: options.style,
    separator: isKeys ? " " : ",",
    controlHeader: isKeys ? "surrogate-control" : "cdn-cache-control",
    maxAgeSeconds: Math.ceil(durationMs(options.maxAge, "surrogate.maxAge") / 1000),
  };
}
