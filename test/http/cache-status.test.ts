import assert from "node:assert/strict";
import { test } from "node:test";
import { cacheStatus, serverTiming, withCacheStatus, type CacheOutcome } from "#src/http/cache-status.ts";

const rows: readonly (readonly [CacheOutcome, string])[] = [
  [{ kind: "hit", ttl: 29.6 }, "everfresh; hit; ttl=29"],
  [{ kind: "stale", ttl: -3 }, "everfresh; hit; ttl=-3"],
  [{ kind: "miss", stored: true }, "everfresh; fwd=miss; stored"],
  [{ kind: "miss", reason: "set-cookie" }, "everfresh; fwd=miss; detail=set-cookie"],
  [{ kind: "hit", ttl: 60, collapsed: true }, "everfresh; hit; ttl=60; collapsed"],
  [{ kind: "bypass", reason: "cookie" }, "everfresh; fwd=bypass; detail=cookie"],
  [{ kind: "bypass", reason: "method" }, "everfresh; fwd=method; detail=method"],
];
for (const [outcome, expected] of rows)
  test(`${expected} (RFC 9211)`, () => assert.equal(cacheStatus("everfresh", outcome), expected));

test("our member comes after those of caches nearer to the origin (RFC 9211 section 2)", () => {
  assert.equal(withCacheStatus("inner; hit", "everfresh; fwd=miss"), "inner; hit, everfresh; fwd=miss");
  assert.equal(withCacheStatus(undefined, "everfresh; hit"), "everfresh; hit");
});

test("Server-Timing says what happened and how long it took", () => {
  assert.equal(serverTiming("everfresh", { kind: "hit" }, 0.8), "everfresh;desc=hit;dur=0.8");
});
