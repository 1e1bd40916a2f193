/** One question to the backend, and those who wait for its answer. */
import type { Reading, ReadSink } from "../backend/index.ts";
import type { Caller } from "./caller.ts";
import type { GenerationRead } from "./generations.ts";

/** Who decides what an answer means. */
export interface LookupOwner {
  settle(lookup: Lookup, reading: Reading): void;
  /** Answers from bytes that are lent; false: not by these alone. */
  glance(lookup: Lookup, data: Buffer, start: number, end: number): boolean;
  unreachable(lookup: Lookup): void;
}

export class Lookup implements ReadSink {
  readonly wire: string;
  /** The key as its first caller wrote it. */
  readonly key: string;
  callers: Caller[];
  /** When it was sent; all of its callers came before. */
  moment = 0;
  /** The same on the monotonic clock, where `local: { maxAge }` counts from it. */
  askedAt = 0;
  /** The generation of the namespace, asked when this was sent. */
  space: GenerationRead | undefined;
  /** The generations of the tags of what was found, in their order. */
  tags: readonly GenerationRead[] = noReads;
  readonly #owner: LookupOwner;

  constructor(owner: LookupOwner, wire: string, key: string, callers: Caller[]) {
    this.#owner = owner;
    this.wire = wire;
    this.key = key;
    this.callers = callers;
  }

  glance(data: Buffer, start: number, end: number): boolean {
    return this.#owner.glance(this, data, start, end);
  }

  found(reading: Reading): void {
    this.#owner.settle(this, reading);
  }

  failed(): void {
    this.#owner.unreachable(this);
  }
}

const noReads: readonly GenerationRead[] = [];
