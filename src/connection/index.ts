/** `connection`: one socket, and coming back. */
export { backoffMs, type BackoffOptions } from "./backoff.ts";
export { Call, unfinished, type CallOptions, type CallSink, type ConnectionEpoch, type Reading } from "./call.ts";
export { planHandshake, type Credentials, type HandshakePlan, type LoginName } from "./handshake.ts";
export { Link, type LinkOptions, type LinkState } from "./link.ts";
export { socketTransport, type SocketAddress, type SocketOptions } from "./tcp.ts";
export type { OpenTransport, Transport, TransportEvents } from "./transport.ts";
export type { ServerVersion } from "./version.ts";
