/** What is under a key, for writes that compare and for the monitor; and what a value that is set is made from. */
import type { Reading, Token, Want } from "../backend/index.ts";
import type { Engine } from "./engine.ts";
import { unpack, type Stored } from "./envelope.ts";
import { gatherEvidence, type AllEvidence } from "./evidence.ts";
import { flawOf } from "./judging.ts";
import { nextMoment } from "./moments.ts";

/** What {@link examine} finds. */
export type Examined =
  | { readonly kind: "value"; readonly stored: Stored; readonly token: Token }
  | { readonly kind: "flawed" | "won"; readonly token: Token }
  | { readonly kind: "absent" | "leased" | "unreachable" };

/** What is under a key, proven right or not. */
export async function examine(engine: Engine, wire: string, key: string, want: Want): Promise<Examined> {
  const { backend, clock, generations, serializer } = engine;
  const { deliveries, keys } = engine.parts;
  const server = backend.serverOf(wire);
  if (backend.reach === "nobody") return { kind: "absent" };
  if (deliveries.blocked(server)) return { kind: "unreachable" };
  const moment = nextMoment();
  const space = generations.read(engine.spaceOn(server), moment);
  let reading: Reading;
  try {
    reading = await backend.read(wire, want);
  } catch {
    return { kind: "unreachable" };
  }
  if (reading.kind === "absent" || reading.kind === "leased" || reading.kind === "won") return reading;
  if (reading.kind === "same") return { kind: "absent" };
  const stored = (reading.item.memo ??= unpack(reading.item.bytes)) as Stored | undefined;
  const { token } = reading;
  // A stale value is won by whoever reads it next, also by who will not compute it.
  if (reading.won && want.lease === undefined) void backend.expire(wire, token).catch(() => undefined);
  if (stored === undefined) return { kind: "flawed", token };
  const tags = stored.tags.map((tag) => generations.read(keys.tag(tag), moment));
  await Promise.all([space.answered, ...tags.map((read) => read.answered)]);
  const now = clock.now();
  const flaw = flawOf({ wire, key, space, tags }, reading, stored, keys, now);
  if (flaw === undefined && stored.open(serializer)) return { kind: "value", stored, token };
  // It may be right, so it is neither to be replaced nor to be told of as if nothing were there.
  if (!reading.stale && stored.freshUntil > now && [space, ...tags].some(({ state }) => state === "unreachable"))
    return { kind: "unreachable" };
  return { kind: "flawed", token };
}

/** Generations for a value that is stored without a load: `set`. Undefined when they cannot be had. */
export function evidenceFor(engine: Engine, wire: string, tags: readonly string[]): Promise<AllEvidence | undefined> {
  const { backend, generations } = engine;
  const moment = nextMoment();
  const space = generations.read(engine.spaceOn(backend.serverOf(wire)), moment);
  return gatherEvidence(generations, engine.parts.keys, space, moment, new Set(tags), tags);
}
