/** `everfresh/client`: the memcached client. */
export { EverfreshError, errorCodes, isEverfreshError, type ErrorCode } from "../errors.ts";
export type { CallOptions, CallSink, ConnectionEpoch } from "../connection/index.ts";
export type { Answer } from "../protocol/index.ts";
export type { ServerSpec } from "./address.ts";
export type { Cas } from "./arguments.ts";
export { createClient, type MemcachedClient, type ServerInfo } from "./client.ts";
export type { MetaCommands } from "./meta-commands.ts";
export type * from "./meta-types.ts";
export type { ClientOptions } from "./options.ts";
export type { GetManyOptions } from "./bulk.ts";
export type * from "./command-types.ts";
export type { KeyLike } from "./calls.ts";
export type { ClientCounters } from "./counters.ts";
export type { CompressionName, ProfileName, Value } from "./profiles.ts";
export type { CompressionOptions } from "./values.ts";
