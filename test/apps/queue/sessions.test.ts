/** Two people in two browsers, at two processes in turn: one page from one cache, and to each their own. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { Page, Response } from "playwright-core";
import { testBrowser } from "../../support/browser.ts";
import { needs } from "../../support/programs.ts";
import { testFleet } from "../../support/queue-app.ts";
import { testDatabases } from "../../support/queue-databases.ts";

const [sqlite] = testDatabases();
if (sqlite === undefined) throw new Error("no databases");
const databases = sqlite;

/** One of the two, with everything that is only theirs. */
interface Person {
  readonly name: string;
  readonly page: Page;
  readonly complaints: readonly string[];
  /** Opens the page at the other process than the last time: both have the same cookies, as they would behind one name. */
  readonly visit: () => Promise<Response | null>;
}

describe("two sessions in browsers", needs("chromium"), () => {
  const browse = testBrowser();

  async function two(t: TestContext, javaScriptEnabled: boolean): Promise<[Person, Person]> {
    const { apps } = await testFleet(t, databases);
    const urls = await Promise.all(apps.map(({ app }) => app.listen({ host: "127.0.0.1", port: 0 })));
    const open = async (name: string): Promise<Person> => {
      const { page, complaints } = await browse(t, { javaScriptEnabled });
      let visits = 0;
      const visit = (): Promise<Response | null> => page.goto(urls[visits++ % urls.length] ?? "");
      await visit();
      return { name, page, complaints, visit };
    };
    return [await open("Ann"), await open("Bob")];
  }

  for (const javaScript of [true, false])
    describe(javaScript ? "with JavaScript" : "without JavaScript", () => {
      test("each sees at once what the other did, told by their own notices only, on a page from the cache", async (t) => {
        const [ann, bob] = await two(t, javaScript);
        const expected: string[] = [];
        for (let round = 0; round < 6; round += 1) {
          const [actor, other] = round % 2 === 0 ? [ann, bob] : [bob, ann];
          if (round === 3) {
            await actor.page.getByRole("button", { name: "Remove front item" }).click();
            await notice(actor, `Removed “${expected.shift()}”.`);
          } else {
            const text = `${actor.name}, round ${round}`;
            expected.push(text);
            await actor.page.getByLabel("Add to the back").fill(text);
            await actor.page.keyboard.press("Enter");
            await notice(actor, `Added “${text}”.`);
          }
          const seen = await other.visit();
          assert.equal(seen?.headers()["cache-status"], "everfresh; hit");
          assert.deepEqual(await items(other.page), expected);
          assert.equal(await other.page.getByRole("status").textContent(), "", "the notice is not theirs");
          assert.deepEqual(await items(actor.page), expected);
        }
        assert.deepEqual([...ann.complaints, ...bob.complaints], []);
      });

      test("no byte of one is in the page of the other", async (t) => {
        const [ann, bob] = await two(t, javaScript);
        const secrets = new Map<Person, string[]>([
          [ann, []],
          [bob, []],
        ]);
        for (const person of [ann, bob, bob, ann]) {
          await person.page.getByLabel("Add to the back").fill(`typed by ${person.name} ${"x".repeat(200)}`);
          await person.page.keyboard.press("Enter");
          await person.page.locator("#text-error", { hasText: "200 is the most" }).waitFor();
          secrets.get(person)?.push(`typed by ${person.name}`, await tokenOf(person), ...(await cookiesOf(person)));
          for (const [other, theirs] of secrets) {
            if (other === person) continue;
            const body = await bytesOf(await person.visit());
            for (const secret of theirs) assert.ok(!body.includes(secret), secret);
          }
        }
        assert.ok(
          [...secrets.values()].every((theirs) => theirs.length >= 6 && theirs.every((each) => each.length > 8)),
        );
      });

      test("a form with the token of the other is refused and changes nothing; with one's own it is taken", async (t) => {
        const [ann, bob] = await two(t, javaScript);
        const post = async (csrf: string, text: string): Promise<number> => {
          const url = new URL("/add", ann.page.url()).href;
          return (await ann.page.request.post(url, { form: { csrf, text }, maxRedirects: 0 })).status();
        };
        assert.notEqual(await tokenOf(ann), await tokenOf(bob));
        assert.equal(await post(await tokenOf(bob), "forged"), 403);
        assert.equal(await post(await tokenOf(ann), "her own"), 303);
        for (const { page, visit } of [ann, bob]) {
          await visit();
          assert.deepEqual(await items(page), ["her own"]);
        }
      });
    });
});

async function notice({ page }: Person, text: string): Promise<void> {
  await page.getByRole("status").filter({ hasText: text }).waitFor();
}

async function items(page: Page): Promise<string[]> {
  return await page.locator("li bdi").allTextContents();
}

async function tokenOf({ page }: Person): Promise<string> {
  return await page.locator('[data-form="add"] input[name="csrf"]').inputValue();
}

async function cookiesOf({ page }: Person): Promise<string[]> {
  return (await page.context().cookies()).map(({ value }) => value);
}

async function bytesOf(response: Response | null): Promise<string> {
  return (await response?.text()) ?? "";
}
