/**
 * What a value was made from: the other values that were read while it was computed.
 *
 * A page shows fragments, a fragment shows entries. Whatever invalidates the inner value must invalidate the outer one, so
 * the outer one takes over the inner one's tags, each with the generation that the inner one was made from. An entry can
 * be invalidated by its key alone, too; for that there is a generation beside each key, on the same server, which every
 * invalidation of the key removes, and which the outer value records like a tag. Where an inner value could not be
 * stored, or is a stale one that a relaxation allowed, the outer one is not stored either.
 *
 * The generation beside a key is read before the key itself: whoever reads an old value therefore has an old generation.
 */
import type { Backend } from "../backend/index.ts";
import { Ambient } from "./ambient.ts";
import type { Generation, Header } from "./envelope.ts";
import { rawTag, type Keys } from "./keys.ts";

/** Where a cache keeps its tags. */
export interface Home {
  readonly backend: Backend;
  readonly keys: Keys;
  /** The wire key of the namespace's generation on the server of the value under `wire`. */
  spaceOf(wire: string): string;
}

/** Entries have no such names, so a fragment and an entry never meet. */
export const fragmentPrefix = "(fragment):";

/** Whether anybody can invalidate a value by its key. Fragments have keys that nobody knows, so nothing is read beside them. */
export function hasOwnKey(key: string): boolean {
  return !key.startsWith(fragmentPrefix);
}

/** What was read while one value was computed. */
export class Inherited {
  readonly tags = new Map<string, Generation>();
  /** Something that was read says nothing about what it was made from. */
  unknown = false;
  /** Until when everything that was read is fresh. */
  freshUntil = Infinity;
  /** Reads that have not ended. */
  #underWay = 0;
  readonly #home: Home | undefined;
  readonly #key: string;

  /** @param key under which the outer value will be kept in `home` */
  constructor(home: Home | undefined, key: string) {
    this.#home = home;
    this.#key = key;
  }

  /** Whether everything that was read says what it was made from. */
  get isKnown(): boolean {
    return !this.unknown && this.#underWay === 0;
  }

  /** Until `reading` has ended, nobody knows what it says: a loader that does not wait for it shows something else. */
  during<T>(reading: Promise<T>): Promise<T> {
    this.#underWay++;
    const ended = (): void => void this.#underWay--;
    reading.then(ended, ended);
    return reading;
  }

  /** `inner` is what was read or stored under `wire`, in the cache `from`; undefined: it was not stored. */
  add(inner: Header | undefined, from: Home, wire: string): void {
    if (inner === undefined || from.backend !== this.#home?.backend) {
      this.unknown = true;
      return;
    }
    this.freshUntil = Math.min(this.freshUntil, inner.freshUntil);
    const isOurs = from.keys === this.#home.keys;
    // Also of our own namespace, where it is that of another server: they are not all cleared at the same time.
    const space = from.spaceOf(wire);
    if (!isOurs || space !== from.spaceOf(from.keys.value(this.#key))) this.note(rawTag(space), inner.space);
    for (const [index, tag] of inner.tags.entries())
      this.note(isOurs ? tag : rawTag(from.keys.tag(tag)), inner.generations[index]);
  }

  /** Nothing was found in the cache `from`. What was noted beside its key tells when somebody writes it. */
  missed(from: Home): void {
    if (from.backend !== this.#home?.backend) this.unknown = true;
  }

  /** Notes one generation; undefined: it could not be read. */
  note(tag: string, generation: Generation | undefined): void {
    const known = this.tags.get(tag);
    if (generation !== undefined && known === undefined) this.tags.set(tag, generation);
    // Made from two generations of one tag: at least one of them is not current any more.
    else if (generation !== known || generation === undefined) this.unknown = true;
  }
}

/** What is read while several values are computed together: each of them was made from it. */
export class InheritedByAll extends Inherited {
  readonly #all: readonly Inherited[];

  constructor(all: readonly Inherited[]) {
    super(undefined, "");
    this.#all = all;
  }

  override add(inner: Header | undefined, from: Home, wire: string): void {
    for (const one of this.#all) one.add(inner, from, wire);
  }

  override during<T>(reading: Promise<T>): Promise<T> {
    for (const one of this.#all) void one.during(reading);
    return reading;
  }

  override missed(from: Home): void {
    for (const one of this.#all) one.missed(from);
  }

  override note(tag: string, generation: Generation | undefined): void {
    for (const one of this.#all) one.note(tag, generation);
  }
}

/** The value that is being computed. */
export const rendering = new Ambient<Inherited>();
