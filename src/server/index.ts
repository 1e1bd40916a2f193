/** `everfresh/server` */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
