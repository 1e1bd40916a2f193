/** From an answer of the server to the callers: who gets the value as a hit, and what is done about those who do not. */
import { sameToken, type Reading } from "../backend/index.ts";
import type { Clock } from "../clock.ts";
import { failAll, type Caller } from "./caller.ts";
import type { Engine, EngineParts } from "./engine.ts";
import { alone, unpack, unpackLent, type Stored } from "./envelope.ts";
import type { GenerationRead } from "./generations.ts";
import type { Hints } from "./hints.ts";
import { flawOf, misfit, type ItemReading } from "./judging.ts";
import type { Keys } from "./keys.ts";
import type { Lookup, LookupOwner } from "./lookup.ts";
import type { Renewal } from "./renewal.ts";
import type { Serializer } from "./serializer.ts";
import type { Tier, TierEntry } from "./tier.ts";

const plain = { stale: false };

export class Settling implements LookupOwner {
  readonly #engine: Engine;
  readonly #parts: EngineParts;
  readonly #clock: Clock;
  readonly #keys: Keys;
  readonly #serializer: Serializer | undefined;
  readonly #tier: Tier | undefined;
  readonly #renewal: Renewal;
  readonly #hints: Hints;

  constructor(engine: Engine, parts: EngineParts, renewal: Renewal, hints: Hints) {
    this.#engine = engine;
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#keys = parts.keys;
    this.#serializer = parts.serializer;
    this.#tier = parts.tier;
    this.#renewal = renewal;
    this.#hints = hints;
  }

  unreachable(lookup: Lookup): void {
    this.#engine.bypass(lookup.wire, lookup.callers, "unreachable");
  }

  #readTag(lookup: Lookup, tag: string): GenerationRead {
    return this.#parts.generations.read(this.#keys.tag(tag), lookup.moment);
  }

  /** A hit that can be told from lent bytes: a value made from the same generations as others that were found current. */
  glance(lookup: Lookup, data: Buffer, start: number, end: number): boolean {
    const proven = lookup.space?.proven;
    if (proven === undefined || this.#tier !== undefined || this.#engine.watch !== undefined) return false;
    const stored = unpackLent(data, start, end, proven);
    if (stored === undefined || flawOf(lookup, plain, stored, this.#keys, this.#clock.now()) !== undefined)
      return false;
    const { callers } = lookup;
    try {
      if (!stored.open(this.#serializer) || !this.#isForAll(callers, stored)) return false;
      for (const caller of callers) if (caller.plan.shared) return false;
      this.#engine.answer(callers, stored, "hit", undefined);
    } catch (error) {
      failAll(callers, error);
    }
    return true;
  }

  /** Whether a value of the tier may be served to all, because others of the same provenance were just found current. */
  #isProven(lookup: Lookup, stored: Stored): boolean {
    if (lookup.space?.proven !== stored.provenance) return false;
    if (flawOf(lookup, plain, stored, this.#keys, this.#clock.now()) !== undefined) return false;
    return this.#isForAll(lookup.callers, stored);
  }

  /** Where a schema throws, it is not: only its own reader is told of that. */
  #isForAll(callers: readonly Caller[], stored: Stored): boolean {
    try {
      for (const caller of callers) if (misfit(caller, stored, this.#serializer) !== undefined) return false;
      return true;
    } catch {
      return false;
    }
  }

  settle(lookup: Lookup, reading: Reading): void {
    try {
      this.#settle(lookup, reading);
    } catch (error) {
      failAll(lookup.callers, error);
    }
  }

  #settle(lookup: Lookup, reading: Reading): void {
    switch (reading.kind) {
      case "absent":
        this.#engine.miss(lookup, "absent");
        return;
      case "won":
        this.#renewal.load(lookup, reading.token, "nothing", undefined, "absent");
        return;
      case "leased":
        this.#engine.wait(lookup);
        return;
      case "same": {
        const entry = this.#tier?.get(lookup.wire);
        if (entry === undefined || !sameToken(entry.token, reading.token)) {
          this.#engine.again(lookup.callers);
          return;
        }
        const { token, ttlSeconds, won } = reading;
        const { item, stored } = entry;
        if (!won && this.#engine.watch === undefined && this.#isProven(lookup, stored)) {
          this.#confirm(entry, lookup);
          this.#engine.answer(lookup.callers, stored, "hit", undefined);
          return;
        }
        this.#weigh(lookup, { kind: "item", item, token, ttlSeconds, stale: false, won, leased: false }, stored);
        return;
      }
      case "item": {
        const { bytes } = reading.item;
        const kept =
          this.#tier === undefined ? reading : { ...reading, item: { ...reading.item, bytes: alone(bytes) } };
        const stored = (kept.item.memo ??= unpack(kept.item.bytes)) as Stored | undefined;
        this.#weigh(lookup, kept, stored);
      }
    }
  }

  /** Brings the generations together that the value was made from, then decides. */
  #weigh(lookup: Lookup, reading: ItemReading, stored: Stored | undefined): void {
    const { space } = lookup;
    const asked: Promise<void>[] = [];
    if (stored !== undefined && space !== undefined && space.proven !== stored.provenance) {
      if (space.state === "asked") asked.push(space.answered);
      const { tags } = stored;
      if (tags.length > 0) {
        // More than its readers name: the next one asks for all of them together with the value.
        if (tags.length > (lookup.callers[0]?.plan.tags.length ?? 0)) this.#hints.remember(lookup.wire, tags);
        lookup.tags = tags.map((tag) => this.#readTag(lookup, tag));
        for (const read of lookup.tags) if (read.state === "asked") asked.push(read.answered);
      }
    }
    if (asked.length === 0) this.#judge(lookup, reading, stored);
    else
      void Promise.all(asked)
        .then(() => this.#judge(lookup, reading, stored))
        .catch((error: unknown) => failAll(lookup.callers, error));
  }

  #judge(lookup: Lookup, reading: ItemReading, stored: Stored | undefined): void {
    const why = stored === undefined ? "undecodable" : flawOf(lookup, reading, stored, this.#keys, this.#clock.now());
    const { callers } = lookup;
    if (stored === undefined || why !== undefined || !stored.open(this.#serializer)) {
      this.#tier?.delete(lookup.wire);
      this.#renewal.renew(lookup, reading, stored, why ?? "undecodable");
      return;
    }
    let fit = callers;
    const unfit: Caller[] = [];
    let flaw: string | undefined;
    if (!this.#isForAll(callers, stored)) {
      fit = [];
      for (const caller of callers) {
        try {
          const misfits = misfit(caller, stored, this.#serializer);
          flaw ??= misfits;
          (misfits === undefined ? fit : unfit).push(caller);
        } catch (error) {
          caller.fail(error);
        }
      }
    }
    if (this.#tier !== undefined) {
      const entry = this.#tier.get(lookup.wire);
      if (entry?.item === reading.item) this.#confirm(entry, lookup);
      else this.#tier.set(lookup.wire, reading.item, stored, reading.token, lookup.askedAt, lookup.moment);
    }
    if (this.#engine.watch)
      for (const caller of fit) if (caller.load) this.#engine.watch(caller, stored, reading.token);
    this.#engine.answer(fit, stored, "hit", undefined);
    if (flaw !== undefined) {
      lookup.callers = unfit;
      this.#renewal.renew(lookup, reading, undefined, flaw);
    } else if (reading.won) this.#renewal.refreshAhead(lookup, reading, stored);
  }

  /** An entry of the tier was found current, its generations included: only now `local: { maxAge }` counts from this question. */
  #confirm(entry: TierEntry, lookup: Lookup): void {
    if (this.#parts.tierMaxAgeMs > 0) this.#tier?.confirm(lookup.wire, entry, lookup.askedAt, lookup.moment);
  }
}
