/**
 * `"5m"` to milliseconds, parsed once, at the edge.
 *
 * A bare number is refused: half of the ecosystem means seconds by it and half milliseconds.
 */
import { inspect } from "node:util";
import { EverfreshError, shown } from "./errors.ts";

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`; decimals are allowed: `"1.5h"`. */
export type DurationText = `${number}${keyof typeof unitMs}`;

/** A span of time by its parts, added up: `{ minutes: 5, seconds: 30 }`. */
export interface DurationParts {
  readonly days?: number | undefined;
  readonly hours?: number | undefined;
  readonly minutes?: number | undefined;
  readonly seconds?: number | undefined;
  readonly milliseconds?: number | undefined;
}

/** A span of time whose unit can be read. */
export type Duration = DurationText | DurationParts;

/** The longest span that is taken: 100 years. Longer ones are nearly always a mistaken unit. */
export const longestDurationMs = 100 * 365 * unitMs.d;

const pattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const parts = {
  days: unitMs.d,
  hours: unitMs.h,
  minutes: unitMs.m,
  seconds: unitMs.s,
  milliseconds: unitMs.ms,
} as const;

/**
 * The milliseconds of `duration`; fractions of a millisecond are rounded up, so that a positive span never becomes 0.
 *
 * @param name what the duration is, for the error: `ttl`, `timeout`
 * @throws EverfreshError `EF_OPTION` for bare numbers, unknown units, negative and absurd spans
 */
export function durationMs(duration: Duration, name: string): number {
  const ms = typeof duration === "string" ? textMs(duration) : partsMs(duration);
  if (ms === undefined)
    throw new EverfreshError(
      "EF_OPTION",
      `${name} is ${given(duration)}; a duration is written like "250ms", "30s", "5m", "1h", "7d" or { minutes: 5 }`,
    );
  if (ms > longestDurationMs)
    throw new EverfreshError("EF_OPTION", `${name} is ${given(duration)}; the longest duration is 100 years`);
  return Math.ceil(ms);
}

function textMs(text: string): number | undefined {
  const match = pattern.exec(text);
  return match ? Number(match[1]) * unitMs[match[2] as keyof typeof unitMs] : undefined;
}

function partsMs(duration: unknown): number | undefined {
  if (typeof duration !== "object" || duration === null || Array.isArray(duration)) return undefined;
  const entries = Object.entries(duration).filter(([, value]) => value !== undefined);
  if (entries.length === 0) return undefined;
  let sum = 0;
  for (const [part, value] of entries) {
    if (!Object.hasOwn(parts, part)) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0) return undefined;
    sum += value * parts[part as keyof typeof parts];
  }
  return sum;
}

function given(duration: unknown): string {
  if (duration === undefined) return "missing";
  if (typeof duration === "string") return `string ${shown(duration)}`;
  if (Array.isArray(duration)) return shown(duration);
  const text = inspect(duration, { breakLength: Infinity });
  return typeof duration === "object" ? text : `${typeof duration} ${text}`;
}
