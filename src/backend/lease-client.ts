/**
 * What the leases need of a memcached client: four commands, the place of a key, the state of the servers.
 *
 * The client of `everfresh/client` has all of it; a simulated world may stand in for it.
 */

import type { Answer, Cas, ConnectionEpoch } from "../client/index.ts";

export type LeaseEpoch = ConnectionEpoch;
export type LeaseCas = Cas;

export type LeaseGetResult =
  | { readonly kind: "miss"; readonly epoch: LeaseEpoch }
  | {
      readonly kind: "hit" | "unchanged";
      readonly value: Buffer | undefined;
      readonly clientFlags: number;
      readonly cas: LeaseCas | undefined;
      readonly ttl: number | undefined;
      readonly won: boolean;
      readonly stale: boolean;
      readonly leased: boolean;
      readonly epoch: LeaseEpoch;
    };

/** The same before anything was taken out of it. Lent: it is read until the sink returns, and nothing of it is kept. */
export type LeaseAnswer = Pick<
  Answer,
  | "kind"
  | "clientFlags"
  | "cas"
  | "hasCas"
  | "ttl"
  | "won"
  | "stale"
  | "leased"
  | "hasData"
  | "data"
  | "dataStart"
  | "dataEnd"
  | "bytes"
>;

/** Who waits for such an answer. One of the two is called, once, after the asking has returned. */
export interface LeaseSink {
  answered(answer: LeaseAnswer, epoch: LeaseEpoch): void;
  failed(error: unknown): void;
}

export interface LeaseGetFlags {
  readonly value?: boolean;
  readonly clientFlags?: boolean;
  readonly cas?: boolean;
  readonly ttl?: boolean;
  readonly vivify?: number;
  readonly recache?: number;
  /** The value only if the number is another one by now; `EF_UNSUPPORTED` where the server cannot tell. */
  readonly ifChangedFrom?: LeaseCas;
}

export interface LeaseCallOptions {
  readonly on?: LeaseEpoch;
}

export interface LeaseClient {
  /** To each server. Where there are several, commands for two keys may overtake each other. Default: 1. */
  readonly connections?: number;
  readonly meta: {
    get(key: string, flags: LeaseGetFlags, call?: LeaseCallOptions): Promise<LeaseGetResult>;
    /** The same without a promise and without copies, for clients that can. */
    getInto?(key: string, flags: LeaseGetFlags, sink: LeaseSink): void;
    set(
      key: string,
      value: Uint8Array | string,
      flags: {
        readonly ttl?: number;
        readonly clientFlags?: number;
        readonly mode?: "set" | "add";
        readonly compareCas?: LeaseCas;
        readonly returnCas?: boolean;
      },
      call?: LeaseCallOptions,
    ): Promise<{
      readonly kind: "stored" | "notStored" | "exists" | "notFound";
      readonly cas?: LeaseCas | undefined;
      readonly epoch: LeaseEpoch;
    }>;
    delete(
      key: string,
      flags: { readonly compareCas?: LeaseCas; readonly invalidate?: boolean; readonly ttl?: number },
      call?: LeaseCallOptions,
    ): Promise<{ readonly kind: "deleted" | "exists" | "notFound"; readonly epoch: LeaseEpoch }>;
  };
  serverOf(key: string): string;
  servers(): readonly { readonly name: string; readonly state: "idle" | "connecting" | "up" | "down" | "closed" }[];
  close(): Promise<void>;
}
