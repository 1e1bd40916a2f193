/** `everfresh/testing` */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
export { backendContract, type OpenBackend } from "./backend-contract.ts";
export { ManualClock } from "./clock.ts";
export { type Fault, type FaultKind, type JournalEntry, type TestServer, startTestServer } from "./server.ts";
