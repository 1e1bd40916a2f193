/** `everfresh`: the cache framework. */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "./errors.ts";
export type { Duration } from "./duration.ts";
