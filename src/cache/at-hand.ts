/** Values that are in this process and right, without asking anybody and without waiting. */
import type { Engine } from "./engine.ts";
import { unpack, type Stored } from "./envelope.ts";
import { isOfAnother, lackedTag } from "./judging.ts";
import type { Plan } from "./plan.ts";

/**
 * The value of `key`, which is `wire` on the wire, opened; undefined: it must be asked for. With less than `aheadMs` to live it
 * is asked for, so that somebody refreshes it.
 */
export function atHand(
  engine: Engine,
  key: string,
  wire: string,
  { version, tags, aheadMs }: Plan,
): Stored | undefined {
  const { backend, clock, serializer } = engine;
  const item = backend.peek?.(wire);
  const stored =
    item === undefined ? trusted(engine, wire) : ((item.memo ??= unpack(item.bytes)) as Stored | undefined);
  if (stored === undefined || stored.version !== version || lackedTag(tags, stored) !== undefined) return undefined;
  if (stored.freshUntil <= clock.now() + aheadMs) return undefined;
  if (isOfAnother(stored, key, wire, engine.parts.keys)) return undefined;
  if (item !== undefined && !isCurrent(engine, wire, stored)) return undefined;
  return stored.open(serializer) ? stored : undefined;
}

/** Whether the generations that are in this process, too, are the ones that it was made from. */
function isCurrent(engine: Engine, wire: string, { provenance }: Stored): boolean {
  const { generations: current } = engine;
  const { space, tags, generations } = provenance;
  if (space !== current.peek(engine.spaceOn(engine.backend.serverOf(wire)))) return false;
  for (let index = 0; index < tags.length; index++)
    if (current.peek(engine.parts.keys.tag(tags[index] ?? "")) !== generations[index]) return false;
  return true;
}

/** What the tier may serve without asking, by `local: { maxAge }`. */
function trusted(engine: Engine, wire: string): Stored | undefined {
  const { tier, tierMaxAgeMs, deliveries } = engine.parts;
  if (tierMaxAgeMs === 0 || tier === undefined) return undefined;
  // What is pending may be about this value or one of its tags, and a read that crossed it may have brought it back.
  if (deliveries.areSomePending) return undefined;
  return tier.trusted(wire, tierMaxAgeMs, engine.clock.monotonic())?.stored;
}
