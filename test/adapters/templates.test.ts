/** Fragments in template languages: cached, invalidated from within, read together. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { createCache, memory, metaBackend, type Cache } from "everfresh";
import { fragments, honoFragment, liquidCacheTag } from "everfresh/templates";
import { Eta } from "eta";
import { raw } from "hono/html";
import { jsx } from "hono/jsx";
import { Liquid } from "liquidjs";
import { FakeMemcached } from "../support/fake-memcached.ts";

let cache: Cache;
let renders: string[];
beforeEach(() => {
  cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
  renders = [];
});
const rendered = (what: string): string => {
  renders.push(what);
  return what;
};

function engine(): Liquid {
  const liquid = new Liquid({ outputEscape: "escape" });
  liquid.registerTag("cache", liquidCacheTag(cache));
  liquid.registerFilter("rendered", rendered);
  return liquid;
}

describe("LiquidJS", () => {
  const song = '{% cache "1m", "song", song.id, tags: "songs" %}<b>{{ song.name | rendered }}</b>{% endcache %}';

  test("a block is rendered once for what it depends on, until its tag is invalidated", async () => {
    const liquid = engine();
    const show = (id: number, name: string): Promise<string> =>
      liquid.parseAndRender(song, { song: { id, name } }) as Promise<string>;
    assert.equal(await show(1, "Help & <more>"), "<b>Help &amp; &lt;more&gt;</b>");
    assert.equal(await show(1, "never seen"), "<b>Help &amp; &lt;more&gt;</b>");
    assert.equal(await show(2, "Yesterday"), "<b>Yesterday</b>");
    await cache.invalidateTags(["songs"]);
    assert.equal(await show(1, "Help again"), "<b>Help again</b>");
    assert.equal(renders.length, 3);
  });

  test("blocks within blocks hand their tags outward, and loops work inside", async () => {
    const liquid = engine();
    const page = `{% cache "1m", "list" %}{% for song in songs %}${song}{% endfor %}{% endcache %}`;
    const show = (...names: string[]): Promise<string> =>
      liquid.parseAndRender(page, { songs: names.map((name, id) => ({ id, name })) }) as Promise<string>;
    assert.equal(await show("a", "b"), "<b>a</b><b>b</b>");
    assert.equal(await show("c", "d"), "<b>a</b><b>b</b>");
    await cache.invalidateTags(["songs"]);
    assert.equal(await show("c", "d"), "<b>c</b><b>d</b>");
  });

  test("arguments that could be read as one another's make two fragments", async () => {
    const liquid = engine();
    const text = '{% cache "1m", "f", a, b %}{{ a }}/{{ b }}{% endcache %}';
    assert.equal(await liquid.parseAndRender(text, { a: "a:", b: "b" }), "a:/b");
    assert.equal(await liquid.parseAndRender(text, { a: "a", b: ":b" }), "a/:b");
  });

  test("a block without a name or without an end is refused when it is parsed", () => {
    assert.throws(() => engine().parse('{% cache "1m" %}{% endcache %}'), /time to live and a name/);
    assert.throws(() => engine().parse('{% cache "1m", "x" %}'), /no \{% endcache %\}/);
  });
});

test("Eta: the fragments of a list are read in one round trip, and only what is missing is rendered", async () => {
  const world = new FakeMemcached();
  cache = createCache({ backend: metaBackend(world.client()), namespace: "n" });
  const eta = new Eta();
  eta.loadTemplate("@item", "<li><%= it.text %></li>", { async: true });
  const page = `<ul><%~ await it.fragments.each("item", it.items, (item) => it.render(item), it.options) %></ul>`;
  const show = (items: readonly { id: number; text: string }[]): Promise<string> =>
    eta.renderStringAsync(page, {
      items,
      fragments: fragments(cache),
      options: { ttl: "1m", varyOn: (item: { id: number }) => [item.id], tags: ["items"] },
      render: (item: { text: string }) => eta.renderAsync("@item", { text: rendered(item.text) }),
    });
  const items = Array.from({ length: 30 }, (_, id) => ({ id, text: `item ${id}` }));
  await show(items.slice(0, 29));
  assert.equal(renders.length, 29);
  assert.match(await show(items), /^<ul><li>item 0<\/li>.*<li>item 29<\/li><\/ul>$/);
  assert.equal(renders.length, 30);

  world.hold();
  const showing = show(items);
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
  // 30 fragments, one tag and one namespace, all asked for before anything was answered.
  assert.equal(world.waiting().length, 32);
  world.release();
  await showing;
  assert.equal(renders.length, 30);
});

test("a list of fragments says what it takes where it is given something else", async () => {
  const list = fragments(cache);
  for (const [items, options] of [
    ["abc", { varyOn: () => [] }],
    [undefined, { varyOn: () => [] }],
    [["a"], undefined],
    [["a"], {}],
  ])
    await assert.rejects(
      list.each("item", items as never, () => "x", options as never),
      { code: "EF_OPTION", message: /each takes a name, a list, / },
    );
});

test("Hono's JSX: an asynchronous component whose children are rendered when they are missing", async () => {
  const Cached = honoFragment(cache);
  const show = async (name: string): Promise<string> => {
    const child = (): unknown => jsx("b", {}, rendered(name));
    const props = { name: "song", varyOn: [1], tags: ["songs"] };
    const html = await jsx("p", {}, jsx(Cached, props, child as never)).toString();
    return html.valueOf();
  };
  assert.equal(await show("Help & <more>"), "<p><b>Help &amp; &lt;more&gt;</b></p>");
  assert.equal(await show("never seen"), "<p><b>Help &amp; &lt;more&gt;</b></p>");
  await cache.invalidateTags(["songs"]);
  assert.equal(await show("Yesterday"), "<p><b>Yesterday</b></p>");
  assert.equal(renders.length, 2);
});

const item = (text: string): ReturnType<typeof jsx> => jsx("li", {}, text);

describe("Hono's JSX: a cached child is shown as it would be without the cache,", () => {
  const rows: readonly (readonly [string, () => unknown, string])[] = [
    ["a text", () => "<b> & '", "&#60;b&#62; &#38; &#39;"],
    ["HTML that was escaped", () => raw("<b>bold</b>"), "<b>bold</b>"],
    ["a list", () => [item("a"), item("<")], "<li>a</li><li>&lt;</li>"],
    ["nothing", () => [null, undefined, false], ""],
    ["a number", () => 7, "7"],
    ["an element that waits", () => jsx(async () => item("late"), {}), "<li>late</li>"],
    [
      "a fragment within",
      () => jsx(honoFragment(cache), { name: "inner" }, (() => item("in")) as never),
      "<li>in</li>",
    ],
  ];
  for (const [title, child, expected] of rows)
    test(title, async () => {
      const html = await jsx("p", {}, jsx(honoFragment(cache), { name: "outer" }, child as never)).toString();
      assert.equal(html.valueOf(), `<p>${expected}</p>`);
    });
});
