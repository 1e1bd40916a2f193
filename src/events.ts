/**
 * What Everfresh tells the world while it works: one `node:diagnostics_channel` per kind of event.
 *
 * A channel without subscribers costs one property read, so whoever publishes asks `hasSubscribers` first and builds
 * the message only then. Messages never carry values or secrets.
 */
import { channel } from "node:diagnostics_channel";

/** The shape of what each channel carries. A floor that publishes adds its line here. */
export interface EventShapes {
  /** Something noteworthy that has no channel of its own: what was configured, what was fallen back to. */
  "everfresh:notice": { readonly message: string };
  /** One command of the memcached client ended. */
  "everfresh:client:command": {
    readonly server: string;
    /** `get`, `getMany`, `store`, `delete`, ... */
    readonly command: string;
    readonly key: string;
    /** From the call to its end, in milliseconds. */
    readonly durationMs: number;
    /** The code of the error; undefined when it was answered. */
    readonly error: string | undefined;
  };
  /** A connection of the memcached client was made, refused or lost; or a server went down or came up. */
  "everfresh:client:server": {
    readonly server: string;
    readonly from: string;
    readonly to: "idle" | "connecting" | "up" | "down" | "closed";
    /** What is spoken, once it is up. */
    readonly protocol: string | undefined;
    readonly version: string | undefined;
    /** Why, as the code of an error and a sentence. */
    readonly code: string | undefined;
    readonly message: string | undefined;
  };
  /** The memcached client's list of servers changed. */
  "everfresh:client:servers": { readonly added: readonly string[]; readonly removed: readonly string[] };
  /** One read of the cache was answered. */
  "everfresh:cache:read": {
    readonly namespace: string;
    readonly key: string;
    readonly status: "hit" | "miss" | "stale" | "bypass";
    /** Why it was no plain hit: `absent`, `expired`, `invalidated`, `tag songs`, `unreachable` ... */
    readonly why: string | undefined;
  };
  /** A loader has run. */
  "everfresh:cache:load": {
    readonly namespace: string;
    readonly key: string;
    readonly durationMs: number;
    /** Stored; refused because of an invalidation meanwhile; not stored for `why`; or failed. */
    readonly outcome: "stored" | "refused" | "unstored" | "failed";
    readonly why: string | undefined;
  };
  /** The freshness monitor found a read that was stale. */
  "everfresh:cache:stale": {
    readonly key: string;
    readonly ageMs: number;
    readonly tags: readonly string[];
    readonly generations: readonly string[];
  };
  /**
   * Tags were invalidated, and their servers have confirmed it, in time or later: for whoever keeps copies of their own, such
   * as a CDN.
   */
  "everfresh:cache:tags": { readonly namespace: string; readonly tags: readonly string[] };
  /** An invalidation was confirmed, or could not be and is being retried. */
  "everfresh:cache:invalidation": {
    readonly server: string;
    /** The key on the wire. */
    readonly key: string;
    readonly outcome: "confirmed" | "pending" | "delivered";
    readonly pending: number;
  };
  /** A transaction of the outbox committed, and its own process told the caches. Counts are rows. */
  "everfresh:outbox:committed": { readonly delivered: number; readonly pending: number };
  /** A relay delivered what was left by others, or tried to. Counts are rows. */
  "everfresh:outbox:relayed": { readonly delivered: number; readonly pending: number; readonly error: unknown };
  /**
   * The database refused something that the outbox needed after a commit; it is tried again. `drop`: rows that name no possible
   * key or tag.
   */
  "everfresh:outbox:error": { readonly what: "relay" | "listen" | "remove" | "drop"; readonly error: unknown };
}

/** The name of a channel. */
export type EventName = keyof EventShapes;

/** A channel that carries one shape of message. */
export interface EventChannel<Name extends EventName> {
  /** Whether anybody listens; ask before building a message. */
  readonly hasSubscribers: boolean;
  publish(message: EventShapes[Name]): void;
}

/** The channel `name`, typed by what it carries. Subscribe with `node:diagnostics_channel`. */
export function eventChannel<Name extends EventName>(name: Name): EventChannel<Name> {
  return channel(name);
}
