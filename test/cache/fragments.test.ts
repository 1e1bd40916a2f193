/** Fragments, and fragments within fragments. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { type Cache } from "everfresh";
import { deferred } from "../support/deferred.ts";
import { settle } from "../support/settle.ts";
import { a, b, begin } from "./processes.ts";

beforeEach(() => begin(["fake:1", "fake:2", "fake:3"]));

describe("fragments", () => {
  test("are kept by name and what they vary on, and rendered once for a crowd", async () => {
    let renders = 0;
    const render = (): string => `<li>${++renders}</li>`;
    const texts = await Promise.all([1, 2, 3].map(() => a.fragment("song", [7, "de"], render)));
    assert.deepEqual(new Set(texts), new Set(["<li>1</li>"]));
    assert.equal(await b.fragment("song", [7, "de"], render), "<li>1</li>");
    assert.equal(await b.fragment("song", ["7", "de"], render), "<li>2</li>");
    assert.equal(await b.fragment("song", ["7,de"], render), "<li>3</li>");
  });

  test("take over the tags of the fragments within them", async () => {
    let title = "Blue";
    const counts = { inner: 0, outer: 0 };
    const page = (cache: Cache): Promise<string> =>
      cache.fragment("page", [], async () => {
        counts.outer++;
        const inner = await cache.fragment("title", [1], () => (counts.inner++, title), { tags: ["title 1"] });
        return `<h1>${inner}</h1>`;
      });
    assert.equal(await page(a), "<h1>Blue</h1>");
    assert.equal(await page(b), "<h1>Blue</h1>");
    assert.deepEqual(counts, { inner: 1, outer: 1 });
    title = "Green";
    await a.invalidateTags(["title 1"]);
    assert.equal(await page(b), "<h1>Green</h1>");
    assert.deepEqual(counts, { inner: 2, outer: 2 });
  });

  test("an outer fragment whose inner tag changes while it is rendered is not served", async () => {
    let title = "Blue";
    const end = deferred();
    const page = (cache: Cache, wait: Promise<void>): Promise<string> =>
      cache.fragment("page", [], async () => {
        const inner = await cache.fragment("title", [], () => title, { tags: ["t"] });
        await wait;
        return inner;
      });
    const early = page(a, end.promise);
    await settle();
    title = "Green";
    await b.invalidateTags(["t"]);
    const late = page(a, Promise.resolve());
    await settle();
    end.resolve();
    assert.equal(await early, "Blue");
    assert.equal(await late, "Green");
    assert.equal(await page(b, Promise.resolve()), "Green");
  });

  test("around something that could not be stored is not stored itself", async () => {
    let inner = 0;
    const page = (): Promise<string> =>
      a.fragment("page", [], () => a.fragment("part", [], (context) => (context.skip(), String(++inner))));
    await page();
    assert.equal(await page(), "2");
  });
});
