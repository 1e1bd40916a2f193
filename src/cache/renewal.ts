/**
 * Replacing a value that may not be served as fresh: getting the lease, serving the stale value where that is allowed, and
 * the loads that are under way in this process.
 */
import type { Backend, Item, Token, Want } from "../backend/index.ts";
import type { Clock } from "../clock.ts";
import { eventChannel } from "../events.ts";
import { Abandoned } from "./abandoned.ts";
import { failAll, type Caller } from "./caller.ts";
import type { Engine, EngineParts } from "./engine.ts";
import type { Stored } from "./envelope.ts";
import { gatherEvidence, type AllEvidence } from "./evidence.ts";
import { Flight, type FlightHost } from "./flight.ts";
import type { Home } from "./fragments.ts";
import type { Generations } from "./generations.ts";
import type { Hints } from "./hints.ts";
import {
  isCovered,
  mayHave,
  mayServeStale,
  refreshedAhead,
  staleUntil,
  type ItemReading,
  type Stale,
} from "./judging.ts";
import { Lease, type Kept } from "./lease.ts";
import type { Loads } from "./loading.ts";
import type { Lookup } from "./lookup.ts";
import { jittered, type Plan } from "./plan.ts";
import type { Serializer } from "./serializer.ts";

const loadChannel = eventChannel("everfresh:cache:load");

export class Renewal implements FlightHost {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly loads: Loads;
  readonly generations: Generations;
  readonly serializer: Serializer | undefined;
  readonly keeps: boolean;
  readonly home: Home;
  /** The loads that may be joined, by the key on the wire. */
  readonly flights = new Map<string, Flight>();
  readonly #engine: Engine;
  readonly #parts: EngineParts;
  readonly #hints: Hints;
  readonly #leased: Want;
  readonly #abandoned = new Abandoned();

  constructor(engine: Engine, parts: EngineParts, hints: Hints) {
    this.#engine = engine;
    this.#parts = parts;
    this.#hints = hints;
    this.backend = parts.backend;
    this.clock = parts.clock;
    this.loads = parts.loads;
    this.generations = parts.generations;
    this.serializer = parts.serializer;
    this.keeps = engine.keeps;
    this.home = engine.home;
    this.#leased = { lease: parts.leaseSeconds, ttl: true };
  }

  /** The value that was read may not be served as fresh: get the lease to replace it. */
  renew(lookup: Lookup, reading: ItemReading, stored: Stored | undefined, why: string): void {
    const now = this.clock.now();
    const stale = stored !== undefined && mayServeStale(why) ? staleOf(stored, why, reading, now) : undefined;
    this.#engine.miss(lookup, why);
    const { wire } = lookup;
    if (lookup.callers.length === 0) {
      // A stale value is won by whoever reads it next, also by who only looks.
      if (reading.won) void this.backend.expire(wire, reading.token).catch(() => undefined);
      return;
    }
    let relaxedMs = 0;
    for (const { plan } of lookup.callers) relaxedMs = Math.max(relaxedMs, plan.staleMs, plan.errorMs);
    const keepMs = stale === undefined ? 0 : Math.min(relaxedMs, staleUntil(stale.stored, why, relaxedMs) - now);
    const keepSeconds = Math.max(0, Math.ceil(keepMs / 1000));
    if (reading.stale && reading.leased) {
      if (this.#isAbandoned(lookup, reading.token)) this.#claimKeeping(lookup, reading.token, undefined, stale, why);
      else this.#waitStale(lookup, stale);
    } else if (why === "expired" && this.flights.get(wire)?.replaces(reading.token) === true) {
      // It was refreshed ahead here, for longer than it was fresh.
      this.#waitStale(lookup, stale);
    } else if (reading.stale && reading.won) {
      this.load(lookup, reading.token, "a stale value", stale, why, reading.ttlSeconds);
    } else if (keepSeconds > 0 && this.backend.keepsStale) {
      // Also what was won by `refreshAhead`: others could not tell whether that was before it expired.
      this.#claimKeeping(lookup, reading.token, keepSeconds, stale, why);
    } else {
      this.backend.claim(wire, reading.token, this.#parts.leaseSeconds).then(
        (token) => (token ? this.load(lookup, token, "nothing", undefined, why) : this.#engine.again(lookup.callers)),
        () => this.#engine.bypass(wire, lookup.callers, "unreachable"),
      );
    }
  }

  /** Whether nobody can be left who computes what stands under the lease `token`. */
  #isAbandoned({ wire, callers }: Lookup, token: Token): boolean {
    if (this.flights.has(wire)) return false;
    const longestMs = Math.max(...callers.map(({ plan }) => plan.hardMs)) + this.#parts.leaseSeconds * 1000;
    return this.#abandoned.is(wire, token, longestMs, this.clock.monotonic());
  }

  /**
   * Marks the old value as stale, for as long as it has left where nothing is said, and asks again in the same tick: one of all
   * who do this wins.
   */
  #claimKeeping(
    lookup: Lookup,
    token: Token,
    keepSeconds: number | undefined,
    stale: Stale | undefined,
    why: string,
  ): void {
    const { wire } = lookup;
    void this.backend.expire(wire, token, keepSeconds).catch(() => undefined);
    this.backend.read(wire, this.#leased).then(
      (reading) => {
        const isStale = reading.kind === "item" && reading.stale;
        if (isStale && reading.won) this.load(lookup, reading.token, "a stale value", stale, why, reading.ttlSeconds);
        else if (isStale) this.#waitStale(lookup, stale);
        else if (reading.kind === "won") this.load(lookup, reading.token, "nothing", stale, why);
        else if (reading.kind === "leased") this.#engine.wait(lookup);
        else this.#engine.again(lookup.callers);
        return undefined;
      },
      () => this.#engine.bypass(wire, lookup.callers, "unreachable"),
    );
  }

  refreshAhead(lookup: Lookup, reading: ItemReading, stored: Stored): void {
    const caller = lookup.callers.find(({ load, plan }) => load !== undefined && plan.aheadMs > 0);
    if (caller === undefined) return;
    lookup.callers = [];
    const now = this.clock.now();
    const stale = { stored, why: refreshedAhead, kept: { until: now, seenAt: now } };
    this.#begin(lookup, caller, reading.token, "a fresh value", stale, refreshedAhead);
  }

  /**
   * The lease is ours: serve stale where that is allowed, and compute. A stale value is kept for `keptSeconds`, if that is
   * known.
   */
  load(lookup: Lookup, token: Token, kept: Kept, stale: Stale | undefined, why: string, keptSeconds?: number): void {
    const loader = lookup.callers.find((caller) => caller.load !== undefined);
    this.#engine.miss(lookup, why);
    if (loader === undefined) return;
    this.#serveStale(lookup, stale);
    this.#begin(lookup, loader, token, kept, stale, why, keptSeconds);
  }

  #begin(
    lookup: Lookup,
    loader: Caller,
    token: Token,
    kept: Kept,
    stale: Stale | undefined,
    why: string,
    keptSeconds = -1,
  ): void {
    const { wire } = lookup;
    const { load, plan, key } = loader;
    const callers = lookup.callers.filter((caller) => isCovered(caller.plan, plan));
    if (load === undefined) return;
    const { clock, backend } = this;
    const keptMs = keptSeconds < 0 ? undefined : keptSeconds * 1000;
    const lease = new Lease(backend, clock, wire, token, this.#parts.leaseSeconds, kept, keptMs);
    const original = this.#parts.keys.isDigest(wire) ? key : undefined;
    const background = callers.length === 0;
    const flight = new Flight(
      this,
      { wire, key, lease, load, loader, plan, why, stale, original, background },
      callers,
    );
    this.flights.set(wire, flight);
    for (const caller of callers) if (caller !== loader) caller.onKnown?.();
    if (callers.length < lookup.callers.length) {
      // Who reads another version, or names a tag that this one lacks, waits until it is there, and then replaces it.
      lookup.callers = lookup.callers.filter((caller) => !isCovered(caller.plan, plan));
      this.#engine.wait(lookup);
    }
    this.softly(callers, stale);
    void this.#evidence(lookup, plan, stale)
      .then((evidence) => {
        if (evidence === undefined) {
          const left = flight.abandon();
          for (const caller of left) caller.fallback = stale;
          this.#engine.bypass(wire, left, "unreachable");
          return undefined;
        }
        return flight.run(evidence.space, evidence.tags);
      })
      // A serializer or a subscriber of the user's that throws must not leave anybody waiting.
      .catch((error: unknown) => failAll(flight.abandon(), error));
  }

  async #evidence(lookup: Lookup, plan: Plan, stale: Stale | undefined): Promise<AllEvidence | undefined> {
    const { space, moment, wire } = lookup;
    if (space === undefined) return undefined;
    const names = new Set([...plan.tags, ...this.#hints.of(wire), ...(stale?.stored.tags ?? [])]);
    return await gatherEvidence(this.generations, this.#parts.keys, space, moment, names, plan.tags);
  }

  /** Callers with `staleWhileRevalidate` get the stale value now. */
  #serveStale(lookup: Lookup, stale: Stale | undefined): void {
    if (stale === undefined || !lookup.callers.some(({ plan }) => plan.staleMs > 0)) return;
    const now = this.clock.now();
    const allowed: Caller[] = [];
    const others: Caller[] = [];
    for (const caller of lookup.callers)
      (mayHave(caller, stale, caller.plan.staleMs, now, this.serializer) ? allowed : others).push(caller);
    lookup.callers = others;
    this.#engine.answer(allowed, stale.stored, "stale", stale.why);
  }

  #waitStale(lookup: Lookup, stale: Stale | undefined): void {
    this.#serveStale(lookup, stale);
    this.softly(lookup.callers, stale);
    if (lookup.callers.length > 0) this.#engine.wait(lookup);
  }

  /** After a soft timeout of its own, counted once, a caller who may have the stale value gets it. */
  softly(callers: readonly Caller[], stale: Stale | undefined): void {
    if (stale === undefined) return;
    for (const caller of callers) {
      const { softMs, errorMs } = caller.plan;
      if (softMs === 0 || errorMs === 0 || caller.softly) continue;
      caller.softly = true;
      this.clock.after(softMs, () => {
        if (caller.done || !mayHave(caller, stale, errorMs, this.clock.now(), this.serializer)) return;
        this.#engine.answer([caller], stale.stored, "stale", "timeout");
      });
    }
  }

  // -- what flights ask and say --------------------------------------------------------------------------------

  jittered(ttlMs: number, jitter: number): number {
    return jittered(ttlMs, jitter, this.#parts.random);
  }

  again(callers: readonly Caller[]): void {
    this.#engine.again(callers);
  }

  ended(flight: Flight): void {
    if (this.flights.get(flight.wire) === flight) this.flights.delete(flight.wire);
  }

  wireOfTag(tag: string): string {
    return this.#parts.keys.tag(tag);
  }

  remember(wire: string, tags: readonly string[]): void {
    this.#hints.remember(wire, tags);
  }

  keep(wire: string, item: Item, stored: Stored, token: Token, beganAt: number, moment: number): void {
    this.#parts.tier?.set(wire, item, stored, token, beganAt, moment);
  }

  loaded(
    flight: Flight,
    durationMs: number,
    outcome: "stored" | "refused" | "unstored" | "failed",
    why?: string,
  ): void {
    if (!loadChannel.hasSubscribers) return;
    loadChannel.publish({
      namespace: this.#parts.namespace,
      key: flight.key,
      durationMs,
      outcome,
      why: why ?? flight.why,
    });
  }
}

function staleOf(stored: Stored, why: string, { stale, ttlSeconds }: ItemReading, now: number): Stale {
  const isKept = stale && ttlSeconds !== undefined && ttlSeconds >= 0;
  return { stored, why, kept: isKept ? { until: now + ttlSeconds * 1000, seenAt: now } : undefined };
}
