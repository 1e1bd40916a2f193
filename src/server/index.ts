/** `everfresh/server`: a memcached-compatible server in this process. */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
export type { Capability, User } from "./accounts.ts";
export type { Fault, FaultKind, Journal, JournalEntry } from "./journal.ts";
export type { ServerOptions } from "./options.ts";
export { CacheServer, type ListenOptions, createServer } from "./server.ts";
export type { CertificateFiles, ServerTls } from "./tls.ts";
export { type ServerThread, createServerThread } from "./thread.ts";
