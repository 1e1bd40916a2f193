/** Only code that ran is shown: every example is a program that proves its point, and the README's code is part of one. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const examples = readdirSync("examples").filter((file) => file.endsWith(".ts"));

describe("the example", { concurrency: 2 }, () => {
  for (const example of examples)
    test(`${example} runs, proves its point and ends by itself`, async () => {
      await run(process.execPath, [`dist-test/examples/${example.replace(/\.ts$/, ".js")}`], { timeout: 60_000 });
    });
});

describe("the README", () => {
  const readme = readFileSync("README.md", "utf8");
  const sources = examples.map((example) => plain(readFileSync(`examples/${example}`, "utf8")));

  test("opens with the two commands", () => {
    const opening = readme.split("\n").slice(0, 25).join("\n");
    assert.ok(opening.includes("npm start") && opening.includes("npm test"));
  });

  for (const [, block = ""] of readme.matchAll(/```ts\n([\s\S]*?)```/g))
    test(`shows code that is part of an example: ${block.split("\n")[0]}`, () =>
      assert.ok(
        sources.some((source) => source.includes(plain(block))),
        block,
      ));

  test("links to files that exist", () => {
    for (const [, link = ""] of readme.matchAll(/\]\((?!https?:|#)([^)#]+)/g))
      assert.ok(readFileSync(link) !== undefined);
  });
});

/** Code without its comments and layout. */
function plain(code: string): string {
  return code
    .replaceAll(/\/\/.*$/gm, "")
    .replaceAll(/\s+/g, " ")
    .trim();
}
