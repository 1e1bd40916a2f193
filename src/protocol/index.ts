/** `protocol`: bytes <-> messages, both directions, pure. */
export * from "./answer.ts";
export * from "./command.ts";
export * from "./dialect.ts";
export * from "./key.ts";
export * from "./outgoing.ts";
export * from "./reader.ts";
