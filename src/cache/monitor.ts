/**
 * The freshness monitor: a sample of hits is computed again from the source, off the request path, and compared with
 * what was served. Stale reads per million are a number, not an article of faith.
 *
 * A difference alone proves nothing: the source may have changed between the read and the comparison. So after a
 * pause the key is looked at again. If what was served is no longer there, it was invalidated meanwhile: a race between
 * sample and write. If it still is, and the source still says otherwise, an invalidation is missing.
 *
 * A loader that answers differently each time it is asked looks stale here; do not monitor it.
 */
import { isDeepStrictEqual } from "node:util";
import { sameToken, type Token } from "../backend/index.ts";
import type { Clock, Random } from "../clock.ts";
import type { Duration } from "../duration.ts";
import { EverfreshError, shown } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { checkNames } from "../option-names.ts";
import type { Caller, Loader } from "./caller.ts";
import type { Stored } from "./envelope.ts";
import type { Engine } from "./engine.ts";
import { examine } from "./examine.ts";
import type { Keys } from "./keys.ts";
import { span, type Plan } from "./plan.ts";
import { decode, encode, type Serializer } from "./serializer.ts";

export interface MonitorOptions {
  /** The share of hits that is checked, from 0 to 1. Default: 0.001. */
  readonly sample?: number | undefined;
  /** How long a difference must last to count. More than an invalidation takes. Default: 5 s. */
  readonly settle?: Duration | undefined;
  /** Checks that run at a time; hits beyond it are not checked. Default: 1. */
  readonly maxConcurrent?: number | undefined;
}

/** One stale read that was found. */
export interface StaleRead {
  readonly key: string;
  /** How old the value was when it was served. */
  readonly ageMs: number;
  readonly tags: readonly string[];
  /** The generations of namespace and tags that it was made from, as hexadecimal text. */
  readonly generations: readonly string[];
}

export interface MonitorReport {
  /** Hits that were compared to their end. */
  readonly checked: number;
  /** Differences that were a write at the same time. */
  readonly races: number;
  /** Checks whose loader failed. */
  readonly failed: number;
  readonly stale: number;
  readonly stalePerMillion: number;
  /** The latest stale reads, at most 20. */
  readonly found: readonly StaleRead[];
}

export interface Monitor {
  report(): MonitorReport;
  stop(): void;
}

const limitFound = 20;
const channel = eventChannel("everfresh:cache:stale");

type Watch = NonNullable<Engine["watch"]>;

/** The monitors of each engine, which all who use its namespace share. */
const watching = new WeakMap<Engine, Set<Watch>>();

export function startMonitor(
  engine: Engine,
  keys: Keys,
  clock: Clock,
  random: Random,
  serializer: Serializer | undefined,
  options: MonitorOptions,
): Monitor {
  checkNames(
    options,
    { sample: true, settle: true, maxConcurrent: true } satisfies Record<keyof MonitorOptions, true>,
    "monitor",
  );
  const { sample = 0.001, maxConcurrent = 1 } = options;
  if (!(typeof sample === "number" && sample >= 0 && sample <= 1))
    throw new EverfreshError("EF_OPTION", `sample is ${shown(sample)}; it is a number from 0 to 1`);
  if (!(Number.isSafeInteger(maxConcurrent) && maxConcurrent > 0))
    throw new EverfreshError("EF_OPTION", `maxConcurrent is ${shown(maxConcurrent)}; it is a whole number from 1`);
  const settleMs = span(options.settle, "settle", 5_000);
  const found: StaleRead[] = [];
  const counts = { checked: 0, races: 0, failed: 0, stale: 0 };
  let running = 0;

  const check = async (caller: Caller, load: Loader, stored: Stored, token: Token, ageMs: number): Promise<void> => {
    const { key, plan } = caller;
    // The hit is answered first: a loader that computes for long without waiting would hold it up.
    await new Promise((resolve) => setImmediate(resolve));
    const agrees = (): Promise<boolean> => caller.inContext(() => isMadeAgain(load, plan, key, stored));
    if (await agrees()) return;
    await new Promise<void>((resolve) => clock.after(settleMs, resolve));
    const now = await examine(engine, keys.value(key), key, {});
    const stillThere = now.kind === "value" && sameToken(now.token, token);
    if (!stillThere || (await agrees())) {
      counts.races++;
      return;
    }
    counts.stale++;
    const generations = [stored.space, ...stored.generations].map((text) =>
      Buffer.from(text, "latin1").toString("hex"),
    );
    const read: StaleRead = { key, ageMs, tags: stored.tags, generations };
    found.push(read);
    if (found.length > limitFound) found.shift();
    if (channel.hasSubscribers) channel.publish(read);
  };

  const isMadeAgain = async (load: Loader, plan: Plan, key: string, stored: Stored): Promise<boolean> => {
    const { value } = await engine.parts.loads.run(load, plan, key, undefined);
    const { format, bytes } = encode(value, serializer);
    const payload = Buffer.from(bytes as string);
    if (format === stored.format && payload.equals(stored.payload)) return true;
    // Other bytes may say the same: names in another order, a serializer that encrypts.
    const again = decode(format, payload, 0, payload.length, serializer);
    return isDeepStrictEqual(again, stored.take(serializer));
  };

  const watch: Watch = (caller, stored, token) => {
    const { load, plan } = caller;
    if (load === undefined || !plan.monitored || running >= maxConcurrent || random.fraction() >= sample) return;
    running++;
    const ageMs = Math.max(0, clock.now() - stored.createdAt);
    void check(caller, load, stored, token, ageMs)
      .then(() => counts.checked++)
      .catch(() => counts.failed++)
      .finally(() => running--);
  };

  const all = watching.get(engine) ?? new Set();
  watching.set(engine, all.add(watch));
  engine.watch = (...hit) => all.forEach((each) => each(...hit));

  return {
    report: () => ({
      ...counts,
      stalePerMillion: counts.checked === 0 ? 0 : (counts.stale / counts.checked) * 1_000_000,
      found: [...found],
    }),
    stop() {
      all.delete(watch);
      if (all.size === 0) engine.watch = undefined;
    },
  };
}
