/** The contract of what carries bytes: send, receive, close. */
import type { Outgoing } from "../protocol/index.ts";

/** What a transport tells. After `closed` it is silent. */
export interface TransportEvents {
  /** Ready to carry bytes. */
  opened(): void;
  /** Bytes arrived. They are lent until this returns; then their memory is used for the next ones. */
  received(chunk: Buffer): void;
  /** There is room again after {@link Transport.send} returned false. */
  drained(): void;
  /** It is over: by the peer, by a fault, or because {@link Transport.destroy} was called. Told exactly once. */
  closed(error: Error | undefined): void;
}

/** A way to one server, for one incarnation of a connection. */
export interface Transport {
  /** Whether it must know where commands end ({@link Outgoing.ends}). */
  readonly asksForEnds: boolean;
  /** Sends what was gathered, and clears it; false when it should be the last for now, until `drained`. */
  send(out: Outgoing): boolean;
  /** Says goodbye after what was sent. */
  end(): void;
  /** Ends at once. */
  destroy(): void;
}

/** Opens a transport; it never throws, failures are told by `closed`. */
export type OpenTransport = (events: TransportEvents) => Transport;
