import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { onlyCookies, parseCookies } from "#src/http/cookies.ts";
import type { Fields } from "#src/http/fields.ts";
import { preferredLanguage } from "#src/http/negotiation.ts";
import { canonicalQuery } from "#src/http/query.ts";
import { isOddTarget, splitTarget, type PageRequest } from "#src/http/request.ts";
import { addressFields, baseKey, codedKey, unkeyedNames, variantKey, type KeyPolicy } from "#src/http/variants.ts";

const policy: KeyPolicy = { query: "all", vary: [], keyCookies: [] };

function request(other: Partial<PageRequest> = {}): PageRequest {
  return { method: "GET", scheme: "https", host: "shop.test", path: "/", query: "", fields: {}, ...other };
}
const key = (other: Partial<PageRequest>, options: Partial<KeyPolicy> = {}, user?: string): string =>
  baseKey(request(other), { ...policy, ...options }, user);

describe("one page", () => {
  const rows: readonly (readonly [string, Partial<PageRequest>, Partial<PageRequest>])[] = [
    ["GET and HEAD", { method: "GET" }, { method: "HEAD" }],
    ["the order of parameters", { query: "b=2&a=1" }, { query: "a=1&b=2" }],
    ["a field Host that says the host once more", { fields: { host: "shop.test" } }, {}],
  ];
  for (const [title, a, b] of rows) test(`${title} makes no difference`, () => assert.equal(key(a), key(b)));
});

describe("two pages", () => {
  const rows: readonly (readonly [string, Partial<PageRequest>, Partial<PageRequest>])[] = [
    ["the scheme", { scheme: "http" }, { scheme: "https" }],
    ["the host", { host: "a.test" }, { host: "b.test" }],
    ["the port", { host: "a.test:8443" }, { host: "a.test" }],
    ["the case of the host, which handlers may look up or redirect to", { host: "A.test" }, { host: "a.test" }],
    [
      "a port that says nothing, which they may repeat under another scheme",
      { host: "a.test:443" },
      { host: "a.test" },
    ],
    ["a field Host that names another host than the proxy", { fields: { host: "b.test" } }, {}],
    [
      "an :authority beside Host",
      { fields: { host: "shop.test", ":authority": "b.test" } },
      { fields: { host: "shop.test" } },
    ],
    ["a parameter's other spelling before it", { query: "%61=1&a=2" }, { query: "a=2&%61=1" }],
    ["an item of a list before it", { query: "a[]=1&a[0]=2" }, { query: "a[0]=2&a[]=1" }],
    ["a parameter in brackets before it", { query: "[a]=1&a=2" }, { query: "a=2&[a]=1" }],
    ["the path", { path: "/a" }, { path: "/a/" }],
    ["the case of the path", { path: "/a" }, { path: "/A" }],
    ["path or query", { path: "/a", query: "b" }, { path: "/ab", query: "" }],
    ["the order of parameters of one name", { query: "a=1&a=2" }, { query: "a=2&a=1" }],
    ["the value of a parameter", { query: "n=07" }, { query: "n=7" }],
  ];
  for (const [title, a, b] of rows) test(`${title} makes two`, () => assert.notEqual(key(a), key(b)));

  test("the header that is declared makes two, where the values are the same", () => {
    const [byTone, byCountry] = ["x-tone", "x-country"].map((header) =>
      key({ fields: { "x-tone": "1", "x-country": "1" } }, { vary: [{ header, as: undefined }] }),
    );
    assert.notEqual(byTone, byCountry);
  });

  for (const name of addressFields)
    test(`${name} makes two, and each of its values`, () => {
      assert.notEqual(key({ fields: { [name]: "a" } }), key({}));
      assert.notEqual(key({ fields: { [name]: "a" } }), key({ fields: { [name]: "b" } }));
    });

  test("what is no text makes no key, because a thing has no length to tell it by", () => {
    for (const user of [{}, 7, null, true]) assert.throws(() => key({}, {}, user as never), TypeError);
  });

  test("every user has a page of their own, and nobody's is that of everybody", () => {
    assert.notEqual(key({}, {}, "1"), key({}, {}, "2"));
    assert.notEqual(key({}, {}, ""), key({}));
    assert.notEqual(key({}, {}, "-"), key({}));
  });
});

const learned = (fields: Fields): string => variantKey("page", ["x", "y"], fields);

describe("headers that are part of the key", () => {
  const vary = [
    { header: "a", as: undefined },
    { header: "b", as: undefined },
  ];
  const of = (fields: Fields): string => key({ fields }, { vary });

  test('A="a" with B="bc" is not A="ab" with B="c"', () =>
    assert.notEqual(of({ a: "a", b: "bc" }), of({ a: "ab", b: "c" })));
  test("an absent header is no value that could be sent", () => {
    for (const value of ["", "-", "-,", "0:", "undefined", "null"]) assert.notEqual(of({}), of({ a: value }));
  });
  test("several lines are one value", () => assert.equal(of({ a: ["x", "y"] }), of({ a: "x,y" })));
  test("white space around commas makes no difference", () => assert.equal(of({ a: "x , y" }), of({ a: "x,y" })));
  test("white space inside of quotes does", () => assert.notEqual(of({ a: '"x , y"' }), of({ a: '"x,y"' })));
  test("a function folds values together", () => {
    const rule = [{ header: "accept-language", as: preferredLanguage("en", "de") }];
    const language = (value: string): string => key({ fields: { "accept-language": value } }, { vary: rule });
    assert.equal(language("de-AT"), language("de, en;q=0.5"));
    assert.notEqual(language("de"), language("en"));
  });
  test("names that a response varies on are part of the key with their values", () => {
    assert.notEqual(learned({ x: "1" }), learned({ y: "1" }));
    assert.notEqual(learned({ x: "1" }), learned({ x: "2" }));
    assert.notEqual(variantKey("page", ["x"], { x: "1" }), variantKey("page", ["y"], { y: "1" }));
  });
  test("a name that every object has is a header like others", () => {
    assert.equal(variantKey("page", ["constructor"], {}), variantKey("page", ["constructor"], {}));
    assert.notEqual(variantKey("page", ["constructor"], {}), variantKey("page", ["constructor"], { constructor: "1" }));
  });
  test("a name that is keyed or settled need not be learned", () => {
    assert.deepEqual(
      unkeyedNames(["a", "accept-encoding", "c", "bad name"], { ...policy, vary }, ["accept-encoding"]),
      ["c"],
    );
  });
});

test("different requests never share a key, whatever their parts are made of", () => {
  const text = fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("-", "0:", "1:a", "|br", ":", "4:page"));
  const parts = fc.record({
    host: text.map((value) => value.toLowerCase()),
    path: text,
    user: fc.option(text, { nil: undefined }),
    a: fc.option(
      text.filter((value) => !/[",\s]/.test(value)),
      { nil: undefined },
    ),
    learned: text.filter((value) => !/[",\s]/.test(value)),
    coding: fc.constantFrom("br", "gzip", undefined),
  });
  type Parts = typeof parts extends fc.Arbitrary<infer T> ? T : never;
  const keyOf = (p: Parts): string => {
    const fields: Fields = { ...(p.a === undefined ? {} : { a: p.a }), l: p.learned };
    const base = baseKey(request({ ...p, fields }), { ...policy, vary: [{ header: "a", as: undefined }] }, p.user);
    const variant = variantKey(base, ["l"], fields);
    return p.coding === undefined ? variant : codedKey(variant, p.coding);
  };
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const same = JSON.stringify([a.host, a.path, a.user ?? null, a.a ?? null, a.learned, a.coding ?? null]);
      const other = JSON.stringify([b.host, b.path, b.user ?? null, b.a ?? null, b.learned, b.coding ?? null]);
      if (same !== other) assert.notEqual(keyOf(a), keyOf(b));
    }),
    { numRuns: 2_000 },
  );
});

describe("queries", () => {
  for (const [query, rule, expected] of [
    ["", "all", ""],
    ["b=1&a=2", "all", "a=2&b=1"],
    ["a=2&b=1&a=1", "all", "a=2&a=1&b=1"],
    ["a&&b", "all", "a&b"],
    ["utm_source=x&page=2", ["page"], "page=2"],
    ["page=2&utm_source=x&page=3", ["page"], "page=2&page=3"],
    ["%70age=2", ["page"], "%70age=2"],
    ["page%=2", ["page"], ""],
    // What parsers of nested queries put into the parameter, the handler gets to see.
    ["n=1&n%5Bevil%5D=2", ["n"], "n=1&n%5Bevil%5D=2"],
    ["[n]=evil&n.evil=1&x[n]=1", ["n"], "[n]=evil&n.evil=1"],
    ["filter[x]=1&filter[y]=2", ["filter[x]"], "filter[x]=1"],
    ["a=1", [], ""],
  ] as const)
    test(`${JSON.stringify(query)} with ${JSON.stringify(rule)} is ${JSON.stringify(expected)}`, () => {
      assert.equal(canonicalQuery(query, rule), expected);
    });
});

describe("request targets", () => {
  for (const target of ["http://h.test/a", "HTTPS://h.test", "/a#b", "/a?b#c", "/a?", "*"])
    test(`${target} is odd`, () => assert.equal(isOddTarget(target), true));
  for (const target of ["/", "//h.test/a", "/a?b=http://h.test", "/%23"])
    test(`${target} is a path and a query`, () => assert.equal(isOddTarget(target), false));

  for (const [target, path, query] of [
    ["/", "/", ""],
    ["/a?b=1", "/a", "b=1"],
    ["/a?b=1?c", "/a", "b=1?c"],
    ["/a#x?y", "/a", ""],
    ["http://h.test/a?b", "/a", "b"],
    ["*", "*", ""],
  ] as const)
    test(target, () => assert.deepEqual(splitTarget(target), { path, query }));
});

describe("cookies", () => {
  test("only those that count are kept, in the order of the option", () => {
    assert.equal(onlyCookies("sid=1; lang=de; theme=dark", ["theme", "lang"]), "theme=dark; lang=de");
    assert.equal(onlyCookies("sid=1", ["lang"]), undefined);
    assert.equal(onlyCookies(undefined, ["lang"]), undefined);
  });
  test("values may hold = and quotes; parts without = are no cookies", () => {
    assert.deepEqual(parseCookies('a=b=c; x; d="e"; =f'), [
      ["a", "b=c"],
      ["d", '"e"'],
    ]);
  });
});
