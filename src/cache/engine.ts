/**
 * The engine: from callers to answers. The promise is kept here; `docs/promise.md` draws why.
 *
 *     caller ──joins a load?──> flight (shared by those who came before its fill was sent)
 *        │ no
 *        v
 *     lookup (shared by the callers of one turn of the event loop, until it is sent)
 *        │
 *        ├─ a value, its generations current ───────────> hit
 *        ├─ a value that may not be served ──claim──────> flight
 *        ├─ nothing, and the lease ─────────────────────> flight
 *        ├─ nothing, and somebody else's lease ─────────> wait, and look again
 *        └─ nobody can be asked ────────────────────────> round (computes, stores nothing)
 *
 * The questions are asked here; what an answer means is decided in `settling.ts`.
 */
import type { Backend, Token, Want } from "../backend/index.ts";
import type { Clock, Random } from "../clock.ts";
import { eventChannel } from "../events.ts";
import { answerAll, type Caller, type Status } from "./caller.ts";
import type { Deliveries } from "./deliveries.ts";
import type { Stored } from "./envelope.ts";
import type { Home } from "./fragments.ts";
import type { Generations } from "./generations.ts";
import { Hints } from "./hints.ts";
import type { Keys } from "./keys.ts";
import type { Loads } from "./loading.ts";
import { Lookup } from "./lookup.ts";
import { nextMoment } from "./moments.ts";
import type { Plan } from "./plan.ts";
import { Renewal } from "./renewal.ts";
import { Rounds, type Turns } from "./rounds.ts";
import type { Serializer } from "./serializer.ts";
import { Settling } from "./settling.ts";
import type { Tier } from "./tier.ts";
import { Waiting } from "./waiting.ts";

export interface EngineParts {
  readonly namespace: string;
  readonly backend: Backend;
  readonly deliveries: Deliveries;
  readonly generations: Generations;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly turns: Turns;
  readonly loads: Loads;
  readonly tier: Tier | undefined;
  /** Values younger than this are served by the tier without asking; 0: always ask. */
  readonly tierMaxAgeMs: number;
  readonly serializer: Serializer | undefined;
  readonly leaseSeconds: number;
  /** How long a caller waits for somebody else's lease before it computes by itself. */
  readonly waitMs: number;
}

/** A caller who had to start over so often computes by itself. */
const limitRestarts = 20;

const justLooking: Want = {};

const reads = eventChannel("everfresh:cache:read");
const loads = eventChannel("everfresh:cache:load");

export class Engine {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly generations: Generations;
  readonly serializer: Serializer | undefined;
  /** Whether values stay in this process after they were read. */
  readonly keeps: boolean;
  readonly home: Home;
  readonly parts: EngineParts;
  readonly #tier: Tier | undefined;
  readonly #leased: Want;
  readonly #rounds: Rounds;
  readonly #renewal: Renewal;
  readonly #settling: Settling;
  readonly #waiting: Waiting;
  readonly #hints = new Hints();
  readonly #spaces = new Map<string, string>();
  #open = new Map<string, Lookup>();
  /** Asked on hits; set by the monitor. */
  watch: ((caller: Caller, stored: Stored, token: Token) => void) | undefined;

  constructor(parts: EngineParts) {
    const { backend, clock, random, waitMs, namespace } = parts;
    this.parts = parts;
    this.backend = backend;
    this.home = { backend, keys: parts.keys, spaceOf: (wire) => this.spaceOn(backend.serverOf(wire)) };
    this.clock = clock;
    this.generations = parts.generations;
    this.serializer = parts.serializer;
    this.#tier = parts.tier;
    this.keeps = parts.tier !== undefined || backend.peek !== undefined;
    this.#leased = { lease: parts.leaseSeconds };
    this.#rounds = new Rounds(
      clock,
      parts.loads,
      parts.turns,
      parts.serializer,
      (callers) => this.again(callers),
      ({ key }, durationMs, why, error) => {
        const outcome = error === undefined ? "unstored" : "failed";
        if (loads.hasSubscribers) loads.publish({ namespace, key, durationMs, outcome, why });
      },
    );
    this.#renewal = new Renewal(this, parts, this.#hints);
    this.#settling = new Settling(this, parts, this.#renewal, this.#hints);
    this.#waiting = new Waiting({
      clock,
      random,
      waitMs,
      again: (wire, callers) => this.#lookAgain(wire, callers),
      giveUp: (wire, callers) => this.bypass(wire, callers, "gave up waiting"),
    });
  }

  /** The wire key of this namespace's generation on `server`: the first candidate that lives there. */
  spaceOn(server: string): string {
    let wire = this.#spaces.get(server);
    if (wire === undefined) this.#spaces.set(server, (wire = this.parts.keys.spaceOn(this.backend, server)));
    return wire;
  }

  /** Answers `caller`, sooner or later. */
  ask(wire: string, caller: Caller): void {
    const flight = this.#renewal.flights.get(wire);
    if (flight !== undefined && caller.load !== undefined && !flight.mayBeSpared(caller) && flight.suits(caller)) {
      caller.onKnown?.();
      flight.join(caller);
      return;
    }
    if (this.backend.reach === "nobody") {
      this.bypass(wire, [caller], "no backend");
      return;
    }
    const lookup = this.#open.get(wire);
    if (lookup === undefined) this.#look(wire, caller.key, [caller]);
    else lookup.callers.push(caller);
  }

  #look(wire: string, key: string, callers: Caller[]): void {
    // When everything that this turn of the event loop has read is handled: in a web server, all requests that came
    // at once share one question. A tick would end with each of them.
    if (this.#open.size === 0) setImmediate(flush, this);
    this.#open.set(wire, new Lookup(this.#settling, wire, key, callers));
  }

  again(callers: readonly Caller[]): void {
    for (const caller of callers) {
      if (caller.done) continue;
      const wire = this.parts.keys.value(caller.key);
      if (++caller.restarts > limitRestarts && caller.load) this.bypass(wire, [caller], "too many invalidations");
      else this.ask(wire, caller);
    }
  }

  /** Cuts off what this process knows of `wire`: whoever comes from now on looks for themselves. */
  forget(wire: string): void {
    this.#tier?.forget(wire, nextMoment());
    this.#renewal.flights.delete(wire);
  }

  /** Values of this process must be asked about again, whatever `local: { maxAge }` allows. */
  distrust(): void {
    this.#tier?.distrust(nextMoment());
  }

  forgetAll(): void {
    this.#tier?.clear(nextMoment());
    this.#renewal.flights.clear();
  }

  // -- looking -------------------------------------------------------------------------------------------------

  /** Sends what was asked in this tick. */
  flush(): void {
    const lookups = this.#open;
    this.#open = new Map();
    // Everybody in these lookups came before this moment, and each question of this flush is asked after it.
    const moment = nextMoment();
    const askedAt = this.parts.tierMaxAgeMs > 0 ? this.clock.monotonic() : 0;
    for (const lookup of lookups.values()) this.#send(lookup, moment, askedAt);
  }

  #send(lookup: Lookup, moment: number, askedAt: number): void {
    const { backend, generations } = this;
    const server = backend.serverOf(lookup.wire);
    if (this.parts.deliveries.blocked(server)) {
      this.bypass(lookup.wire, lookup.callers, "pending");
      return;
    }
    lookup.moment = moment;
    lookup.askedAt = askedAt;
    lookup.space = generations.read(this.spaceOn(server), moment);
    // Asked in the same batch as the value; who reads the answer asks for it again by name.
    let last: Plan | undefined;
    for (const { plan } of lookup.callers) {
      if (plan === last) continue;
      last = plan;
      for (const tag of plan.tags) generations.read(this.parts.keys.tag(tag), moment);
    }
    for (const tag of this.#hints.of(lookup.wire)) generations.read(this.parts.keys.tag(tag), moment);
    const want = this.#wantOf(lookup);
    if (backend.readInto) backend.readInto(lookup.wire, want, lookup);
    else
      backend.read(lookup.wire, want).then(
        (reading) => lookup.found(reading),
        () => lookup.failed(),
      );
  }

  #wantOf(lookup: Lookup): Want {
    let lease = false;
    let graceMs = 0;
    let aheadMs = 0;
    for (const { load, plan } of lookup.callers) {
      if (load === undefined) continue;
      lease = true;
      graceMs = Math.max(graceMs, plan.staleMs, plan.errorMs);
      aheadMs = Math.max(aheadMs, plan.aheadMs);
    }
    const known = this.#tier?.get(lookup.wire)?.token;
    if (known === undefined && graceMs === 0 && aheadMs === 0) return lease ? this.#leased : justLooking;
    // The server counts whole seconds and may be one behind: rather a second early than never.
    const recache = aheadMs > 0 ? Math.ceil((graceMs + aheadMs) / 1000) + 1 : undefined;
    // Fields that are undefined count as absent; spreading those that are there would cost more than the question.
    const ttl = graceMs > 0 ? true : undefined;
    return { lease: lease ? this.#leased.lease : undefined, ttl, recache, known } as Want;
  }

  // -- waiting, missing, bypassing -----------------------------------------------------------------------------

  /** Somebody holds the lease: this process, and then its load is joined, or another, and then we look again. */
  wait(lookup: Lookup): void {
    this.miss(lookup, "being computed");
    if (lookup.callers.length === 0) return;
    const flight = this.#renewal.flights.get(lookup.wire);
    let others = lookup.callers;
    if (flight !== undefined) {
      others = others.filter((caller) => !flight.suits(caller));
      for (const caller of lookup.callers) {
        if (!flight.suits(caller)) continue;
        caller.onKnown?.();
        flight.join(caller);
      }
    }
    this.#waiting.add(lookup.wire, others);
  }

  #lookAgain(wire: string, callers: readonly Caller[]): void {
    const patient = callers.filter(({ done }) => !done);
    const [first] = patient;
    if (first === undefined) return;
    if (this.#open.has(wire) || this.#renewal.flights.has(wire)) for (const caller of patient) this.ask(wire, caller);
    else this.#look(wire, first.key, patient);
  }

  /** Answers those who only look. Who brings a loader stays in the lookup. */
  miss(lookup: Lookup, why: string): void {
    if (lookup.callers.every((caller) => caller.load !== undefined)) return;
    for (const caller of lookup.callers) if (caller.load === undefined) caller.answerUnstored(undefined, "miss", why);
    lookup.callers = lookup.callers.filter((caller) => caller.load !== undefined);
  }

  bypass(wire: string, callers: readonly Caller[], why: string): void {
    for (const caller of callers) {
      if (caller.done) continue;
      if (caller.load === undefined) caller.answerUnstored(undefined, "bypass", why);
      else this.#rounds.join(wire, caller, why);
    }
  }

  answer(callers: readonly Caller[], stored: Stored, status: Status, why: string | undefined): void {
    // Asking for the time costs as much as finding a key.
    const now = callers.some((caller) => caller.full) ? this.clock.now() : 0;
    answerAll(callers, stored, this.serializer, this.keeps || status === "stale", status, why, now);
  }

  /** A hit that needed no lookup. */
  tellHit(key: string): void {
    if (reads.hasSubscribers) reads.publish({ namespace: this.parts.namespace, key, status: "hit", why: undefined });
  }
}

function flush(engine: Engine): void {
  engine.flush();
}
