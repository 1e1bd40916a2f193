/** Pages with holes: kept once for everybody, filled for each visitor, and nobody's filling in anybody else's page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCache, memory } from "everfresh";
import { PageWithHoles, trustedHtml } from "everfresh/http";
import fc from "fast-check";

const page = new PageWithHoles(["name", "token"]);

test("a page is rendered once and filled for each visitor; what is kept has nothing of anybody", async () => {
  const cache = createCache({ backend: memory({ limitBytes: 4_000_000 }) });
  let renders = 0;
  const visit = async (name: string, token: string): Promise<string> => {
    const load = (): Promise<Buffer> => {
      renders++;
      return page.cut((holes) => `<p>Hello ${holes.name}</p><input value="${holes.token}">${holes.name}`);
    };
    const bytes = await cache.getOrSet("page", load, { shared: true });
    return page.open(bytes).fillIn({ name, token }).toString();
  };
  assert.equal(await visit("Ada", "t-1"), '<p>Hello Ada</p><input value="t-1">Ada');
  assert.equal(await visit("Bob", "t-2"), '<p>Hello Bob</p><input value="t-2">Bob');
  assert.equal(renders, 1);
  assert.doesNotMatch(String(await cache.get("page")), /Ada|Bob|t-[12]/);
});

test("what is filled in is escaped for HTML and for quoted attributes, unless it is said to be HTML", async () => {
  const bytes = await page.cut((holes) => `<p title="${holes.name}">${holes.token}</p>`);
  const filled = page.open(bytes).fillIn({ name: `"><script>'&`, token: trustedHtml("<b>bold</b>") });
  assert.equal(filled.toString(), '<p title="&quot;&gt;&lt;script&gt;&#39;&amp;"><b>bold</b></p>');
});

test("the bytes around the holes are those that were rendered, whatever is in them and in the holes", async () => {
  const text = fc.string({ unit: "grapheme", maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(text, fc.constantFrom("name", "token"))),
      text,
      text,
      text,
      async (parts, end, name, token) => {
        const bytes = await page.cut((holes) => parts.map(([before, hole]) => before + holes[hole]).join("") + end);
        const expected = parts.map(([before, hole]) => before + (hole === "name" ? name : token)).join("") + end;
        const filled = page.open(bytes).fillIn({ name: trustedHtml(name), token: trustedHtml(token) });
        assert.equal(filled.toString(), Buffer.from(expected).toString());
      },
    ),
  );
});

test("no text of a visitor is taken for a hole: the marker of one rendering means nothing in the next", async () => {
  let seen = "";
  await page.cut((holes) => (seen = holes.token));
  const bytes = await page.cut((holes) => `${seen}|${holes.name}`);
  assert.equal(page.open(bytes).fillIn({ name: seen, token: "secret" }).toString(), `${seen}|${seen}`);
});

test("a hole that nobody fills, or fills with no text, is refused by its name", async () => {
  const opened = page.open(await page.cut((holes) => `${holes.name}${holes.token}`));
  for (const token of [undefined, null, 5, {}, trustedHtml(5 as never)])
    assert.throws(() => opened.fillIn({ name: "", token } as never), { code: "EF_OPTION", message: /hole token/ });
  assert.throws(() => new PageWithHoles("token" as never), { code: "EF_OPTION" });
});

test("what is no rendering, and what is no cut page, is refused by what it is", async () => {
  await assert.rejects(page.cut(undefined as never), { code: "EF_OPTION", message: /it is a function/ });
  await assert.rejects(
    page.cut(() => 5 as never),
    { code: "EF_VALUE", message: /rendered as number; it is a text/ },
  );
  const jsx = await page.cut(
    (holes) => Object.assign(new String(`<b>${holes.name}</b>`), { isEscaped: true }) as never,
  );
  assert.equal(page.open(jsx).fillIn({ name: "x", token: "" }).toString(), "<b>x</b>");
  for (const wrong of [undefined, "text", Buffer.from("text")])
    assert.throws(() => page.open(wrong as never), { code: "EF_VALUE" });
  assert.throws(() => page.open(jsx).fillIn(undefined as never), { code: "EF_OPTION", message: /hole name/ });
});

test("a hole may be missing, and a page may have none", async () => {
  assert.equal(
    page
      .open(await page.cut(() => "plain"))
      .fillIn({ name: "x", token: "y" })
      .toString(),
    "plain",
  );
});

test("facts of the rendering are at hand when the page is filled", async () => {
  const dated = new PageWithHoles<"age", { readonly madeAt: number }>(["age"]);
  const opened = dated.open(await dated.cut((holes) => `${holes.age} s`, { madeAt: 1_000 }));
  assert.deepEqual(opened.facts, { madeAt: 1_000 });
  assert.equal(opened.fillIn({ age: String(4_000 - opened.facts.madeAt) }).toString(), "3000 s");
});

test("other bytes, and a page with a hole that nobody fills, are refused", async () => {
  const before = new PageWithHoles(["name", "gone"]);
  const old = await before.cut((holes) => holes.gone);
  for (const bytes of [old, Buffer.alloc(0), Buffer.from("<p>a page</p>")])
    assert.throws(() => page.open(bytes), { code: "EF_VALUE" });
});
