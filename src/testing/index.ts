/** `everfresh/testing` */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
export { backendContract, type OpenBackend } from "./backend-contract.ts";
