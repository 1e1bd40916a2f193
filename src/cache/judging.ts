/** Whether a value that was found may be served, and why not. Decides; changes nothing but what is remembered as proven. */
import type { Reading } from "../backend/index.ts";
import { disown, EverfreshError } from "../errors.ts";
import type { Caller } from "./caller.ts";
import type { KnownProvenance, Stored } from "./envelope.ts";
import type { Keys } from "./keys.ts";
import type { Lookup } from "./lookup.ts";
import type { Plan } from "./plan.ts";
import type { Serializer } from "./serializer.ts";

export type ItemReading = Extract<Reading, { kind: "item" }>;

/** What was asked, and what came back of the generations. */
type Found = Pick<Lookup, "wire" | "key" | "space" | "tags">;

/** Why the value may not be served as fresh to anybody; undefined: it may. */
export function flawOf(
  lookup: Found,
  reading: Pick<ItemReading, "stale">,
  stored: Stored,
  keys: Keys,
  now: number,
): string | undefined {
  // Somebody else's value is for nobody here, whatever else is wrong with it.
  if (isOfAnother(stored, lookup.key, lookup.wire, keys)) return "collision";
  // Before time is asked: of what is stale for two reasons, the invalidation is what its reader must know.
  const changed = outdated(lookup, stored);
  if (changed !== undefined) return changed;
  if (reading.stale) return "invalidated";
  // Not by what the server has left: whoever stored it may have given it another time to be stale than its readers do.
  return stored.freshUntil <= now ? "expired" : undefined;
}

/** Whether it is the value of another key with the same digest. */
export function isOfAnother(stored: Stored, key: string, wire: string, keys: Keys): boolean {
  return stored.key === undefined ? keys.isDigest(wire) : stored.key !== key;
}

/** Which of the generations that the value was made from is not known to be current; undefined: all are. */
function outdated({ space, tags: asked }: Found, { provenance }: Stored): string | undefined {
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

/** What was never right, or is somebody else's, is not served stale either. */
export function mayServeStale(why: string): boolean {
  return why === "invalidated" || why === "expired" || why.startsWith("tag ");
}

/** Why a value is computed anew that could still be served as fresh. */
export const refreshedAhead = "refreshed ahead";

/** A value that may not be served as fresh, and why. */
export interface Stale {
  readonly stored: Stored;
  /** With {@link refreshedAhead} it was fresh when that was begun; who joins later has found that it is so no more. */
  readonly why: string;
  /**
   * Of what was invalidated and kept: until when the server keeps it, and when it said so, on the wall clock. Of what is
   * refreshed ahead: when it was found fresh.
   */
  readonly kept: { readonly until: number; readonly seenAt: number } | undefined;
}

/**
 * Whether `caller`, whose relaxation is one of `relaxedMs`, may have the stale value. Who has invalidated it to have a new one
 * may not.
 */
export function mayHave(
  caller: Caller,
  stale: Stale,
  relaxedMs: number,
  now: number,
  serializer: Serializer | undefined,
): boolean {
  if (caller.plan.forceFresh) return false;
  return now < sinceInvalidated(stale, caller.plan, relaxedMs) && isFor(caller, stale.stored, serializer);
}

/**
 * {@link staleUntil}, with what the server tells of an invalidation: not when it was, but how long it keeps the value. That it
 * was told to keep it for as long as this reader's own relaxations say is what an entry does. Kept for longer than that,
 * it is not known since when, and so it is for nobody.
 */
function sinceInvalidated({ stored, why, kept }: Stale, { staleMs, errorMs }: Plan, relaxedMs: number): number {
  const until = staleUntil(stored, why, relaxedMs);
  if (why === refreshedAhead) return Math.min(until, (kept?.seenAt ?? -Infinity) + relaxedMs);
  if (why !== "invalidated") return until;
  // Asked by somebody without a relaxation.
  if (kept === undefined) return -Infinity;
  const invalidatedAt = kept.until - keptSeconds(staleMs, errorMs) * 1000;
  return invalidatedAt > kept.seenAt ? -Infinity : Math.min(until, invalidatedAt + relaxedMs);
}

/** For how long an invalidation keeps the value from before. */
export function keptSeconds(staleMs: number, errorMs: number): number {
  return Math.ceil(Math.max(staleMs, errorMs) / 1000);
}

/** Whether a value can be read and is what this caller reads. */
export function isFor(
  caller: Pick<Caller, "plan" | "load">,
  stored: Stored,
  serializer: Serializer | undefined,
): boolean {
  try {
    return stored.open(serializer) && misfit(caller, stored, serializer) === undefined;
  } catch {
    // A schema that throws. Who cannot have the stale value waits for the new one.
    return false;
  }
}

/**
 * Until when a value may be served stale under a relaxation of `relaxedMs`, on the wall clock; `why` says what is wrong with it.
 * A tag does not say when it was invalidated: it may have been at once after the value began to be made.
 */
export function staleUntil({ createdAt, freshUntil }: Stored, why: string, relaxedMs: number): number {
  if (relaxedMs === 0) return -Infinity;
  return (why.startsWith("tag ") ? Math.min(createdAt, freshUntil) : freshUntil) + relaxedMs;
}

/** What was found last to carry all of the tags that its reader names: values and readers with the same come in crowds. */
let fittingTags: readonly string[] = [];
let fittingProvenance: KnownProvenance | undefined;

/** A tag that the value must have for a reader of `tags`, and does not: it would not notice that tag's invalidation. */
export function lackedTag(tags: readonly string[], { provenance }: Stored): string | undefined {
  if (tags.length === 0 || (fittingProvenance === provenance && fittingTags === tags)) return undefined;
  for (const tag of tags) if (!provenance.tags.includes(tag)) return tag;
  fittingTags = tags;
  fittingProvenance = provenance;
  return undefined;
}

/**
 * Whether what is computed by the plan `by` is what a reader with the other one reads, and notices what invalidates it for
 * that.
 */
export function isCovered({ version, tags }: Plan, by: Plan): boolean {
  return version === by.version && (tags === by.tags || tags.every((tag) => by.tags.includes(tag)));
}

/** Why a right value is not for this caller: another version, a tag that it lacks, or its schema refuses it. Open it first. */
export function misfit(
  { plan, load }: Pick<Caller, "plan" | "load">,
  stored: Stored,
  serializer: Serializer | undefined,
): string | undefined {
  if (load !== undefined && plan.version !== stored.version) return "version";
  const lacked = lackedTag(plan.tags, stored);
  if (lacked !== undefined) return `tag ${lacked}`;
  if (plan.schema === undefined) return undefined;
  // A copy: a validator that changes what it is given must not change what others get.
  const result = plan.schema["~standard"].validate(stored.take(serializer));
  if (disown(result))
    throw new EverfreshError(
      "EF_OPTION",
      "the schema checks asynchronously; a cached value is checked at once or not at all",
    );
  return "issues" in result && result.issues !== undefined ? "schema" : undefined;
}
