/**
 * One load under a lease, and the callers who share it.
 *
 *     lease won          load begins              load ends, fill sent       fill answered
 *     ────┬──────────────────┬──────────────────────────┬─────────────────────────┬────
 *         │  early callers   │      late callers        │     (new lookups)
 *
 * Early callers came before the load began: its value is right for them whatever happens, and they get it as soon as
 * it is there. Late callers came while it ran; the write they know of may have come after the load read the
 * source. They get the value only if the fill was stored, which says that the key was not invalidated between the
 * lease and the fill, and if every generation still is the one from before the load. Otherwise they start over.
 * After the fill was sent nobody joins any more.
 */
import type { Backend, Item, Token } from "../backend/index.ts";
import type { Clock } from "../clock.ts";
import { answerAll, failUnlessStale, type Caller, type Loader } from "./caller.ts";
import type { Evidence } from "./evidence.ts";
import { pack, unpack, type Stored } from "./envelope.ts";
import { rendering, type Home } from "./fragments.ts";
import type { Generations } from "./generations.ts";
import { isCovered, isFor, type Stale } from "./judging.ts";
import type { Lease } from "./lease.ts";
import type { Loaded, Loads } from "./loading.ts";
import { nextMoment } from "./moments.ts";
import type { Plan } from "./plan.ts";
import { encode, forEach, type Encoded, type Serializer } from "./serializer.ts";

/** The envelope has two bytes for the length of its provenance: so many fit, however long their texts are. */
const limitTags = 252;

/** What a flight needs of the cache around it. */
export interface FlightHost {
  readonly backend: Backend;
  readonly home: Home;
  readonly clock: Clock;
  readonly loads: Loads;
  readonly generations: Generations;
  readonly serializer: Serializer | undefined;
  /** Milliseconds to live, less the jitter. */
  jittered(ttlMs: number, jitter: number): number;
  /** The wire key of a tag's generation. */
  wireOfTag(tag: string): string;
  /** Gives callers the stale value after their soft timeouts, where they may have it. */
  softly(callers: readonly Caller[], stale: Stale | undefined): void;
  /** Lets callers start over. */
  again(callers: readonly Caller[]): void;
  /** Nobody may join any more. */
  ended(flight: Flight): void;
  /** Tags that a loader named without their having been read before; they will be, next time. */
  remember(wire: string, tags: readonly string[]): void;
  loaded(flight: Flight, durationMs: number, outcome: "stored" | "refused" | "unstored" | "failed", why?: string): void;
  /** Whether stored values stay in this process, so that no caller may have the very one. */
  readonly keeps: boolean;
  /** What was stored, for the tier, and when its load began: monotonic milliseconds, and the moment. */
  keep(wire: string, item: Item, stored: Stored, token: Token, beganAt: number, moment: number): void;
}

export interface FlightStart {
  readonly wire: string;
  readonly key: string;
  readonly lease: Lease;
  readonly load: Loader;
  /** Who brought it. */
  readonly loader: Caller;
  readonly plan: Plan;
  /** Why a value is computed at all. */
  readonly why: string;
  /** The value that is being replaced, where it was kept. */
  readonly stale: Stale | undefined;
  /** The original key, where the wire key is a digest. */
  readonly original: string | undefined;
  /** Whether a value can be served meanwhile. */
  readonly background: boolean;
}

export class Flight {
  readonly wire: string;
  readonly key: string;
  readonly why: string;
  readonly #host: FlightHost;
  readonly #start: FlightStart;
  readonly #callers: Caller[];
  /** When the load began; Infinity until then. */
  #moment = Infinity;
  /** The same, monotonic milliseconds. */
  #beganAt = 0;

  constructor(host: FlightHost, start: FlightStart, callers: Caller[]) {
    this.#host = host;
    this.#start = start;
    this.#callers = callers;
    this.wire = start.wire;
    this.key = start.key;
    this.why = start.why;
  }

  /** Whether it computes what takes the place of the version `token`. */
  replaces(token: Token): boolean {
    return this.#start.lease.isBeside(token);
  }

  /** Whether what is computed here is what `caller` reads. */
  suits({ plan }: Caller): boolean {
    return isCovered(plan, this.#start.plan);
  }

  /** Whether a value can be served to `caller` meanwhile, so that it looks before it joins. */
  mayBeSpared({ plan }: Caller): boolean {
    return this.#start.background || (plan.staleMs > 0 && this.#start.stale !== undefined);
  }

  join(caller: Caller): void {
    this.#callers.push(caller);
    this.#host.softly([caller], this.#start.stale);
  }

  /** Gives up before the load began: hands the lease back and answers who waits. */
  abandon(): Caller[] {
    this.#host.ended(this);
    void this.#start.lease.release();
    return this.#callers;
  }

  /** Computes and fills. `space` and `tags` were read before this. */
  async run(space: Evidence, tags: ReadonlyMap<string, Evidence>): Promise<void> {
    const { load, loader, plan, stale, key, background } = this.#start;
    const { clock, serializer } = this.#host;
    this.#moment = nextMoment();
    const began = clock.monotonic();
    this.#beganAt = began;
    let loaded: Loaded;
    try {
      const isOurs = stale !== undefined && isFor({ plan, load }, stale.stored, serializer);
      const old = isOurs ? stale.stored.take(serializer) : undefined;
      const run = (): Promise<Loaded> => this.#host.loads.run(load, plan, key, old, this.#host.home);
      // What is around its caller does not wait for it, and is not made from what it reads.
      loaded = await loader.inContext(background ? () => rendering.outside(run) : run);
    } catch (error) {
      this.#failed(error, clock.monotonic() - began);
      return;
    }
    const durationMs = clock.monotonic() - began;
    const unknown = loaded.tags.filter((tag) => !tags.has(tag));
    if (unknown.length > 0) this.#host.remember(this.wire, loaded.tags);
    if (!loaded.store || unknown.length > 0) {
      await this.#unstored(loaded, loaded.store ? "new tags" : "not to be stored", durationMs, space, tags);
      return;
    }
    let payload: Encoded;
    try {
      payload = encode(loaded.value, serializer);
    } catch (error) {
      await this.#unstored(loaded, error instanceof Error ? error.message : "", durationMs, space, tags);
      return;
    }
    await this.#fill(payload, loaded, durationMs, space, tags);
  }

  async #fill(
    payload: Encoded,
    loaded: Loaded,
    durationMs: number,
    space: Evidence,
    tags: ReadonlyMap<string, Evidence>,
  ): Promise<void> {
    const { clock, serializer } = this.#host;
    const { plan, lease, original } = this.#start;
    const made = this.#madeFrom(loaded, tags);
    if (made === undefined || made.size > limitTags) {
      const why = made === undefined ? "a tag changed meanwhile" : "too many tags";
      await this.#unstored(loaded, why, durationMs, space, tags);
      return;
    }
    const names = [...made.keys()];
    const now = Math.floor(clock.now());
    // As old as what it was made from: a tag may have been invalidated while it was computed.
    const createdAt = Math.max(0, now - Math.ceil(durationMs));
    const ttl = this.#host.jittered(loaded.ttlMs, plan.jitter);
    const bytes = pack(
      {
        createdAt,
        freshUntil: ttl === Infinity ? Infinity : now + Math.ceil(ttl),
        version: plan.version,
        space: space.generation,
        tags: names,
        generations: [...made.values()].map(({ generation }) => generation),
        key: original,
      },
      payload,
      this.#host.keeps,
    );
    const stored = unpack(bytes);
    if (stored === undefined || !stored.open(serializer)) {
      await this.#unstored(loaded, "cannot be read back", durationMs, space, tags);
      return;
    }
    const item: Item = { bytes, flags: 0, memo: stored };
    const seconds = ttl === Infinity ? 0 : Math.ceil((ttl + Math.max(plan.staleMs, plan.errorMs)) / 1000);

    this.#host.ended(this);
    const { early, late } = this.#split();
    let failure: unknown;
    const filling = lease.store(item, seconds, (error) => (failure = error));
    const unchanged = late.length === 0 ? undefined : this.#unchanged(space, new Map([...tags, ...made]));
    answerAll(early, stored, serializer, this.#host.keeps || late.length > 0, "miss", this.why, now);
    const token = await filling;
    if (token !== undefined) this.#host.keep(this.wire, item, stored, token, this.#beganAt, this.#moment);
    if (failure instanceof Error) this.#host.loaded(this, durationMs, "unstored", failure.message);
    else this.#host.loaded(this, durationMs, token === undefined ? "refused" : "stored");
    if (token !== undefined && (await unchanged)) answerAll(late, stored, serializer, true, "miss", this.why, now);
    else if (late.length > 0) this.#host.again(late);
  }

  /** The tags of the value, with the generations that it was made from; undefined where it was made from two of one. */
  #madeFrom(loaded: Loaded, tags: ReadonlyMap<string, Evidence>): Map<string, Evidence> | undefined {
    const made = new Map<string, Evidence>();
    for (const tag of [...this.#start.plan.tags, ...loaded.tags]) {
      const evidence = tags.get(tag);
      if (evidence !== undefined) made.set(tag, evidence);
    }
    for (const [tag, generation] of loaded.inherited) {
      if ((made.get(tag)?.generation ?? generation) !== generation) return undefined;
      made.set(tag, { wire: this.#host.wireOfTag(tag), generation });
    }
    return made;
  }

  /** Hands the value out without storing it; a release that still found the lease confirms it like a fill. */
  async #unstored(
    loaded: Loaded,
    why: string,
    durationMs: number,
    space: Evidence,
    tags: ReadonlyMap<string, Evidence>,
  ): Promise<void> {
    this.#host.ended(this);
    const { early, late } = this.#split();
    const each = forEach(loaded.value, early.length + late.length, this.#host.serializer);
    const releasing = this.#start.lease.release();
    // Late callers may know of a write to anything that it was made from, so all of that must be known and unchanged.
    const isKnown = loaded.known && loaded.tags.every((tag) => tags.has(tag));
    const made = late.length > 0 && isKnown ? this.#madeFrom(loaded, tags) : undefined;
    const unchanged = made && this.#unchanged(space, new Map([...tags, ...made]));
    for (const caller of early) caller.answerUnstored(each(), "miss", this.why);
    this.#host.loaded(this, durationMs, "unstored", why);
    if (late.length === 0) return;
    if ((await releasing) && (await unchanged))
      for (const caller of late) caller.answerUnstored(each(), "miss", this.why);
    else this.#host.again(late);
  }

  /** The loader's error goes to all; those who allow it get the stale value instead. */
  #failed(error: unknown, durationMs: number): void {
    this.#host.ended(this);
    const { stale, lease } = this.#start;
    const { clock, serializer } = this.#host;
    void lease.release();
    this.#host.loaded(this, durationMs, "failed");
    const now = clock.now();
    for (const caller of this.#callers) failUnlessStale(caller, stale, error, now, serializer);
  }

  /** Whether every generation still is the one from before the load; asked after the last caller joined. */
  async #unchanged(space: Evidence, tags: ReadonlyMap<string, Evidence>): Promise<boolean> {
    const after = nextMoment();
    const all = [space, ...tags.values()];
    const reads = all.map(({ wire }) => this.#host.generations.read(wire, after));
    for (const [index, read] of reads.entries()) {
      if (read.state === "asked") await read.answered;
      if (read.current === undefined || read.current !== all[index]?.generation) return false;
    }
    return true;
  }

  #split(): { early: Caller[]; late: Caller[] } {
    const early: Caller[] = [];
    const late: Caller[] = [];
    for (const caller of this.#callers) (caller.moment < this.#moment ? early : late).push(caller);
    return { early, late };
  }
}
