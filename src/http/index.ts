/** The door of `http`: which responses are values. */
export type { Answer, AnswerFields } from "./answer.ts";
export type { ResponseHead } from "./cacheable.ts";
export type { Reason } from "./cache-status.ts";
export { onlyCookies, parseCookies } from "./cookies.ts";
export { tags } from "./current.ts";
export { field, listOf, type Fields } from "./fields.ts";
export { PageWithHoles, TrustedHtml, trustedHtml, type HoleValue, type OpenedPage } from "./holes.ts";
export { identityRule, watchIdentity, type IdentityWatch } from "./identity.ts";
export { preferredLanguage, type Coding } from "./negotiation.ts";
export type { PageOptions, PagePolicy, SurrogateOptions } from "./options.ts";
export { purgeInFront, type Purge, type PurgeOptions } from "./purge.ts";
export { urlTag } from "./places.ts";
export { canonicalQuery } from "./query.ts";
export type { Rendering, Verdict } from "./render.ts";
export { isOddTarget, isSafeMethod, splitTarget, type PageRequest } from "./request.ts";
export { ResponseCache, type Framework, type Served } from "./response-cache.ts";
export type { PageStore, StoreContext, StoreOptions, StoreResult } from "./store.ts";
