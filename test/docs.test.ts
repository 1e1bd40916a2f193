/** The manual, held to the code that it speaks of. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

const manuals = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...markdown("docs")];

test("every row of the article's bugs names a test that exists", () => {
  const rows = [...readFileSync("docs/article-bugs.md", "utf8").matchAll(/^\| (\d+) \|(.*)\|$/gm)];
  assert.deepEqual(
    rows.map(([, number]) => Number(number)),
    Array.from({ length: 54 }, (_, index) => index + 1),
  );
  const missing: string[] = [];
  for (const [, number, row = ""] of rows) {
    const named = [...row.matchAll(/`(test\/[^`]+)`: "([^"]+)"/g)];
    if (named.length === 0) missing.push(`row ${number} names no test`);
    for (const [, file = "", name = ""] of named)
      if (!existsSync(file) || !readFileSync(file, "utf8").includes(name))
        missing.push(`row ${number}: ${file}: ${name}`);
  }
  assert.deepEqual(missing, []);
});

test("every variable that the app and the cache read is in the table of the configuration", () => {
  const sources = [...typescript("apps/queue/src"), "src/cache/from-env.ts"].map((file) => readFileSync(file, "utf8"));
  const reads = /(?:env\[|reader\.(?:text|whole|oneOf)\(|text\(env, )"([A-Z][A-Z_]+)"/g;
  const names = new Set(sources.flatMap((source) => [...source.matchAll(reads)].map(([, name = ""]) => name)));
  const manual = readFileSync("docs/configuration.md", "utf8");
  assert.ok(names.size > 10);
  assert.deepEqual(
    // DYNO tells that this is Heroku; nobody sets it.
    [...names].filter((name) => name !== "DYNO" && !manual.includes(`\`${name}\``)),
    [],
  );
});

test("every option of the cache and of pages is in the table of its page", () => {
  const places = [
    ["src/cache/options.ts", "ReadOptions", "docs/cache.md"],
    ["src/cache/options.ts", "CommonOptions", "docs/cache.md"],
    ["src/cache/create-cache.ts", "CacheOptions", "docs/cache.md"],
    ["src/http/options.ts", "PageOptions", "docs/pages.md"],
  ] as const;
  const missing = places.flatMap(([file, type, manual]) => {
    const source = readFileSync(file, "utf8");
    const [, names = ""] = new RegExp(`Record<keyof ${type}, true> = \\{([^}]*)\\}`).exec(source) ?? [];
    const rows = readFileSync(manual, "utf8")
      .split("\n")
      .filter((line) => line.startsWith("| `"))
      .map((line) => line.split("|", 2)[1] ?? "");
    const options = [...names.matchAll(/^ {2}(\w+): true,$/gm)].map(([, name = ""]) => name);
    assert.ok(options.length > 5, `${file} has no names of ${type}`);
    return options
      .filter((name) => !rows.some((row) => row.includes(`\`${name}\``)))
      .map((name) => `${manual}: ${name}`);
  });
  // Time and chance are for tests.
  assert.deepEqual(missing, ["docs/cache.md: clock", "docs/cache.md: random"]);
});

test("links in the manual lead to files that exist", () => {
  const broken = manuals.flatMap((manual) =>
    [...readFileSync(manual, "utf8").matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)]
      .map(([, link = ""]) => join(dirname(manual), link))
      .filter((file) => !existsSync(file))
      .map((file) => `${manual} links to ${file}`),
  );
  assert.deepEqual(broken, []);
});

test("the manual names only scripts of package.json", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
  const unknown = manuals.flatMap((manual) =>
    [...readFileSync(manual, "utf8").matchAll(/\bnpm run ([\w:]+)/g)]
      .map(([, script = ""]) => script)
      .filter((script) => scripts[script] === undefined)
      .map((script) => `${manual}: npm run ${script}`),
  );
  assert.deepEqual(unknown, []);
});

function markdown(folder: string): string[] {
  return walk(folder).filter((file) => file.endsWith(".md"));
}

function typescript(folder: string): string[] {
  return walk(folder).filter((file) => file.endsWith(".ts"));
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}
