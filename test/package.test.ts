/** The package as its users get it: packed, unpacked into a scratch project, entered through every door. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";

const manifest = JSON.parse(readFileSync("package.json", "utf8")) as {
  exports: Record<string, unknown>;
  bin: Record<string, string>;
  dependencies?: Record<string, string>;
};
const doors = Object.keys(manifest.exports)
  .filter((door) => door !== "./package.json")
  .map((door) => `everfresh${door.slice(1)}`);

describe("the packed tarball", () => {
  const folder = mkdtempSync(join(tmpdir(), "everfresh-pack-"));
  const project = join(folder, "project");
  const installed = join(project, "node_modules", "everfresh");
  let files: string[] = [];

  before(() => {
    const npm = process.env["npm_execpath"];
    const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
    const [program, ...rest] = npm?.endsWith(".js") ? [process.execPath, npm, ...args] : ["npm", ...args];
    execFileSync(program ?? "npm", rest, { stdio: ["ignore", "pipe", "pipe"] });
    execFileSync("tar", ["-xzf", join(folder, `everfresh-${version()}.tgz`), "-C", folder]);
    mkdirSync(join(project, "node_modules"), { recursive: true });
    cpSync(join(folder, "package"), installed, { recursive: true });
    files = execFileSync("tar", ["-tzf", join(folder, `everfresh-${version()}.tgz`)], { encoding: "utf8" }).split("\n");
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test("has no run-time dependencies", () => assert.equal(manifest.dependencies, undefined));

  test("carries the library, its licence and nothing of the tests, the app or the scripts", () => {
    assert.ok(files.includes("package/dist/index.js") && files.includes("package/LICENSE"));
    assert.deepEqual(
      files.filter((file) => /^package\/(test|apps|bench|scripts|dist-test|docs)\//.test(file)),
      [],
    );
  });

  test("opens every door for ESM", () => {
    const lines = doors.map((door) => `if (Object.keys(await import(${JSON.stringify(door)})).length === 0) throw 1;`);
    writeFileSync(join(project, "esm.mjs"), lines.join("\n"));
    execFileSync(process.execPath, ["esm.mjs"], { cwd: project });
  });

  test("loads neither the embedded server nor TLS nor compression with the cache, which may not need them", () => {
    const heavy = new Set(["tls", "zlib", "worker_threads"].map((name) => `NativeModule ${name}`));
    writeFileSync(
      join(project, "light.mjs"),
      `await import("everfresh"); console.log(JSON.stringify(process.moduleLoadList));`,
    );
    const output = execFileSync(process.execPath, ["light.mjs"], { cwd: project, encoding: "utf8" });
    const loaded = JSON.parse(output) as string[];
    assert.ok(loaded.includes("NativeModule net"));
    assert.deepEqual(
      loaded.filter((name) => heavy.has(name)),
      [],
    );
  });

  test("opens every door for CommonJS, and both get the same instance", () => {
    const lines = doors.map((door) => `require(${JSON.stringify(door)});`);
    const same = `import("everfresh").then((esm) => { if (esm.EverfreshError !== require("everfresh").EverfreshError) process.exit(1); });`;
    writeFileSync(join(project, "cjs.cjs"), [...lines, same].join("\n"));
    execFileSync(process.execPath, ["--no-warnings", "cjs.cjs"], { cwd: project });
  });

  test("keeps its inner files closed", () => {
    writeFileSync(join(project, "inner.mjs"), `await import("everfresh/dist/errors.js");`);
    assert.throws(
      () => execFileSync(process.execPath, ["inner.mjs"], { cwd: project, stdio: "pipe" }),
      /ERR_PACKAGE_PATH/,
    );
  });

  // npm publish takes such a beginning away, and warns that the name was invalid.
  test("names its command as npm writes it", () =>
    assert.deepEqual(
      Object.values(manifest.bin).filter((file) => file.startsWith(".") || !files.includes(`package/${file}`)),
      [],
    ));

  test("says nothing of an array's buffer in its types, which TypeScript before 5.7 cannot read", () => {
    const declarations = readdirSync(join(installed, "dist"), { recursive: true, encoding: "utf8" });
    assert.deepEqual(
      declarations
        .filter((file) => file.endsWith(".d.ts"))
        .filter((file) =>
          /\b(?:\w+Array|Buffer|DataView)<Array/.test(readFileSync(join(installed, "dist", file), "utf8")),
        ),
      [],
    );
  });

  test("has types for every door, for ESM and for CommonJS users", () => {
    const lines = doors.map((door, index) => `import * as door${index} from "${door}";\nvoid door${index};`);
    writeFileSync(join(project, "types.mts"), lines.join("\n"));
    writeFileSync(join(project, "types.cts"), lines.join("\n"));
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: { module: "nodenext", target: "es2023", strict: true, noEmit: true, types: ["node"] },
        files: ["types.mts", "types.cts"],
      }),
    );
    mkdirSync(join(project, "node_modules", "@types"), { recursive: true });
    symlinkSync(resolve("node_modules/@types/node"), join(project, "node_modules", "@types", "node"));
    symlinkSync(resolve("node_modules/undici-types"), join(project, "node_modules", "undici-types"));
    execFileSync(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", project], { stdio: "pipe" });
  });
});

function version(): string {
  return (JSON.parse(readFileSync("package.json", "utf8")) as { version: string }).version;
}
