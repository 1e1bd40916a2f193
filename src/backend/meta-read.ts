/**
 * Reading by the meta protocol: from the question to what was found.
 *
 * W, Z and X are looked at before the value, because an item that was just made looks like a hit with an empty value.
 */
import { EverfreshError, isEverfreshError } from "../errors.ts";
import { sameToken, type Reading, type ReadSink, type Token, type Want } from "./backend.ts";
import type {
  LeaseAnswer,
  LeaseCas as Cas,
  LeaseClient,
  LeaseEpoch,
  LeaseGetFlags,
  LeaseGetResult,
  LeaseSink,
} from "./lease-client.ts";

/** In the flags: this item is a lease that was renewed or taken over. Values never have this number. */
export const leaseMark = 0x1ea5e;

/** What a read needs of its backend. */
export interface MetaReader {
  readonly client: LeaseClient;
  /** Takes over where the server has refused the command. */
  readonly refused: ((key: string, want: Want, sink: ReadSink, error: unknown) => void) | undefined;
  /** Whether the server of `key` is known not to take `mg k v C<cas>`. */
  isUnconditional(key: string): boolean;
  /** It does not take that. */
  foundUnconditional(key: string): void;
  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined>;
  drop(key: string, token: Token): Promise<boolean>;
}

/**
 * One read on its way. Of a version that this process still has it is asked whether that is the current one; the bytes are
 * asked for only where it is not.
 */
export class MetaRead implements LeaseSink {
  readonly #backend: MetaReader;
  readonly #key: string;
  readonly #want: Want;
  readonly #sink: ReadSink;
  /** The version that was asked about; undefined once the bytes are asked for. */
  #known: Token | undefined;
  /** What was won by a question that brought no bytes, while they are asked for. */
  #won: Token | undefined;
  /** Whether this read asked by a flag that the server may not have; others may have found that out meanwhile. */
  #conditional = false;

  constructor(backend: MetaReader, key: string, want: Want, sink: ReadSink) {
    this.#backend = backend;
    this.#key = key;
    this.#want = want;
    this.#sink = sink;
    this.#known = want.known;
  }

  ask(): void {
    const { meta } = this.#backend.client;
    const flags = this.#flags();
    if (meta.getInto !== undefined) meta.getInto(this.#key, flags, this);
    else
      meta.get(this.#key, flags).then(
        (result) => this.answered(lent(result), result.epoch),
        (error: unknown) => this.failed(error),
      );
  }

  #flags(): LeaseGetFlags {
    const known = this.#known;
    this.#conditional = false;
    if (known === undefined) return getFlags(this.#want, true);
    // Before 1.6.40: the version alone, and the bytes only when it is another one.
    if (this.#backend.isUnconditional(this.#key)) return getFlags(this.#want, false);
    this.#conditional = true;
    return makeFlags(this.#want, true, known.version as Cas);
  }

  answered(answer: LeaseAnswer, epoch: LeaseEpoch): void {
    const sink = this.#sink;
    const known = this.#known;
    if (answer.kind === "miss") sink.found({ kind: "absent" });
    else if (known === undefined) this.#take(answer, epoch);
    else if (isSame(known, answer, epoch))
      sink.found({ kind: "same", token: known, ttlSeconds: answer.ttl, won: answer.won });
    else if (answer.kind === "hit" && answer.hasData) this.#take(answer, epoch);
    else if (answer.won && !this.#mayBeKept(answer)) sink.found({ kind: "won", token: tokenOf(answer, epoch) });
    else if (answer.leased && !answer.stale) sink.found({ kind: "leased" });
    else {
      if (answer.won) this.#won = tokenOf(answer, epoch);
      this.#known = undefined;
      this.ask();
    }
  }

  /** Whether what was won may be a value, which is stale or to be refreshed ahead. */
  #mayBeKept(answer: LeaseAnswer): boolean {
    return answer.stale || this.#want.recache !== undefined;
  }

  #take(answer: LeaseAnswer, epoch: LeaseEpoch): void {
    const sink = this.#sink;
    if (answer.kind !== "hit") sink.failed(unexpected(answer.kind));
    else if (!isPlain(answer) || sink.glance?.(answer.data, answer.dataStart, answer.dataEnd) !== true) {
      const token = tokenOf(answer, epoch);
      const won = answer.won || (this.#won !== undefined && sameToken(this.#won, token));
      const reading = toReading(answer, token, won, this.#want);
      if (reading.kind === "won" && answer.stale) this.#takeOver(token);
      else sink.found(reading);
    }
  }

  /** An invalidation that keeps the value met a lease, and kept that: for longer than a lease lasts, and for who wanted none. */
  #takeOver(token: Token): void {
    const sink = this.#sink;
    const { lease } = this.#want;
    if (lease === undefined) {
      void this.#backend.drop(this.#key, token).catch(() => undefined);
      sink.found({ kind: "absent" });
      return;
    }
    this.#backend.claim(this.#key, token, lease).then(
      (mine) => sink.found(mine === undefined ? { kind: "leased" } : { kind: "won", token: mine }),
      (error: unknown) => sink.failed(error),
    );
  }

  failed(error: unknown): void {
    const { refused } = this.#backend;
    if (!isEverfreshError(error, "EF_UNSUPPORTED")) this.#sink.failed(error);
    else if (this.#conditional) {
      this.#backend.foundUnconditional(this.#key);
      this.ask();
    } else if (refused !== undefined) refused(this.#key, this.#want, this.#sink, error);
    else this.#sink.failed(error);
  }
}

/** A number that matches on another connection says nothing. */
function isSame(known: Token, answer: LeaseAnswer, epoch: LeaseEpoch): boolean {
  return known.epoch === epoch && answer.hasCas(known.version as string) && !answer.stale;
}

/** Whether it is nothing but a value. */
function isPlain({ hasData, clientFlags, won, stale, leased, ttl }: LeaseAnswer): boolean {
  return hasData && clientFlags === 0 && !won && !stale && !leased && ttl === undefined;
}

/** The flags that were made last: of one cache's questions nearly all want the same. */
let latest = makeFlags({}, true);

function getFlags({ lease, recache, ttl = false }: Want, value: boolean): LeaseGetFlags {
  const { vivify } = latest;
  if (latest.value !== value || vivify !== lease || latest.recache !== recache || latest.ttl !== ttl)
    latest = makeFlags({ lease, recache, ttl } as Want, value);
  return latest;
}

/** All of one shape, which is what makes reading them fast. */
function makeFlags({ lease: vivify, recache, ttl = false }: Want, value: boolean, ifChangedFrom?: Cas): LeaseGetFlags {
  // Fields that are undefined count as absent for the client, and keep the shape.
  return { value, clientFlags: true, cas: true, ttl, vivify, recache, ifChangedFrom } as LeaseGetFlags;
}

const nothing = Buffer.alloc(0);

/** What a client that answers with promises has answered. */
function lent(result: LeaseGetResult): LeaseAnswer {
  if (result.kind === "miss") return missed;
  const { value, ...rest } = result;
  const data = value ?? nothing;
  return {
    ...rest,
    hasCas: (text) => rest.cas === text,
    hasData: value !== undefined,
    data,
    dataStart: 0,
    dataEnd: data.length,
    bytes: () => data,
  };
}

const missed: LeaseAnswer = {
  kind: "miss",
  clientFlags: 0,
  cas: undefined,
  hasCas: () => false,
  ttl: undefined,
  won: false,
  stale: false,
  leased: false,
  hasData: false,
  data: nothing,
  dataStart: 0,
  dataEnd: 0,
  bytes: () => nothing,
};

function toReading(answer: LeaseAnswer, token: Token, won: boolean, want: Want): Reading {
  const { clientFlags: flags, stale } = answer;
  const leased = answer.leased && !won;
  const isEmpty = answer.dataStart === answer.dataEnd || !answer.hasData;
  if (flags === leaseMark || (isEmpty && (won || leased))) {
    if (won) return { kind: "won", token };
    return want.lease === undefined ? { kind: "absent" } : { kind: "leased" };
  }
  const bytes = isEmpty ? nothing : answer.bytes();
  return { kind: "item", item: { bytes, flags }, token, ttlSeconds: answer.ttl, stale, won, leased };
}

function tokenOf(answer: LeaseAnswer, epoch: LeaseEpoch): Token {
  return { epoch, version: answer.cas };
}

function unexpected(kind: string): EverfreshError {
  return new EverfreshError("EF_PROTOCOL", `the server answered ${kind} to a question that was not asked`);
}
