/** The groups and cases of the public suite that say nothing to a cache inside an origin, or to a shared one, each with why. */

export interface Elsewhere {
  readonly why: string;
  readonly ids: readonly string[];
}

const fieldsOfTheSuite =
  "Test-Header X-Test-Header Content-Foo X-Content-Foo Cache-Control Content-Encoding Content-Length Content-Location Content-MD5 " +
  "Content-Range Content-Security-Policy Content-Type Clear-Site-Data ETag Expires Public-Key-Pins Set-Cookie Set-Cookie2 " +
  "X-Frame-Options X-XSS-Protection";

const words = (text: string): string[] => text.split(" ");

export const elsewhere: readonly Elsewhere[] = [
  {
    why: "there is no server behind the cache that could be asked with a condition: the handler renders, and never sees one",
    ids: words(
      "conditional-etag-vary-headers conditional-etag-vary-headers-mismatch conditional-etag-strong-generate " +
        "conditional-etag-weak-generate-weak conditional-etag-strong-generate-unquoted conditional-etag-forward " +
        "conditional-etag-forward-unquoted",
    ),
  },
  {
    why: "nobody sends the cache a 304 that would freshen what it has",
    ids: [
      "304-lm-use-stored-Test-Header",
      ...words(fieldsOfTheSuite).map((name) => `304-etag-update-response-${name}`),
    ],
  },
  {
    why: "HEAD is answered from what GET has stored, or by the handler; its answer freshens nothing (RFC 9111 4.3.5: a cache may)",
    ids: words("head-writethrough head-200-retain head-200-freshness-update head-200-update head-410-update"),
  },
  {
    why: "two parts are never joined, because no part is stored",
    ids: ["partial-use-headers"],
  },
  {
    why: "speaks to caches in front (RFC 9213 section 2), which this one is not: handlers' fields are passed on to them",
    ids: words(
      "cdn-max-age cdn-max-age-max cdn-max-age-max-plus cdn-max-age-age cdn-max-age-space-before-equals " +
        "cdn-max-age-space-after-equals cdn-max-age-0 cdn-max-age-extension cdn-max-age-case-insensitive cdn-max-age-expires " +
        "cdn-max-age-cc-max-age-invalid-expires cdn-max-age-0-expires cdn-max-age-short-cc-max-age cdn-max-age-long-cc-max-age " +
        "cdn-private cdn-no-cache cdn-no-store-cc-fresh cdn-fresh-cc-nostore cdn-cc-invalid-sh-type-unknown " +
        "cdn-cc-invalid-sh-type-wrong cdn-remove-age-exceed cdn-date-update-exceed cdn-expires-update-exceed",
    ),
  },
  {
    why: "a W3C note on surrogates in front, which this cache is not",
    ids: words(
      "surrogate-max-age surrogate-max-age-max surrogate-max-age-max-plus surrogate-max-age-me-target " +
        "surrogate-max-age-other-target surrogate-max-age-age surrogate-max-age-space-before-equals " +
        "surrogate-max-age-space-after-equals surrogate-max-age-0 surrogate-max-age-extension surrogate-max-age-case-insensitive " +
        "surrogate-max-age-expires surrogate-max-age-cc-max-age-invalid-expires surrogate-max-age-0-expires " +
        "surrogate-max-age-short-cc-max-age surrogate-max-age-long-cc-max-age surrogate-no-store surrogate-no-store-cc-fresh " +
        "surrogate-fresh-cc-nostore surrogate-append-capabilities",
    ),
  },
  {
    why: "a browser's way of asking again",
    ids: ["cc-resp-immutable-fresh", "cc-resp-immutable-stale"],
  },
  {
    why: "the second request is answered from the cache, so there is no newer response that would come with no-store",
    ids: ["cc-resp-no-store-old-new", "cc-resp-no-store-old-max-age"],
  },
  {
    why: "RFC 9111 5.5 has made Warning obsolete; Cache-Status says it",
    ids: ["stale-warning-stored", "stale-warning-become"],
  },
];
