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
 */
import { sameToken, type Backend, type Reading, type Token, type Want } from "../backend/index.ts";
import type { Clock, Random, Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { answerAll, type Caller, type Status } from "./caller.ts";
import type { Deliveries } from "./deliveries.ts";
import { unpack, unpackLent, type Stored } from "./envelope.ts";
import { Flight, type Evidence, type FlightHost } from "./flight.ts";
import type { Home } from "./fragments.ts";
import type { GenerationRead, Generations } from "./generations.ts";
import type { Keys } from "./keys.ts";
import { Lease, type Kept } from "./lease.ts";
import { Lookup, type LookupOwner } from "./lookup.ts";
import { nextMoment } from "./moments.ts";
import { defaultPlan, type Plan } from "./plan.ts";
import { Rounds, type Turns } from "./rounds.ts";
import type { Serializer } from "./serializer.ts";
import type { Tier } from "./tier.ts";

export interface EngineParts {
  readonly namespace: string;
  readonly backend: Backend;
  readonly deliveries: Deliveries;
  readonly generations: Generations;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly turns: Turns;
  readonly tier: Tier | undefined;
  /** Values younger than this are served by the tier without asking; 0: always ask. */
  readonly tierMaxAgeMs: number;
  readonly serializer: Serializer | undefined;
  readonly leaseSeconds: number;
  /** How long a caller waits for somebody else's lease before it computes by itself. */
  readonly waitMs: number;
}

/** Callers who wait until somebody else's lease is filled. */
interface Waiting {
  readonly wire: string;
  readonly key: string;
  readonly callers: Caller[];
  readonly timer: Timer;
}

/** What {@link Engine.examine} finds. */
export type Examined =
  | { readonly kind: "value"; readonly stored: Stored; readonly token: Token }
  | { readonly kind: "flawed" | "won"; readonly token: Token }
  | { readonly kind: "absent" | "leased" | "unreachable" };

type ItemReading = Extract<Reading, { kind: "item" }>;

const firstPollMs = 3;
const longestPollMs = 40;
/** A caller who had to start over so often computes by itself. */
const limitRestarts = 20;
/** So many keys are remembered with the tags that their loaders added. */
const limitHints = 10_000;

const justLooking: Want = {};
const plain = { stale: false, ttlSeconds: undefined };

const reads = eventChannel("everfresh:cache:read");
const loads = eventChannel("everfresh:cache:load");

export class Engine implements FlightHost, LookupOwner {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly generations: Generations;
  readonly serializer: Serializer | undefined;
  readonly keeps: boolean;
  readonly home: Home;
  readonly #parts: EngineParts;
  readonly #tier: Tier | undefined;
  readonly #leased: Want;
  readonly #rounds: Rounds;
  readonly #flights = new Map<string, Flight>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #hints = new Map<string, readonly string[]>();
  readonly #spaces = new Map<string, string>();
  #open = new Map<string, Lookup>();
  /** Asked on hits; set by the monitor. */
  watch: ((caller: Caller, stored: Stored, token: Token) => void) | undefined;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.backend = parts.backend;
    this.home = {
      backend: parts.backend,
      keys: parts.keys,
      spaceOf: (wire) => this.spaceOn(parts.backend.serverOf(wire)),
    };
    this.clock = parts.clock;
    this.generations = parts.generations;
    this.serializer = parts.serializer;
    this.#tier = parts.tier;
    this.keeps = parts.tier !== undefined || parts.backend.peek !== undefined;
    this.#leased = { lease: parts.leaseSeconds };
    this.#rounds = new Rounds(
      parts.clock,
      parts.turns,
      parts.serializer,
      (callers) => this.again(callers),
      (caller, durationMs, why, error) => {
        const outcome = error === undefined ? "unstored" : "failed";
        if (loads.hasSubscribers)
          loads.publish({ namespace: parts.namespace, key: caller.key, durationMs, outcome, why });
      },
    );
  }

  /** The wire key of this namespace's generation on `server`: the first candidate that lives there. */
  spaceOn(server: string): string {
    let wire = this.#spaces.get(server);
    if (wire === undefined) this.#spaces.set(server, (wire = this.#parts.keys.spaceOn(this.backend, server)));
    return wire;
  }

  /** The stored value if it is in this process and right, without waiting; undefined: ask. */
  peek(wire: string, version: number): Stored | undefined {
    const item = this.backend.peek?.(wire);
    if (item === undefined) return this.#peekTier(wire, version);
    const stored = (item.memo ??= unpack(item.bytes)) as Stored | undefined;
    if (stored === undefined || stored.freshUntil <= this.clock.now() || stored.version !== version) return undefined;
    if (stored.space !== this.generations.peek(this.spaceOn(this.backend.serverOf(wire)))) return undefined;
    const { tags, generations } = stored.provenance;
    for (let index = 0; index < tags.length; index++) {
      const wireTag = this.#parts.keys.tag(tags[index] ?? "");
      if (this.generations.peek(wireTag) !== generations[index]) return undefined;
    }
    return stored.key === undefined && stored.open(this.serializer) ? stored : undefined;
  }

  #peekTier(wire: string, version: number): Stored | undefined {
    const { tierMaxAgeMs } = this.#parts;
    if (tierMaxAgeMs === 0 || this.#tier === undefined) return undefined;
    const stored = this.#tier.trusted(wire, tierMaxAgeMs, this.clock.monotonic())?.stored;
    if (stored === undefined) return undefined;
    if (stored.version !== version || stored.freshUntil <= this.clock.now() || stored.key !== undefined)
      return undefined;
    return stored.open(this.serializer) ? stored : undefined;
  }

  /** Answers `caller`, sooner or later. */
  ask(wire: string, caller: Caller): void {
    const flight = this.#flights.get(wire);
    if (flight !== undefined && caller.load !== undefined && !flight.background) {
      caller.onKnown?.();
      flight.join(caller);
      return;
    }
    if (this.backend.reach === "nobody") {
      this.#bypass(wire, [caller], "no backend");
      return;
    }
    const lookup = this.#open.get(wire);
    if (lookup === undefined) {
      // When everything that this turn of the event loop has read is handled: in a web server, all requests that came
      // at once share one question. A tick would end with each of them.
      if (this.#open.size === 0) setImmediate(flush, this);
      this.#open.set(wire, new Lookup(this, wire, caller.key, [caller]));
    } else lookup.callers.push(caller);
  }

  again(callers: readonly Caller[]): void {
    for (const caller of callers) {
      if (caller.done) continue;
      const wire = this.#parts.keys.value(caller.key);
      if (++caller.restarts > limitRestarts && caller.load) this.#bypass(wire, [caller], "too many invalidations");
      else this.ask(wire, caller);
    }
  }

  /** Cuts off what this process knows of `wire`: whoever comes from now on looks for themselves. */
  forget(wire: string): void {
    this.#tier?.delete(wire);
    this.#flights.delete(wire);
  }

  /** Values of this process must be asked about again, whatever `local: { maxAge }` allows. */
  distrust(): void {
    this.#tier?.distrust(nextMoment());
  }

  forgetAll(): void {
    this.#tier?.clear();
    this.#flights.clear();
  }

  // -- looking -------------------------------------------------------------------------------------------------

  /** Sends what was asked in this tick. */
  flush(): void {
    const lookups = this.#open;
    this.#open = new Map();
    // Everybody in these lookups came before this moment, and each question of this flush is asked after it.
    const moment = nextMoment();
    for (const lookup of lookups.values()) this.#send(lookup, moment);
  }

  #send(lookup: Lookup, moment: number): void {
    const { backend, generations } = this;
    const server = backend.serverOf(lookup.wire);
    if (this.#parts.deliveries.blocked(server)) {
      this.#bypass(lookup.wire, lookup.callers, "pending");
      return;
    }
    lookup.moment = moment;
    lookup.space = generations.read(this.spaceOn(server), moment);
    // Asked in the same batch as the value; who reads the answer asks for it again by name.
    let last: Plan | undefined;
    for (const { plan } of lookup.callers) {
      if (plan === last) continue;
      last = plan;
      for (const tag of plan.tags) generations.read(this.#parts.keys.tag(tag), moment);
    }
    if (this.#hints.size > 0)
      for (const tag of this.#hints.get(lookup.wire) ?? []) generations.read(this.#parts.keys.tag(tag), moment);
    const want = this.#wantOf(lookup);
    if (backend.readInto) backend.readInto(lookup.wire, want, lookup);
    else
      backend.read(lookup.wire, want).then(
        (reading) => lookup.found(reading),
        () => lookup.failed(),
      );
  }

  unreachable(lookup: Lookup): void {
    this.#bypass(lookup.wire, lookup.callers, "unreachable");
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
    return {
      ...(lease && this.#leased),
      ...(graceMs > 0 && { ttl: true }),
      ...(aheadMs > 0 && { recache: Math.ceil((graceMs + aheadMs) / 1000) }),
      ...(known !== undefined && { known }),
    };
  }

  #readTag(lookup: Lookup, tag: string): GenerationRead {
    return this.generations.read(this.#parts.keys.tag(tag), lookup.moment);
  }

  /** A hit that can be told from lent bytes: a value made from the same generations as others that were found current. */
  glance(lookup: Lookup, data: Buffer, start: number, end: number): boolean {
    const proven = lookup.space?.proven;
    if (proven === undefined || this.#tier !== undefined || this.watch !== undefined) return false;
    const stored = unpackLent(data, start, end, proven);
    if (stored === undefined || this.#flaw(lookup, plain, stored) !== undefined) return false;
    const { callers } = lookup;
    try {
      if (!stored.open(this.serializer)) return false;
      for (const caller of callers) if (caller.plan.shared || misfit(caller, stored) !== undefined) return false;
      this.#answer(callers, stored, "hit", undefined);
    } catch (error) {
      failAll(callers, error);
    }
    return true;
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
        this.#miss(lookup, "absent");
        return;
      case "won":
        this.#load(lookup, reading.token, "nothing", undefined, "absent");
        return;
      case "leased":
        this.#wait(lookup);
        return;
      case "same": {
        const entry = this.#tier?.get(lookup.wire);
        if (entry === undefined || !sameToken(entry.token, reading.token)) {
          this.again(lookup.callers);
          return;
        }
        entry.askedAt = this.clock.monotonic();
        entry.moment = lookup.moment;
        this.#weigh(lookup, { ...reading, kind: "item", item: entry.item, stale: false, leased: false }, entry.stored);
        return;
      }
      case "item": {
        const stored = (reading.item.memo ??= unpack(reading.item.bytes)) as Stored | undefined;
        this.#weigh(lookup, reading, stored);
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
        if (tags.length > (lookup.callers[0]?.plan.tags.length ?? 0)) this.#foresee(lookup.wire, tags);
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
    const why = stored === undefined ? "undecodable" : this.#flaw(lookup, reading, stored);
    const { callers } = lookup;
    if (stored === undefined || why !== undefined || !stored.open(this.serializer)) {
      this.#tier?.delete(lookup.wire);
      this.#renew(lookup, reading, stored, why ?? "undecodable");
      return;
    }
    let fit = callers;
    let unfit: Caller[] = [];
    if (callers.some((caller) => misfit(caller, stored) !== undefined)) {
      fit = callers.filter((caller) => misfit(caller, stored) === undefined);
      unfit = callers.filter((caller) => misfit(caller, stored) !== undefined);
    }
    if (this.#tier !== undefined && this.#tier.get(lookup.wire)?.item !== reading.item)
      this.#tier.set(lookup.wire, reading.item, stored, reading.token, this.clock.monotonic(), lookup.moment);
    if (this.watch) for (const caller of fit) if (caller.load) this.watch(caller, stored, reading.token);
    this.#answer(fit, stored, "hit", undefined);
    const [first] = unfit;
    if (first !== undefined) {
      lookup.callers = unfit;
      this.#renew(lookup, reading, undefined, misfit(first, stored) ?? "version");
    } else if (reading.won) this.#refreshAhead(lookup, reading, stored);
  }

  /** Why the value may not be served as fresh to anybody; undefined: it may. */
  #flaw(lookup: Lookup, reading: Pick<ItemReading, "stale" | "ttlSeconds">, stored: Stored): string | undefined {
    if (reading.stale) return "invalidated";
    if (stored.freshUntil <= this.clock.now()) return "expired";
    if (stored.key === undefined ? this.#parts.keys.isDigest(lookup.wire) : stored.key !== lookup.key)
      return "collision";
    if (reading.ttlSeconds !== undefined && reading.ttlSeconds >= 0) {
      // By the server's clock: what is left is no more than the time for which it may be served stale.
      const graceMs = Math.max(...lookup.callers.map(({ plan }) => Math.max(plan.staleMs, plan.errorMs)));
      if (reading.ttlSeconds * 1000 <= graceMs) return "expired";
    }
    return this.#outdated(lookup, stored);
  }

  /** Which of the generations that the value was made from is not known to be current; undefined: all are. */
  #outdated({ space, tags: asked }: Lookup, { provenance }: Stored): string | undefined {
    if (space === undefined) return "space unknown";
    if (space.proven === provenance) return undefined;
    if (space.current !== provenance.space) return space.state === "known" ? "cleared" : "space unknown";
    const { tags, generations } = provenance;
    for (let index = 0; index < tags.length; index++) {
      const read = asked[index];
      if (read !== undefined && read.current === generations[index]) continue;
      return read?.state === "unreachable" ? `tag ${tags[index]} unreachable` : `tag ${tags[index]}`;
    }
    space.proven = provenance;
    return undefined;
  }

  // -- replacing -----------------------------------------------------------------------------------------------

  /** The value that was read may not be served as fresh: get the lease to replace it. */
  #renew(lookup: Lookup, reading: ItemReading, stored: Stored | undefined, why: string): void {
    const stale = stored !== undefined && mayServeStale(why) ? stored : undefined;
    this.#miss(lookup, why);
    if (lookup.callers.length === 0) return;
    const { wire } = lookup;
    let keepMs = 0;
    for (const { plan } of lookup.callers) keepMs = Math.max(keepMs, plan.staleMs, plan.errorMs);
    if (stale !== undefined && stale.freshUntil < this.clock.now()) keepMs += stale.freshUntil - this.clock.now();
    const keepSeconds = stale === undefined ? 0 : Math.max(0, Math.ceil(keepMs / 1000));
    if (reading.stale && reading.leased) {
      this.#waitStale(lookup, stale, why);
    } else if (reading.won) {
      this.#load(lookup, reading.token, { staleSeconds: Math.max(1, keepSeconds) }, stale, why);
    } else if (keepSeconds > 0 && this.backend.keepsStale) {
      this.#claimKeeping(lookup, reading.token, keepSeconds, stale, why);
    } else {
      this.backend.claim(wire, reading.token, this.#parts.leaseSeconds).then(
        (token) => (token ? this.#load(lookup, token, "nothing", undefined, why) : this.again(lookup.callers)),
        () => this.#bypass(wire, lookup.callers, "unreachable"),
      );
    }
  }

  /** Marks the old value as stale and asks again in the same tick: one of all who do this wins. */
  #claimKeeping(lookup: Lookup, token: Token, keepSeconds: number, stale: Stored | undefined, why: string): void {
    const { wire } = lookup;
    void this.backend.expire(wire, token, keepSeconds).catch(() => undefined);
    this.backend.read(wire, this.#leased).then(
      (reading) => {
        const isStale = reading.kind === "item" && reading.stale;
        if (isStale && reading.won) this.#load(lookup, reading.token, { staleSeconds: keepSeconds }, stale, why);
        else if (isStale) this.#waitStale(lookup, stale, why);
        else if (reading.kind === "won") this.#load(lookup, reading.token, "nothing", stale, why);
        else if (reading.kind === "leased") this.#wait(lookup);
        else this.again(lookup.callers);
        return undefined;
      },
      () => this.#bypass(wire, lookup.callers, "unreachable"),
    );
  }

  #refreshAhead(lookup: Lookup, reading: ItemReading, stored: Stored): void {
    const caller = lookup.callers.find(({ load, plan }) => load !== undefined && plan.aheadMs > 0);
    if (caller === undefined) return;
    lookup.callers = [];
    this.#begin(lookup, caller, reading.token, "a fresh value", stored, "refreshed ahead");
  }

  /** The lease is ours: serve stale where that is allowed, and compute. */
  #load(lookup: Lookup, token: Token, kept: Kept, stale: Stored | undefined, why: string): void {
    const loader = lookup.callers.find((caller) => caller.load !== undefined);
    this.#miss(lookup, why);
    if (loader === undefined) return;
    this.#serveStale(lookup, stale, why);
    this.#begin(lookup, loader, token, kept, stale, why);
  }

  #begin(lookup: Lookup, loader: Caller, token: Token, kept: Kept, stale: Stored | undefined, why: string): void {
    const { wire, callers } = lookup;
    const { load, plan, key } = loader;
    if (load === undefined) return;
    const { clock, backend } = this;
    const lease = new Lease(backend, clock, wire, token, this.#parts.leaseSeconds, kept);
    const original = this.#parts.keys.isDigest(wire) ? key : undefined;
    const background = callers.length === 0;
    const flight = new Flight(this, { wire, key, lease, load, plan, why, stale, original, background }, callers);
    this.#flights.set(wire, flight);
    if (stale && plan.softMs > 0) this.#softly(callers, stale, plan);
    void this.#evidence(lookup, plan, stale)
      .then((evidence) => {
        if (evidence === undefined) {
          this.#bypass(wire, flight.abandon(), "unreachable");
          return undefined;
        }
        return flight.run(evidence.space, evidence.tags);
      })
      // A serializer or a subscriber of the user's that throws must not leave anybody waiting.
      .catch((error: unknown) => failAll(flight.abandon(), error));
  }

  /** The generations before the load, those that are missing created; undefined when one cannot be had. */
  async #evidence(
    lookup: Lookup,
    plan: Plan,
    stale: Stored | undefined,
  ): Promise<{ space: Evidence; tags: ReadonlyMap<string, Evidence> } | undefined> {
    const { generations } = this;
    const names = new Set([...plan.tags, ...(this.#hints.get(lookup.wire) ?? []), ...(stale?.tags ?? [])]);
    const { space } = lookup;
    if (space === undefined) return undefined;
    const questions = [...names].map((tag) => this.#readTag(lookup, tag));
    const spaceNow = await generations.settle(space);
    const current = await Promise.all(questions.map((read) => generations.settle(read)));
    if (spaceNow === undefined) return undefined;
    const tags = new Map<string, Evidence>();
    for (const [index, tag] of [...names].entries()) {
      const generation = current[index];
      const read = questions[index];
      if (generation === undefined || read === undefined) {
        if (plan.tags.includes(tag)) return undefined;
        continue;
      }
      tags.set(tag, { wire: read.wire, generation });
    }
    return { space: { wire: space.wire, generation: spaceNow }, tags };
  }

  /** Callers with `staleWhileRevalidate` get the stale value now. */
  #serveStale(lookup: Lookup, stale: Stored | undefined, why: string): void {
    if (stale === undefined || !lookup.callers.some(({ plan }) => plan.staleMs > 0)) return;
    const now = this.clock.now();
    const allowed = ({ plan }: Caller): boolean => plan.staleMs > 0 && now < stale.freshUntil + plan.staleMs;
    if (!stale.open(this.serializer)) return;
    this.#answer(lookup.callers.filter(allowed), stale, "stale", why);
    lookup.callers = lookup.callers.filter((caller) => !allowed(caller));
  }

  #waitStale(lookup: Lookup, stale: Stored | undefined, why: string): void {
    this.#serveStale(lookup, stale, why);
    if (lookup.callers.length > 0) this.#wait(lookup);
  }

  /** After the soft timeout, callers who may have the stale value get it. */
  #softly(callers: readonly Caller[], stale: Stored, plan: Plan): void {
    this.clock.after(plan.softMs, () => {
      const allowed = callers.filter((caller) => !caller.done && caller.plan.errorMs > 0);
      if (allowed.length > 0 && stale.open(this.serializer)) this.#answer(allowed, stale, "stale", "timeout");
    });
  }

  // -- waiting, missing, bypassing -----------------------------------------------------------------------------

  /** Somebody holds the lease: this process, and then its load is joined, or another, and then we look again. */
  #wait(lookup: Lookup): void {
    this.#miss(lookup, "being computed");
    if (lookup.callers.length === 0) return;
    const { wire, key } = lookup;
    const flight = this.#flights.get(wire);
    if (flight !== undefined) {
      for (const caller of lookup.callers) {
        caller.onKnown?.();
        flight.join(caller);
      }
      return;
    }
    const now = this.clock.monotonic();
    const patient: Caller[] = [];
    let polls = Infinity;
    for (const caller of lookup.callers) {
      caller.waitUntil ??= now + this.#parts.waitMs;
      caller.onKnown?.();
      if (now >= caller.waitUntil) this.#bypass(wire, [caller], "gave up waiting");
      else patient.push(caller);
      polls = Math.min(polls, caller.polls++);
    }
    if (patient.length === 0) return;
    const waiting = this.#waiting.get(wire);
    if (waiting !== undefined) {
      waiting.callers.push(...patient);
      return;
    }
    const pauseMs = Math.min(longestPollMs, firstPollMs * 1.5 ** polls) * (0.7 + 0.6 * this.#parts.random.fraction());
    const timer = this.clock.after(pauseMs, () => {
      const group = this.#waiting.get(wire);
      this.#waiting.delete(wire);
      for (const caller of group?.callers ?? []) if (!caller.done) this.ask(wire, caller);
    });
    this.#waiting.set(wire, { wire, key, callers: patient, timer });
  }

  /** Answers those who only look. Who brings a loader stays in the lookup. */
  #miss(lookup: Lookup, why: string): void {
    if (lookup.callers.every((caller) => caller.load !== undefined)) return;
    for (const caller of lookup.callers)
      if (caller.load === undefined) {
        caller.answerUnstored(undefined, "miss", why);
        this.#tell(caller, "miss", why);
      }
    lookup.callers = lookup.callers.filter((caller) => caller.load !== undefined);
  }

  #bypass(wire: string, callers: readonly Caller[], why: string): void {
    for (const caller of callers) {
      if (caller.done) continue;
      this.#tell(caller, "bypass", why);
      if (caller.load === undefined) caller.answerUnstored(undefined, "bypass", why);
      else this.#rounds.join(wire, caller, why);
    }
  }

  #answer(callers: readonly Caller[], stored: Stored, status: Status, why: string | undefined): void {
    // Asking for the time costs as much as finding a key.
    const now = callers.some((caller) => caller.full) ? this.clock.now() : 0;
    answerAll(callers, stored, this.serializer, this.keeps || status === "stale", status, why, now);
    if (reads.hasSubscribers) for (const caller of callers) this.#tell(caller, status, why);
  }

  /** A hit that needed no lookup. */
  tellHit(key: string): void {
    if (reads.hasSubscribers) reads.publish({ namespace: this.#parts.namespace, key, status: "hit", why: undefined });
  }

  #tell(caller: Caller, status: Status, why: string | undefined): void {
    if (reads.hasSubscribers) reads.publish({ namespace: this.#parts.namespace, key: caller.key, status, why });
  }

  // -- what flights say ----------------------------------------------------------------------------------------

  jittered(ttlMs: number, jitter: number): number {
    return jitter === 0 || ttlMs === Infinity ? ttlMs : ttlMs * (1 - jitter * this.#parts.random.fraction());
  }

  ended(flight: Flight): void {
    if (this.#flights.get(flight.wire) === flight) this.#flights.delete(flight.wire);
  }

  wireOfTag(tag: string): string {
    return this.#parts.keys.tag(tag);
  }

  #foresee(wire: string, tags: readonly string[]): void {
    if (this.#hints.get(wire)?.length !== tags.length) this.remember(wire, tags);
  }

  remember(wire: string, tags: readonly string[]): void {
    if (this.#hints.size >= limitHints) this.#hints.clear();
    this.#hints.set(wire, tags);
  }

  keep(
    wire: string,
    item: { bytes: Buffer; flags: number; memo?: unknown },
    stored: Stored,
    token: Token,
    moment: number,
  ): void {
    this.#tier?.set(wire, item, stored, token, this.clock.monotonic(), moment);
  }

  loaded(
    flight: Flight,
    durationMs: number,
    outcome: "stored" | "refused" | "unstored" | "failed",
    why?: string,
  ): void {
    if (!loads.hasSubscribers) return;
    loads.publish({ namespace: this.#parts.namespace, key: flight.key, durationMs, outcome, why: why ?? flight.why });
  }

  /** What is under a key, proven right or not, for writes that compare. */
  async examine(wire: string, key: string, want: Want): Promise<Examined> {
    const server = this.backend.serverOf(wire);
    if (this.backend.reach === "nobody") return { kind: "absent" };
    if (this.#parts.deliveries.blocked(server)) return { kind: "unreachable" };
    const moment = nextMoment();
    const space = this.generations.read(this.spaceOn(server), moment);
    const lookup = this.#lookup(wire, key, space, moment);
    let reading: Reading;
    try {
      reading = await this.backend.read(wire, want);
    } catch {
      return { kind: "unreachable" };
    }
    if (reading.kind === "absent" || reading.kind === "leased" || reading.kind === "won") return reading;
    if (reading.kind === "same") return { kind: "absent" };
    const stored = (reading.item.memo ??= unpack(reading.item.bytes)) as Stored | undefined;
    const { token } = reading;
    if (stored === undefined) return { kind: "flawed", token };
    lookup.tags = stored.tags.map((tag) => this.#readTag(lookup, tag));
    await Promise.all([space.answered, ...lookup.tags.map((read) => read.answered)]);
    if (this.#flaw(lookup, reading, stored) !== undefined || !stored.open(this.serializer))
      return { kind: "flawed", token };
    return { kind: "value", stored, token };
  }

  /** A lookup that nobody waits for. */
  #lookup(wire: string, key: string, space: GenerationRead, moment: number): Lookup {
    const lookup = new Lookup(this, wire, key, []);
    lookup.space = space;
    lookup.moment = moment;
    return lookup;
  }

  /** Generations for a value that is stored without a load: `set`. Undefined when they cannot be had. */
  async evidenceFor(
    wire: string,
    tags: readonly string[],
  ): Promise<{ space: Evidence; tags: ReadonlyMap<string, Evidence> } | undefined> {
    const moment = nextMoment();
    const space = this.generations.read(this.spaceOn(this.backend.serverOf(wire)), moment);
    const lookup = this.#lookup(wire, "", space, moment);
    for (const tag of tags) this.#readTag(lookup, tag);
    return await this.#evidence(lookup, { ...defaultPlan, tags }, undefined);
  }
}

function failAll(callers: readonly Caller[], error: unknown): void {
  for (const caller of callers) caller.fail(error);
}

function flush(engine: Engine): void {
  engine.flush();
}

/** What was never right, or is somebody else's, is not served stale either. */
function mayServeStale(why: string): boolean {
  return why === "invalidated" || why === "expired" || why.startsWith("tag ");
}

/** Why a right value is not for this caller: another version, or its schema refuses it. */
function misfit({ plan, load }: Caller, stored: Stored): string | undefined {
  if (load !== undefined && plan.version !== stored.version) return "version";
  if (plan.schema === undefined) return undefined;
  const result = plan.schema["~standard"].validate(stored.shared);
  if (result instanceof Promise)
    throw new EverfreshError(
      "EF_OPTION",
      "the schema checks asynchronously; a cached value is checked at once or not at all",
    );
  return "issues" in result && result.issues !== undefined ? "schema" : undefined;
}
