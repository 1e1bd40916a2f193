/** The files that deploy the queue app say things about the rest of the project; here they are held to it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";

describe("the Procfile", () => {
  const lines = readFileSync("Procfile", "utf8").trim().split("\n");

  test("has a web process and a release phase that migrates", () =>
    assert.deepEqual(
      lines.map((line) => line.split(":")[0]),
      ["web", "release"],
    ));

  test("runs files that the build makes, on Node itself, so that signals reach the app", () => {
    for (const line of lines) {
      const [, program, file] = /^\w+: (\S+) (\S+)$/.exec(line) ?? [];
      assert.equal(program, "node");
      assert.ok(file !== undefined && existsSync(file), `${file} does not exist after a build`);
    }
  });
});

describe("app.json", () => {
  const app = JSON.parse(readFileSync("app.json", "utf8")) as {
    name: string;
    addons: string[];
    env: Record<string, { description: string; value?: string; generator?: string }>;
    formation: Record<string, unknown>;
  };

  test("uses only the keys of Heroku's schema", () => {
    const about = ["name", "description", "keywords", "website", "repository", "logo", "success_url"];
    const what = ["scripts", "env", "addons", "buildpacks", "formation", "environments", "image", "stack"];
    const known = new Set([...about, ...what]);
    assert.deepEqual(
      Object.keys(app).filter((key) => !known.has(key)),
      [],
    );
    assert.ok(app.name.length <= 30);
  });

  test("brings a database and a cache, so that nothing lives on a disk that a restart empties", () => {
    assert.ok(app.addons.some((addon) => addon.startsWith("heroku-postgresql")));
    assert.ok(app.addons.some((addon) => addon.startsWith("memcachier")));
  });

  test("contains no secret: they are generated", () => {
    for (const [name, { value, generator }] of Object.entries(app.env))
      if (/SECRET|PASSWORD|TOKEN/.test(name)) assert.deepEqual([value, generator], [undefined, "secret"]);
  });

  test("has the add-ons and the secrets that the steps of the manual have", () => {
    const steps = readFileSync("docs/from-the-article.md", "utf8");
    for (const addon of app.addons) assert.ok(steps.includes(`heroku addons:create ${addon}`), addon);
    for (const [name, { generator }] of Object.entries(app.env))
      if (generator === "secret") assert.match(steps, new RegExp(`heroku config:set .*${name}=`));
  });

  test("sets only variables that the manual lists", () => {
    const manual = readFileSync("docs/configuration.md", "utf8");
    for (const name of Object.keys(app.env)) assert.match(manual, new RegExp(`^\\| \`${name}\` \\|`, "m"));
  });
});

test("the Dockerfile and compose.yaml start the files that the Procfile starts", () => {
  const docker = readFileSync("Dockerfile", "utf8");
  const compose = readFileSync("compose.yaml", "utf8");
  assert.match(docker, /CMD \["node", "apps\/queue\/dist\/src\/main\.js"\]/);
  assert.match(compose, /command: \["node", "apps\/queue\/dist\/src\/migrate\.js"\]/);
  assert.equal(compose.match(/^ {2}memcached-\d:/gm)?.length, 3);
});
