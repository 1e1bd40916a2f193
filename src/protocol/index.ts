/** `protocol`: bytes <-> messages, both directions, pure. */
export * from "./answer.ts";
export * from "./command.ts";
export * from "./dialect.ts";
export * from "./key.ts";
export * from "./outgoing.ts";
export * from "./reader.ts";
export { decodeBase64 } from "./base64-key.ts";
export { utf8Text } from "./bytes-as-text.ts";
export { copyBytes } from "./copy.ts";
export { MetaRequest, longestOpaque } from "./meta-request.ts";
export { type Outlet, ReplyWriter, answerRoom, writerBytes } from "./reply-writer.ts";
export { RequestLine, longestKey, mostWords } from "./request-line.ts";
export * from "./u64.ts";
export { BinaryRequest, type Status, binaryHeader, readUint32, responseMagic, status } from "./binary-request.ts";
