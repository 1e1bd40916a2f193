import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { preferredCoding, preferredLanguage } from "#src/http/negotiation.ts";

describe("content codings (RFC 9110 section 12.5.3)", () => {
  for (const [accept, expected] of [
    [undefined, undefined],
    ["", undefined],
    ["gzip, deflate, br, zstd", "br"],
    ["gzip", "gzip"],
    ["x-gzip", "gzip"],
    ["GZIP;Q=0.5", "gzip"],
    ["gzip;q=1.0, br;q=0.5", "gzip"],
    ["br;q=0, gzip", "gzip"],
    ["br;q=0", undefined],
    ["*", "br"],
    ["*;q=0", undefined],
    ["br;q=0, *", "gzip"],
    ["identity, br;q=0.5", undefined],
    ["deflate", undefined],
    ["br;q=abc", undefined],
    ["br;q=2", undefined],
  ] as const)
    test(`${String(accept)}: ${String(expected)}`, () => {
      assert.equal(preferredCoding(accept, ["br", "gzip"]), expected);
    });
});

describe("languages", () => {
  const language = preferredLanguage("en", "de", "pt-BR");
  for (const [accept, expected] of [
    [undefined, "en"],
    ["de", "de"],
    ["de-AT, en;q=0.5", "de"],
    ["fr, pt-br;q=0.8, de;q=0.9", "de"],
    ["PT-BR", "pt-BR"],
    ["pt", "en"],
    ["fr", "en"],
    ["de;q=0", "en"],
  ] as const)
    test(`${String(accept)} gets ${expected}`, () => assert.equal(language(accept), expected));
});
