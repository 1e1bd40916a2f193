/**
 * Writing values that are the caller's own: `set`, `add`, `touch`, `incr`. Not for what was computed from a source;
 * that is stored by the fill of a lease only, because a plain write that arrives late would bring back the past.
 *
 * A `set` that failed never leaves the value from before: the key is invalidated, also when that takes until the server is
 * back. One that compares has replaced that very value or nothing; where its answer was lost, nobody knows which.
 */
import type { Backend, Item, Token } from "../backend/index.ts";
import type { Clock, Random } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { pack, unpack, type Stored } from "./envelope.ts";
import type { Engine } from "./engine.ts";
import { evidenceFor, examine } from "./examine.ts";
import type { Keys } from "./keys.ts";
import { jittered, type Plan } from "./plan.ts";
import { encode, type Serializer } from "./serializer.ts";

export interface WriteParts {
  readonly engine: Engine;
  readonly backend: Backend;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly serializer: Serializer | undefined;
  readonly leaseSeconds: number;
  readonly waitMs: number;
  /** Removes what is under the key; resolves when that is confirmed. */
  remove(wire: string): Promise<void>;
  /** The same, only where the key lived before the set of servers changed. */
  removePrevious(wire: string): Promise<void>;
  /** Invalidates what was made from the value under the key; resolves when that is confirmed. */
  removeBeside(wire: string): Promise<void>;
}

interface Packed {
  readonly item: Item;
  readonly seconds: number;
}

/** A write that compares is tried so often before it gives up. */
const limitAttempts = 64;
const longestPauseMs = 30;

export class Writes {
  readonly #parts: WriteParts;
  /** Counts of one key in this process queue here, so that they do not refuse each other. */
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(parts: WriteParts) {
    this.#parts = parts;
  }

  async set(key: string, value: unknown, plan: Plan): Promise<boolean> {
    const { keys, backend, engine } = this.#parts;
    const wire = keys.value(key);
    let stored = false;
    try {
      if (plan.ttlMs > 0 && value !== undefined) {
        const packed = await this.#pack(wire, key, value, plan);
        engine.forget(wire);
        if (packed !== undefined) {
          const putting = backend.put(wire, packed.item, packed.seconds, "set").catch(() => false);
          stored = await this.#withBeside(wire, putting, packed.item);
        }
      }
    } finally {
      if (!stored) await this.#parts.remove(wire);
      // Where it lives now it has just replaced the value from before.
      else await this.#parts.removePrevious(wire);
    }
    return stored;
  }

  /** Stores where nothing is; a key that is being computed counts as empty until it is filled. */
  async add(key: string, value: unknown, plan: Plan): Promise<boolean> {
    if (plan.ttlMs <= 0 || value === undefined) return false;
    const { keys, engine, leaseSeconds, clock, waitMs } = this.#parts;
    const wire = keys.value(key);
    const until = clock.monotonic() + waitMs;
    const packed = await this.#pack(wire, key, value, plan);
    if (packed === undefined) return false;
    do {
      const found = await examine(engine, wire, key, { lease: leaseSeconds });
      if (found.kind === "value") return false;
      if (found.kind === "won" || found.kind === "flawed") return await this.#fill(wire, found.token, packed);
      if (found.kind === "unreachable") return false;
      await this.#pause();
    } while (clock.monotonic() < until);
    return false;
  }

  /** Another time to live for what is there; false where nothing is. */
  async touch(key: string, ttlMs: number, plan: Plan): Promise<boolean> {
    const done = await this.#change(key, (stored) => ({ value: stored.shared, ttlMs }), plan);
    return done !== undefined;
  }

  /** Replaces what is there by what `change` makes of it; undefined removes it. Undefined where nothing is. */
  async update(
    key: string,
    change: (value: unknown) => unknown,
    ttlMs: number | undefined,
    plan: Plan,
  ): Promise<unknown> {
    const { serializer } = this.#parts;
    return await this.#change(
      key,
      (stored) => ({ value: change(stored.take(serializer)), ...(ttlMs !== undefined && { ttlMs }) }),
      plan,
    );
  }

  /** Adds to a number, keeping its time to live. Undefined where nothing is and no `initial` was given. */
  async count(key: string, delta: number, initial: number | undefined, plan: Plan): Promise<number | undefined> {
    const { keys } = this.#parts;
    const wire = keys.value(key);
    const before = this.#queues.get(wire);
    const mine = (before ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => this.#count(key, delta, initial, plan));
    this.#queues.set(wire, mine);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(wire) === mine) this.#queues.delete(wire);
    }
  }

  async #count(key: string, delta: number, initial: number | undefined, plan: Plan): Promise<number | undefined> {
    if (this.#parts.backend.reach === "nobody") return undefined;
    for (let attempt = 0; attempt < limitAttempts; attempt++) {
      const counted = await this.#change(key, (stored) => ({ value: sum(stored.shared, delta, key) }), plan);
      if (counted !== undefined) return counted as number;
      if (initial === undefined) return undefined;
      // Such a number is not stored, so there will never be one to count on.
      if (plan.ttlMs <= 0) return initial;
      if (await this.add(key, initial, plan)) return initial;
    }
    throw contended(key);
  }

  /** Replaces the value that is there by one made from it, if nobody else does so meanwhile. */
  async #change(
    key: string,
    change: (stored: Stored) => { readonly value: unknown; readonly ttlMs?: number },
    plan: Plan,
  ): Promise<unknown> {
    const { keys, backend, engine, serializer, clock } = this.#parts;
    const wire = keys.value(key);
    for (let attempt = 0; attempt < limitAttempts; attempt++) {
      const found = await examine(engine, wire, key, {});
      if (found.kind === "unreachable")
        throw new EverfreshError("EF_SERVER_DOWN", "the server of this key, or of one of its tags, cannot be reached", {
          key,
          server: backend.serverOf(wire),
        });
      if (found.kind !== "value") return undefined;
      const { stored, token } = found;
      const { value, ttlMs } = change(stored);
      const now = Math.floor(clock.now());
      const freshUntil = ttlMs === undefined ? stored.freshUntil : ttlMs === Infinity ? Infinity : now + ttlMs;
      if (freshUntil <= now || value === undefined) {
        if (await this.#withBeside(wire, backend.drop(wire, token))) {
          await this.#parts.removePrevious(wire);
          return value;
        }
      } else {
        const graceMs = Math.max(plan.staleMs, plan.errorMs);
        const seconds = freshUntil === Infinity ? 0 : Math.ceil((freshUntil - now + graceMs) / 1000);
        const bytes = pack({ ...headerOf(stored), freshUntil }, encode(value, serializer), engine.keeps);
        engine.forget(wire);
        if (await this.#replaced(wire, token, { bytes, flags: 0, memo: unpack(bytes) }, seconds)) return value;
      }
      await this.#pause();
    }
    throw contended(key);
  }

  /** Like {@link #replaced}; what cannot be stored leaves no lease for others to wait for. */
  async #fill(wire: string, token: Token, { item, seconds }: Packed): Promise<boolean> {
    try {
      return await this.#replaced(wire, token, item, seconds);
    } catch (error) {
      void this.#parts.backend.drop(wire, token).catch(() => undefined);
      throw error;
    }
  }

  async #replaced(wire: string, token: Token, item: Item, seconds: number): Promise<boolean> {
    const replacing = this.#parts.backend.replace(wire, token, item, seconds);
    if ((await this.#withBeside(wire, replacing, item)) === undefined) return false;
    await this.#parts.removePrevious(wire);
    return true;
  }

  /**
   * Invalidates what was made from the value from before, after the write: who still reads the value from before has noted what
   * was beside it. What is given second is executed second, but for an item that is cut, which is not sent yet.
   */
  async #withBeside<T>(wire: string, writing: Promise<T>, item?: Item): Promise<T> {
    const { backend, engine } = this.#parts;
    const removeBeside = (): Promise<void> => this.#parts.removeBeside(wire);
    const isSentLater = backend.reorders === true || (item !== undefined && item.bytes.length > backend.itemLimitBytes);
    try {
      const removing = isSentLater ? writing.then(removeBeside, removeBeside) : removeBeside();
      const [written] = await Promise.all([writing, removing]);
      return written;
    } catch (error) {
      // It may have been done all the same, and its caller is told that it is not known.
      void this.#parts.removePrevious(wire).catch(() => undefined);
      throw error;
    } finally {
      engine.forget(wire);
    }
  }

  /** Undefined when the generations that it must carry cannot be had. */
  async #pack(wire: string, key: string, value: unknown, plan: Plan): Promise<Packed | undefined> {
    const { engine, clock, random, serializer, keys } = this.#parts;
    const payload = encode(value, serializer);
    const evidence = await evidenceFor(engine, wire, plan.tags);
    if (evidence === undefined) return undefined;
    const createdAt = Math.floor(clock.now());
    const ttlMs = jittered(plan.ttlMs, plan.jitter, random);
    const bytes = pack(
      {
        createdAt,
        freshUntil: ttlMs === Infinity ? Infinity : createdAt + Math.ceil(ttlMs),
        version: plan.version,
        space: evidence.space.generation,
        tags: plan.tags,
        generations: plan.tags.map((tag) => evidence.tags.get(tag)?.generation ?? evidence.space.generation),
        key: keys.isDigest(wire) ? key : undefined,
      },
      payload,
      engine.keeps,
    );
    const seconds = ttlMs === Infinity ? 0 : Math.ceil((ttlMs + Math.max(plan.staleMs, plan.errorMs)) / 1000);
    return { item: { bytes, flags: 0, memo: unpack(bytes) }, seconds };
  }

  #pause(): Promise<void> {
    const { clock, random } = this.#parts;
    return new Promise((resolve) => {
      clock.after(1 + random.fraction() * longestPauseMs, resolve);
    });
  }
}

function headerOf(stored: Stored): Omit<Parameters<typeof pack>[0], "freshUntil"> {
  const { createdAt, version, space, tags, generations, key } = stored;
  return { createdAt, version, space, tags, generations, key };
}

function sum(value: unknown, delta: number, key: string): number {
  if (typeof value !== "number")
    throw new EverfreshError(
      "EF_VALUE",
      `only a number can be counted; ${JSON.stringify(key)} holds a ${typeof value}`,
      {
        key,
      },
    );
  return value + delta;
}

function contended(key: string): EverfreshError {
  return new EverfreshError("EF_OVERLOADED", `others changed ${JSON.stringify(key)} ${limitAttempts} times in a row`, {
    key,
  });
}
