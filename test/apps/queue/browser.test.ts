/** The page in a real browser, with everything that a person does to it. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { BrowserContextOptions, Page } from "playwright-core";
import { accessibilityFindings, testBrowser, type Watched } from "../../support/browser.ts";
import { deferred } from "../../support/deferred.ts";
import { needs } from "../../support/programs.ts";
import { testApp, type Different, type TestApp } from "../../support/queue-app.ts";
import { testDatabases } from "../../support/queue-databases.ts";

const hostile = "<img src=x onerror=alert(1)>";
const [sqlite] = testDatabases();
if (sqlite === undefined) throw new Error("no databases");
const databases = sqlite;

describe("the page in a browser", needs("chromium"), () => {
  const browse = testBrowser();

  async function visit(
    t: TestContext,
    options: BrowserContextOptions = {},
    different: Different = {},
  ): Promise<Watched & TestApp> {
    const made = await testApp(t, databases, different);
    const url = await made.app.listen({ host: "127.0.0.1", port: 0 });
    const watched = await browse(t, options);
    await watched.page.goto(url);
    return { ...made, ...watched };
  }

  test("Enter adds: the item appears at the end without a reload, and the field is ready for the next", async (t) => {
    const { page, complaints } = await visit(t);
    await page.evaluate("globalThis.sameDocument = true");
    await page.getByLabel("Add to the back").fill("milk");
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Added “milk”. It is number 1." }).waitFor();
    await page.keyboard.type("bread");
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Added “bread”. It is number 2." }).waitFor();
    assert.deepEqual(await items(page), ["milk", "bread"]);
    assert.equal(await page.getByLabel("Add to the back").inputValue(), "");
    assert.equal(await page.title(), "The queue (2 items)");
    assert.equal(await page.evaluate("globalThis.sameDocument"), true);
    await page.reload();
    assert.deepEqual(await items(page), ["milk", "bread"]);
    assert.deepEqual(complaints, []);
  });

  test("the button removes the front item without a reload, says which it was, and goes with the last", async (t) => {
    const { page, visitor, complaints } = await visit(t);
    for (const text of ["milk", "bread"]) await visitor().add(text);
    await page.reload();
    await page.evaluate("globalThis.sameDocument = true");
    await page.getByRole("button", { name: "Remove front item" }).click();
    await page.getByRole("status").filter({ hasText: "Removed “milk”." }).waitFor();
    assert.deepEqual(await items(page), ["bread"]);
    await page.getByRole("button", { name: "Remove front item" }).click();
    await page.getByText("The queue is empty.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Remove front item" }).isVisible(), false);
    assert.equal(await page.evaluate("document.activeElement.id"), "text", "the focus is not lost with the button");
    assert.equal(await page.evaluate("globalThis.sameDocument"), true);
    assert.deepEqual(complaints, []);
  });

  test("removing what somebody else has taken already shows what there is now, and says so", async (t) => {
    const { page, visitor } = await visit(t);
    await visitor().add("only");
    await page.reload();
    await visitor().remove();
    await page.getByRole("button", { name: "Remove front item" }).click();
    await page.getByRole("status").filter({ hasText: "The queue is empty" }).waitFor();
    assert.deepEqual(await items(page), []);
  });

  for (const javaScriptEnabled of [true, false])
    test(`hostile text is text, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async (t) => {
      const { page, complaints } = await visit(t, { javaScriptEnabled });
      for (const text of [hostile, "</li><script>alert(1)</script>", `"'><svg onload=alert(1)>`]) {
        await page.getByLabel("Add to the back").fill(text);
        await page.keyboard.press("Enter");
        await page.locator("bdi", { hasText: text }).waitFor();
      }
      await page.getByRole("button", { name: "Remove front item" }).click();
      await page
        .getByRole("status")
        .filter({ hasText: `Removed “${hostile}”` })
        .waitFor();
      await page.getByLabel("Add to the back").fill(`${hostile}${"x".repeat(200)}`);
      await page.keyboard.press("Enter");
      await page.locator("#text-error", { hasText: "200 is the most" }).waitFor();
      assert.equal(await page.locator("img, li svg, li script").count(), 0);
      assert.deepEqual(complaints, []);
    });

  test("without JavaScript everything works by forms: add, remove, and a refusal that keeps the text", async (t) => {
    const { page, complaints } = await visit(t, { javaScriptEnabled: false });
    await page.getByLabel("Add to the back").fill("milk");
    await page.getByRole("button", { name: "Add" }).click();
    await page.getByRole("status").filter({ hasText: "Added “milk”." }).waitFor();
    assert.deepEqual(await items(page), ["milk"]);
    assert.match(page.url(), /\/#back$/);
    const long = "y".repeat(201);
    await page.getByLabel("Add to the back").fill(long);
    await page.keyboard.press("Enter");
    await page.locator("#text-error", { hasText: "201 characters long" }).waitFor();
    assert.equal(await page.getByLabel("Add to the back").inputValue(), long);
    await page.goto(new URL("/", page.url()).href);
    await page.getByRole("button", { name: "Remove front item" }).click();
    await page.getByRole("status").filter({ hasText: "Removed “milk”." }).waitFor();
    assert.deepEqual(await items(page), []);
    assert.deepEqual(complaints, []);
  });

  test("however often Enter and the buttons are pressed, one item is added and one is removed", async (t) => {
    const { page, visitor } = await visit(t, {}, { config: { slowQueryMs: 150 } });
    for (const text of ["a", "b", "c"]) await visitor().add(text);
    await page.reload();
    await page.getByLabel("Add to the back").fill("once");
    await page.evaluate(`(() => {
      const form = document.querySelector('[data-form="add"]');
      const button = form.querySelector("button");
      button.click(); button.click(); form.requestSubmit();
    })()`);
    await page.getByRole("status").filter({ hasText: "Added “once”" }).waitFor();
    await page.evaluate(`(() => {
      const button = document.querySelector('[data-form="remove"] button');
      button.click(); button.click(); button.click();
    })()`);
    await page.getByRole("status").filter({ hasText: "Removed “a”." }).waitFor();
    assert.deepEqual(await items(page), ["b", "c", "once"]);
    assert.deepEqual(texts(await visitor().look()), ["b", "c", "once"]);
  });

  test("an item that is being added is shown as such at once, and what is typed meanwhile stays", async (t) => {
    const { page } = await visit(t, {}, { config: { slowQueryMs: 400 } });
    await page.getByLabel("Add to the back").fill("slow");
    await page.keyboard.press("Enter");
    await page.locator("li.waiting", { hasText: "slow" }).waitFor();
    await page.keyboard.type("next");
    await page.getByRole("status").filter({ hasText: "Added “slow”" }).waitFor();
    assert.equal(await page.locator("li.waiting").count(), 0);
    assert.equal(await page.getByLabel("Add to the back").inputValue(), "next");
  });

  test("the order after adds by several people is the queue's, not that of the clicks", async (t) => {
    const { page, visitor } = await visit(t);
    await visitor().add("theirs, first");
    await page.getByLabel("Add to the back").fill("mine");
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Added “mine”. It is number 2." }).waitFor();
    assert.deepEqual(await items(page), ["theirs, first", "mine"]);
  });

  test("a refusal shows at the field, keeps the text and the focus, and goes when one types on", async (t) => {
    const { page, complaints } = await visit(t);
    const field = page.getByLabel("Add to the back");
    await field.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "Write something first." }).waitFor();
    await field.fill("z".repeat(201));
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "201 characters long" }).waitFor();
    assert.equal(await field.inputValue(), "z".repeat(201));
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    assert.equal(await page.evaluate("document.activeElement.id"), "text");
    await page.keyboard.press("Backspace");
    assert.equal(await field.getAttribute("aria-invalid"), null);
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Added" }).waitFor();
    assert.deepEqual(complaints, []);
  });

  test("when the server is gone the text is kept and the reason told", async (t) => {
    const { page, app } = await visit(t);
    await page.getByLabel("Add to the back").fill("kept");
    await app.close();
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "The server cannot be reached" }).waitFor();
    assert.equal(await page.getByLabel("Add to the back").inputValue(), "kept");
  });

  test("what could not be added while something else was typed is told with the reason", async (t) => {
    const { page } = await visit(t);
    const field = page.getByLabel("Add to the back");
    const typedOn = deferred();
    await page.route("**/add", async (route) => {
      await typedOn.promise;
      await route.abort();
    });
    await field.fill("sent");
    await page.keyboard.press("Enter");
    await field.fill("next");
    typedOn.resolve();
    await page.getByRole("alert").filter({ hasText: "What you sent was: “sent”." }).waitFor();
    assert.equal(await field.inputValue(), "next");
  });

  test("an item that could not be removed does not look as if it left", async (t) => {
    const { page, app, visitor } = await visit(t);
    await visitor().add("stays");
    await page.reload();
    await app.close();
    await page.getByRole("button", { name: "Remove front item" }).click();
    await page.getByRole("status").filter({ hasText: "Look whether that was saved" }).waitFor();
    assert.equal(await page.locator("li.leaving").count(), 0);
  });

  test("a token that has expired, as after a restart, is renewed without a word", async (t) => {
    const { page, complaints } = await visit(t);
    await page.context().clearCookies();
    await page.getByLabel("Add to the back").fill("after the restart");
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Added “after the restart”" }).waitFor();
    assert.deepEqual(complaints, []);
  });

  test("on a phone nothing is wider than the screen, and the form is in reach however long the queue", async (t) => {
    const { page, visitor } = await visit(t, { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
    const person = visitor();
    await person.add("W".repeat(200));
    for (let at = 0; at < 12; at += 1) await person.add(`item ${at} ${hostile}`);
    await page.reload();
    assert.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
    await page.getByText("W".repeat(200)).scrollIntoViewIfNeeded();
    const box = await page.getByRole("button", { name: "Add" }).boundingBox();
    assert.ok(box !== null && box.y + box.height <= 640 && box.height >= 44, JSON.stringify(box));
    await page.getByLabel("Add to the back").fill("by thumb");
    await page.getByRole("button", { name: "Add" }).tap();
    await page.getByRole("status").filter({ hasText: "Added “by thumb”. It is number 14." }).waitFor();
    assert.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
  });

  test("everything can be done by keyboard, in the order of the page, with the focus in sight", async (t) => {
    const { page, visitor } = await visit(t);
    await visitor().add("milk");
    await page.reload();
    const stops: unknown[] = [];
    for (let at = 0; at < 5; at += 1) {
      await page.keyboard.press("Tab");
      stops.push(await page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"));
      const style = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
      assert.equal(style, "solid", String(stops.at(-1)));
    }
    assert.deepEqual(stops, ["Skip to the form", "Look again", "Remove front item", "text", "Add"]);
  });

  for (const colorScheme of ["light", "dark"] as const)
    for (const source of ["short", "long"] as const)
      test(`labels, headings, landmarks and contrast hold in ${colorScheme}, with a ${source} queue`, async (t) => {
        const { page, visitor } = await visit(t, { colorScheme });
        const person = visitor();
        for (let at = 0; at < (source === "short" ? 2 : 103); at += 1) await person.add(`item ${at}`);
        await page.reload();
        await page.getByLabel("Add to the back").fill("x".repeat(201));
        await page.keyboard.press("Enter");
        await page.getByRole("alert").filter({ hasText: "201" }).waitFor();
        assert.deepEqual(await accessibilityFindings(page), []);
        if (source === "long") assert.match((await page.locator(".gap").textContent()) ?? "", /3 more in between/);
      });

  test("the page of an address that does not exist is accessible as well", async (t) => {
    const { page, complaints } = await visit(t);
    await page.goto(new URL("/nothing", page.url()).href);
    assert.equal(await page.getByRole("heading").textContent(), "Not found");
    assert.deepEqual(await accessibilityFindings(page), []);
    assert.deepEqual(complaints, []);
  });
});

async function items(page: Page): Promise<string[]> {
  return await page.locator("li bdi").allTextContents();
}

function texts(answer: { readonly view: { readonly front: readonly { readonly text: string }[] } }): string[] {
  return answer.view.front.map((item) => item.text);
}
