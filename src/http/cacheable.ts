/**
 * May this request be answered from the cache, and may this response be stored? (RFC 9111 sections 3 and 4)
 *
 * Pure rules, each with its section. Every "no" has a reason that `Cache-Status` shows. Where the RFC leaves a choice, the
 * choice is the one that cannot show one visitor's bytes to another.
 */
import zlib from "node:zlib";
import { parseCacheControl, type Directives } from "./cache-control.ts";
import type { Reason } from "./cache-status.ts";
import { field, listOf, type Fields } from "./fields.ts";
import { arrivalAge, explicitLifetime } from "./freshness.ts";
import { identityFields } from "./identity.ts";
import type { PageRequest } from "./request.ts";

/** The options that decide. */
export interface StoragePolicy {
  /** Whether pages belong to one user each, and are keyed by that user. */
  readonly isPrivate: boolean;
  /** What a request's cookies mean for a page that is for everybody. */
  readonly cookies: "bypass" | "ignore" | readonly string[];
  /** Status codes that are stored. */
  readonly statuses: ReadonlySet<number>;
  /** Whether the cache negotiates content codings itself. */
  readonly negotiatesCoding: boolean;
  readonly ttlMs: number;
}

/** A response's head. */
export interface ResponseHead {
  readonly status: number;
  readonly fields: Fields;
  /**
   * The fields that were set before the handler began, by what stands around the cached part. Those that the handler left
   * as they were are this visitor's (a request id, a limit), and are not stored.
   */
  readonly inherited?: Fields;
}

/** Longer URLs are not worth a key. */
export const longestTarget = 8_192;

/** Status codes that mean the same to everybody and are whole (RFC 9110 section 15.1 lists what may be cached). */
export const defaultStatuses: readonly number[] = [200, 203, 301, 308];

/** Status codes that may be named in an option; 206 and 304 are never whole, 5xx are never wanted. */
export const possibleStatuses: readonly number[] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 501];

/** Why a request must go past the cache; undefined when it may be looked up. */
export function requestObstacle(
  request: PageRequest,
  policy: StoragePolicy,
  user: string | undefined,
): Reason | undefined {
  // RFC 9111 section 4: a stored response answers the method it was stored for; HEAD is served from a stored GET.
  if (request.method !== "GET" && request.method !== "HEAD") return "method";
  if (request.fields["upgrade"] !== undefined) return "upgrade";
  // Without an authority there is no target URI (RFC 9110 section 7.1), so there is no key.
  if (request.host === "") return "no-host";
  if (request.isOdd === true) return "target";
  // RFC 9110 section 9.3.1: content of a GET means nothing, but some handlers read it, and no key holds it.
  if (hasContent(request.fields)) return "content";
  if (request.path.length + request.query.length > longestTarget) return "url-too-long";
  // RFC 9111 section 3.5: a shared cache must not answer a request with Authorization from what others received.
  // The fields by which proxies and APIs name a user are taken for the same.
  if (!policy.isPrivate && saysWho(request.fields)) return "authorization";
  if (policy.isPrivate && (user === undefined || user === "")) return "no-user";
  if (!policy.isPrivate && policy.cookies === "bypass" && request.fields["cookie"] !== undefined) return "cookie";
  const cacheControl = field(request.fields, "cache-control");
  // RFC 9111 section 5.2.1.5: nothing of the request or of its response is stored.
  if (cacheControl !== undefined && parseCacheControl(cacheControl).has("no-store")) return "request-no-store";
  return undefined;
}

function saysWho(fields: Fields): boolean {
  for (const name of identityFields) if (fields[name] !== undefined) return true;
  return false;
}

/** Why a response must not be stored, as far as its head tells; undefined when it may. */
export function responseObstacle(response: ResponseHead, policy: StoragePolicy, nowMs: number): Reason | undefined {
  const { status, fields } = response;
  // RFC 9111 section 3.3: an incomplete response is stored only by who can handle ranges of it; we store whole ones.
  if (status === 206 || fields["content-range"] !== undefined) return "partial";
  if (!policy.statuses.has(status)) return "status";
  // RFC 9111 section 7.3 leaves it to the cache; nobody's cookie is ever given to somebody else here.
  if (fields["set-cookie"] !== undefined) return "set-cookie";
  const directives = parseCacheControl(field(fields, "cache-control"));
  const forbidden = directiveObstacle(directives, policy);
  if (forbidden !== undefined) return forbidden;
  const lifetime = explicitLifetime(directives, fields, nowMs, !policy.isPrivate);
  if (lifetime !== undefined && lifetime <= arrivalAge(fields, nowMs)) return "not-fresh";
  // RFC 9111 section 4.1: a Vary with "*" never matches.
  if (varyNames(fields).includes("*")) return "vary-any";
  if (policy.negotiatesCoding && isEncoded(fields)) return "encoded";
  // Trailers (RFC 9110 section 6.5) are known when it is too late to send them from a store.
  if (fields["trailer"] !== undefined) return "trailers";
  if (field(fields, "content-type")?.toLowerCase().startsWith("text/event-stream") === true) return "event-stream";
  // A nonce is for one response (Content Security Policy Level 3, section 7.2); whoever knows it beforehand may use it.
  if (field(fields, "content-security-policy")?.includes("'nonce-") === true) return "nonce";
  return undefined;
}

/** Whether a stale page may be used at all: RFC 9111 section 4.2.4 with 5.2.2.2, 5.2.2.8 and 5.2.2.10. */
export function mayBeServedStale(fields: Fields, isShared: boolean): boolean {
  const directives = parseCacheControl(field(fields, "cache-control"));
  if (directives.has("must-revalidate")) return false;
  return !isShared || (!directives.has("proxy-revalidate") && !directives.has("s-maxage"));
}

/** How long a storable response may be used, in milliseconds: the option, or less when the response says less. */
export function lifetimeMs(fields: Fields, policy: StoragePolicy, nowMs: number): number {
  const directives = parseCacheControl(field(fields, "cache-control"));
  const explicit = explicitLifetime(directives, fields, nowMs, !policy.isPrivate);
  if (explicit === undefined) return policy.ttlMs;
  return Math.min(policy.ttlMs, (explicit - arrivalAge(fields, nowMs)) * 1000);
}

/** The names in Vary, in lower case, each once, sorted. */
export function varyNames(fields: Fields): string[] {
  const names = new Set(listOf(field(fields, "vary") ?? "").map((name) => name.toLowerCase()));
  if (allowsOneOrigin(fields)) names.add("origin");
  return [...names].toSorted();
}

/**
 * The Fetch standard, "CORS protocol and HTTP caches": what names one origin is not for others, also where Vary forgets to say
 * so.
 */
export function allowsOneOrigin(fields: Fields): boolean {
  const allowed = field(fields, "access-control-allow-origin");
  return allowed !== undefined && allowed !== "*";
}

/**
 * Whether a page carries a token against cross-site requests. Such a token is one visitor's; another one's form would be
 * refused with it, so the page is not stored for everybody. Looks at the names that the known libraries use.
 */
export function carriesCsrfToken(fields: Fields, body: Uint8Array): boolean {
  const type = field(fields, "content-type")?.toLowerCase() ?? "";
  if (!type.includes("html")) return false;
  const bytes = isEncoded(fields) ? plainBytes(fields, body) : body;
  // What cannot be looked at may carry one.
  if (bytes === undefined) return true;
  // latin1 keeps every ASCII byte what it is, which is all that the pattern looks at.
  return csrfField.test(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1"));
}

/** What a handler, or what stands around it, has put into a content coding, where that is left to them. */
function plainBytes(fields: Fields, body: Uint8Array): Uint8Array | undefined {
  const decode = decoders[field(fields, "content-encoding")?.trim().toLowerCase() ?? ""];
  try {
    return decode?.(body, { maxOutputLength: longestDecoded });
  } catch {
    return undefined;
  }
}

const longestDecoded = 64 * 1_048_576;
const decoders: Partial<Record<string, (body: Uint8Array, options: { maxOutputLength: number }) => Uint8Array>> = {
  br: zlib.brotliDecompressSync,
  gzip: zlib.gunzipSync,
  "x-gzip": zlib.gunzipSync,
  deflate: zlib.unzipSync,
  // Where Node has it.
  zstd: (zlib as { zstdDecompressSync?: typeof zlib.gunzipSync }).zstdDecompressSync,
};

const csrfField =
  /\bname\s*=\s*["']?(?:_?csrf(?:[-_]?token)?|csrfmiddlewaretoken|authenticity_token|_token|xsrf[-_]?token|__requestverificationtoken)["'\s/>]/i;

/** Fields that belong to one connection or one message and are never stored (RFC 9111 section 3.1). */
const perMessage = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  // Ours to say anew with every answer:
  "age",
  "cache-status",
  "server-timing",
  "content-length",
]);

/** Fields that are part of the page whoever set them: they say what it is and how it may be used. */
const ofThePage = new Set(["vary", "cache-control", "expires", "content-type", "content-language", "content-encoding"]);

/**
 * The fields that are stored: all but those of the connection, those that `Connection` names (RFC 9110 section 7.6.1), and
 * those that the handler found there.
 */
export function storedFields({ fields, inherited = {} }: ResponseHead): Record<string, string | readonly string[]> {
  const named = new Set(listOf(field(fields, "connection") ?? "").map((name) => name.toLowerCase()));
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name]) =>
        !perMessage.has(name) &&
        !named.has(name) &&
        (ofThePage.has(name) || field(fields, name) !== field(inherited, name)),
    ),
  );
}

function directiveObstacle(directives: Directives, policy: StoragePolicy): Reason | undefined {
  // Section 5.2.2.5. With `must-understand` (5.2.2.3) it might be ignored; a cache is free to obey it all the same.
  if (directives.has("no-store")) return "no-store";
  // Section 5.2.2.4: not without asking the handler first, which is as much work as rendering. The form that names
  // fields is taken as the form without, as many caches do (same section).
  if (directives.has("no-cache")) return "no-cache";
  // Section 5.2.2.7; again with or without names of fields.
  if (directives.has("private") && !policy.isPrivate) return "private";
  return undefined;
}

/** RFC 9112 section 6.3: how a request says that it has content. */
function hasContent(fields: Fields): boolean {
  if (fields["transfer-encoding"] !== undefined) return true;
  return fields["content-length"] !== undefined && fields["content-length"] !== "0";
}

function isEncoded(fields: Fields): boolean {
  const coding = field(fields, "content-encoding")?.trim().toLowerCase();
  return coding !== undefined && coding !== "" && coding !== "identity";
}
