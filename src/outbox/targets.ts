/**
 * What can be invalidated, as a row of the outbox says it: a key or a tag, in the namespace of one cache.
 *
 * Here a caller's words become rows, and duplicates fall together. Who delivers them is not known here.
 */
import { checkTags, limitKeyLength } from "../cache/index.ts";
import { EverfreshError } from "../errors.ts";

/** One row's worth of invalidation. */
export interface Target {
  /** The namespace of the cache it concerns. */
  readonly namespace: string;
  readonly kind: "key" | "tag";
  /** The key or the tag as the cache's user writes it. */
  readonly name: string;
}

/** A row that has been written: what it says, and the number by which it is removed. Numbers of 64 bits travel as text. */
export interface OutboxRow extends Target {
  readonly id: string;
}

/** A tag, told apart from a key. Without `namespace` it belongs to the outbox's first cache. */
export interface TagTarget {
  readonly kind: "tag";
  readonly name: string;
  readonly namespace?: string;
}

/** A key, where its namespace must be said. Without `namespace` it belongs to the outbox's first cache. */
export interface KeyTarget {
  readonly kind: "key";
  readonly name: string;
  readonly namespace?: string;
}

/** What `invalidate` takes: a key as a plain string, a {@link tag}, a {@link key}. */
export type Invalidatable = string | TagTarget | KeyTarget;

/** Longest key that `invalidate` takes, in UTF-16 units; a longer one is a mistake, not a name. A tag's limit is the cache's. */
export const longestName = 2_048;
/** Most targets that one transaction may name. More than that wants a tag that covers them. */
export const mostTargets = 10_000;

/** The tag `name`, for `invalidate`. */
export function tag(name: string, namespace?: string): TagTarget {
  return namespace === undefined ? { kind: "tag", name } : { kind: "tag", name, namespace };
}

/** The key `name`, for `invalidate`, where the namespace must be said. */
export function key(name: string, namespace?: string): KeyTarget {
  return namespace === undefined ? { kind: "key", name } : { kind: "key", name, namespace };
}

/** The targets of one transaction: each once, in the order in which they were first named. */
export class TargetSet {
  readonly #namespaces: readonly string[];
  readonly #targets = new Map<string, Target>();

  /** @param namespaces those that may be named; what names none belongs to the first */
  constructor(namespaces: readonly string[]) {
    this.#namespaces = namespaces;
  }

  get size(): number {
    return this.#targets.size;
  }

  /** @throws EverfreshError `EF_OPTION` for what is neither key nor tag, and for too many */
  add(item: Invalidatable): void {
    const target = this.#resolve(item);
    if (this.#targets.size >= mostTargets && !this.#targets.has(identity(target)))
      throw new EverfreshError(
        "EF_OPTION",
        `a transaction invalidates at most ${mostTargets} keys and tags; give the values a common tag`,
      );
    this.#targets.set(identity(target), target);
  }

  has(target: Target): boolean {
    return this.#targets.has(identity(target));
  }

  list(): Target[] {
    return [...this.#targets.values()];
  }

  #resolve(item: Invalidatable): Target {
    const { kind, name, namespace } = typeof item === "object" && item !== null ? item : key(item);
    if ((kind !== "key" && kind !== "tag") || !isName(name))
      throw new EverfreshError(
        "EF_OPTION",
        `invalidate takes keys of 1 to ${longestName} characters and tags of 1 to 200 bytes, as text or made by tag() and key()`,
      );
    if (kind === "tag") checkTags([name]);
    const home = namespace ?? this.#namespaces[0] ?? "";
    if (!this.#namespaces.includes(home))
      throw new EverfreshError("EF_OPTION", `No cache of this outbox has the namespace ${JSON.stringify(home)}.`);
    return { namespace: home, kind, name };
  }
}

/** Text that a database gives back as it was: PostgreSQL stores neither NUL nor halves of surrogate pairs. */
function isName(name: unknown): name is string {
  if (typeof name !== "string" || name === "" || name.length > longestName || name.includes("\0")) return false;
  return !/[\ud800-\udfff]/.test(name) || Buffer.from(name).toString() === name;
}

/**
 * Whether a cache can have such a key or tag. Whoever writes rows by hand, or by a trigger from a long column, may name one that
 * no value can have; every cache refuses it for ever.
 */
export function canBeTold({ kind, name }: Target): boolean {
  if (kind === "key") return name !== "" && name.length <= limitKeyLength;
  try {
    checkTags([name]);
    return true;
  } catch {
    return false;
  }
}

/** Targets by what they say: two rows that say the same are one invalidation. */
export function identity(target: Target): string {
  return `${target.kind}\0${target.namespace}\0${target.name}`;
}
