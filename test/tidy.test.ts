/** The shape of the tree, held like any other promise: floors, doors, the exports map, the table of errors. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { test } from "node:test";

/** Each folder's floor. A file imports from its own folder or from a lower floor, never upward, never sideways. */
const floors: Record<string, number> = {
  ".": 0,
  protocol: 1,
  connection: 2,
  store: 2,
  client: 3,
  server: 3,
  backend: 4,
  cache: 5,
  outbox: 6,
  http: 6,
  adapters: 7,
  testing: 7,
  cli: 8,
};

/** The files at the root of `src` that are vocabulary; `index.ts` there is the door of the cache. */
const vocabulary = new Set(["clock.ts", "duration.ts", "errors.ts", "events.ts", "option-names.ts", "signals.ts"]);

const root = process.cwd();
const src = join(root, "src");
const files = walk(src).filter((file) => file.endsWith(".ts"));

test("every folder under src has a floor", () => {
  const folders = readdirSync(src, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.deepEqual(
    folders.map((folder) => folder.name).filter((name) => floors[name] === undefined),
    [],
  );
});

test("the manual lists the floors as they are, and each has its folder", () => {
  const [, list = ""] = /```\n([^]*?)```/.exec(readFileSync(join(root, "docs/architecture.md"), "utf8")) ?? [];
  const listed = [...list.matchAll(/^ (\d) {2}(\w+(?: *\| *\w+)*) {2}/gm)].flatMap(([, floor, names = ""]) =>
    names.split("|").map((name) => [name.trim(), Number(floor)] as const),
  );
  assert.deepEqual(
    Object.fromEntries(listed),
    Object.fromEntries(Object.entries(floors).filter(([name]) => name !== ".")),
  );
  for (const [name] of listed) assert.ok(existsSync(join(src, name)), `there is no src/${name}`);
});

test("the root of src holds the vocabulary and the door of the cache, nothing else", () => {
  const stray = files.filter((file) => dirname(file) === src).map((file) => relative(src, file));
  assert.deepEqual(
    stray.filter((name) => !vocabulary.has(name) && name !== "index.ts"),
    [],
  );
});

test("imports look down, and enter other folders by their door", () => {
  const climbs: string[] = [];
  for (const file of files) {
    const from = folderOf(file);
    const isDoor = relative(src, file) === "index.ts";
    for (const target of imports(file)) {
      if (!target.startsWith(".")) {
        if (!target.startsWith("node:")) climbs.push(`${relative(root, file)} imports the package ${target}`);
        continue;
      }
      const path = resolve(dirname(file), target);
      const to = folderOf(path);
      if (to === from) continue;
      if (!isDoor && (floors[to] ?? 0) >= (floors[from] ?? 0))
        climbs.push(`${relative(root, file)} climbs to ${relative(root, path)}`);
      if (to !== "." && !path.endsWith(`${sep}index.ts`))
        climbs.push(`${relative(root, file)} enters ${to} past its door: ${relative(root, path)}`);
    }
  }
  assert.deepEqual(climbs, []);
});

test("only clock.ts asks for the time or for chance", () => {
  const asks =
    /\b(Date\.now|performance\.now|Math\.random|setTimeout|setInterval|new Date\(\)|randomBytes|randomUUID)\b/;
  const culprits = files.filter((file) => relative(src, file) !== "clock.ts" && asks.test(code(file)));
  assert.deepEqual(
    culprits.map((file) => relative(root, file)),
    [],
  );
});

test("every door of the exports map has its source", () => {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, { "everfresh-source": string } | string>;
  };
  const missing = Object.entries(exports).filter(
    ([, target]) => typeof target === "object" && !existsSync(join(root, target["everfresh-source"])),
  );
  assert.deepEqual(missing, []);
});

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

function folderOf(file: string): string {
  const path = relative(src, file).split(sep);
  return path.length > 1 ? (path[0] ?? ".") : ".";
}

/** The text of a file without its comments. */
function code(file: string): string {
  return readFileSync(file, "utf8").replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

function imports(file: string): string[] {
  return [...code(file).matchAll(/^\s*(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"/gm)].map((match) => match[1] ?? "");
}
