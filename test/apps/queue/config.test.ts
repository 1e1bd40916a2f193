/** The environment: what it may say, what holds where it says nothing, and the sentence for everything else. */
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { ConfigError, configFromEnv, databaseTarget, type DatabaseTarget } from "@everfresh/queue";

const secret = "0123456789abcdef0123456789abcdef";
const production = { NODE_ENV: "production", DATABASE_URL: "postgres://db.example/queue", SESSION_SECRET: secret };

test("an empty environment is a development machine: SQLite in a file that git ignores, port 8000, loopback", () => {
  const config = configFromEnv({});
  assert.deepEqual(
    [
      config.production,
      config.host,
      config.port,
      config.slowQueryMs,
      config.trustedProxies,
      config.logFormat,
      config.migrate,
    ],
    [false, "localhost", 8_000, 0, 0, "json", false],
  );
  assert.deepEqual([config.database.kind, config.database.shown], ["sqlite", ".everfresh/queue.sqlite"]);
  assert.notEqual(configFromEnv({}).sessionSecret, config.sessionSecret, "a new secret per start");
});

test("an empty variable counts as one that is not set", () => {
  const config = configFromEnv({ PORT: "", HOST: " ", DATABASE_URL: "", SESSION_SECRET: "", SLOW_QUERY_MS: "" });
  assert.deepEqual([config.port, config.host, config.database.kind], [8_000, "localhost", "sqlite"]);
});

test("production listens everywhere, and Heroku's one proxy is trusted", () => {
  const config = configFromEnv({ ...production, PORT: "5000", DYNO: "web.1" });
  assert.deepEqual([config.host, config.port, config.trustedProxies], ["::", 5_000, 1]);
});

test("production starts with nothing missing, and names everything that is", () => {
  assert.throws(
    () => configFromEnv({ NODE_ENV: "production" }),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /DATABASE_URL is missing/);
      assert.match(error.message, /SESSION_SECRET is missing/);
      return true;
    },
  );
  assert.equal(configFromEnv(production).sessionSecret, secret);
});

for (const [env, sentence] of [
  [{ PORT: "80a" }, /^PORT is "80a"; it must be a whole number from 0 to 65535\.$/],
  [{ PORT: "-1" }, /^PORT is/],
  [{ PORT: "65536" }, /^PORT is/],
  [{ PORT: "8000.5" }, /^PORT is/],
  [{ PORT: "1e3" }, /^PORT is/],
  [{ SLOW_QUERY_MS: "2s" }, /^SLOW_QUERY_MS is "2s"/],
  [{ WRITES_PER_MINUTE: "many" }, /^WRITES_PER_MINUTE is/],
  [{ QUEUE_MAX_ITEMS: "0" }, /^QUEUE_MAX_ITEMS is "0"; it must be a whole number from 1/],
  [{ DATABASE_POOL_SIZE: "0" }, /^DATABASE_POOL_SIZE is/],
  [{ TRUST_PROXY: "true" }, /^TRUST_PROXY is "true"/],
  [{ LOG_LEVEL: "loud" }, /^LOG_LEVEL is "loud"; it is one of trace, debug/],
  [{ LOG_FORMAT: "xml" }, /^LOG_FORMAT is/],
  [{ SESSION_SECRET: "short" }, /^SESSION_SECRET is too short: it needs at least 32 characters\.$/],
] as const)
  test(`${JSON.stringify(env)} stops the start with a sentence`, () =>
    assert.throws(() => configFromEnv(env), { name: "ConfigError", message: sentence }));

test("everything that is wrong is told at once", () =>
  assert.throws(() => configFromEnv({ PORT: "x", SLOW_QUERY_MS: "y" }), /PORT is[^]*SLOW_QUERY_MS is/));

const here = { production: false, heroku: false };

function target(url: string, env: NodeJS.ProcessEnv = {}, where = here): DatabaseTarget {
  const problems: string[] = [];
  const found = databaseTarget({ ...env, DATABASE_URL: url }, where, problems);
  assert.deepEqual(problems, []);
  return found;
}

function refusal(url: string, where = here): string {
  const problems: string[] = [];
  databaseTarget({ DATABASE_URL: url }, where, problems);
  assert.equal(problems.length, 1, url);
  return problems[0] ?? "";
}

for (const [url, file] of [
  ["sqlite:///queue.db", resolve("queue.db")],
  ["sqlite:///data/queue.db", resolve("data/queue.db")],
  ["sqlite:////var/lib/queue.db", "/var/lib/queue.db"],
  ["sqlite:///with%20space%3F.db", resolve("with space?.db")],
  ["SQLite:////upper/Case.db", "/upper/Case.db"],
  ["sqlite::memory:", ":memory:"],
  ["sqlite://:memory:", ":memory:"],
  ["sqlite:///:memory:", ":memory:"],
] as const)
  test(`${url} is the SQLite file ${file}`, () => {
    const found = target(url);
    assert.deepEqual(found.kind === "sqlite" && found.file, file);
  });

for (const [url, expected] of [
  [
    "postgres://u:p@db.example:6543/queue",
    { host: "db.example", port: 6543, user: "u", password: "p", database: "queue" },
  ],
  ["postgresql://db.example/queue", { host: "db.example", port: undefined, user: undefined, password: undefined }],
  ["POSTGRES://db.example/queue", { host: "db.example", database: "queue" }],
  ["postgres:///queue", { host: undefined, database: "queue" }],
  ["postgres://u:p%40%2F%23%3F%25@h/q", { password: "p@/#?%", user: "u" }],
  ["postgres://us%20er@h/na%20me", { user: "us er", database: "na me" }],
  ["postgres://%2Fvar%2Frun%2Fpostgresql/queue", { host: "/var/run/postgresql" }],
  ["postgres:///queue?host=/var/run/postgresql", { host: "/var/run/postgresql" }],
  ["postgres://[::1]:5432/queue", { host: "::1", port: 5432 }],
  ["postgres://h/q?sslmode=verify-full", { sslMode: "verify-full" }],
  ["postgres://h/q?sslmode=require&application_name=x", { sslMode: "require", applicationName: "x" }],
  ["postgres://h/q", { sslMode: "disable" }],
] as const)
  test(`${url} is read as it was meant`, () => {
    const found = target(url);
    for (const [name, value] of Object.entries(expected))
      assert.deepEqual(found[name as keyof DatabaseTarget], value, name);
  });

test("Heroku demands TLS, so there it is the default, and PGSSLMODE counts where the URL says nothing", () => {
  const heroku = { production: true, heroku: true };
  assert.deepEqual(target("postgres://h/q", {}, heroku), { ...target("postgres://h/q"), sslMode: "require" });
  assert.deepEqual(target("postgres://h/q", { PGSSLMODE: "verify-full" }, heroku).kind, "postgres");
  const found = target("postgres://h/q?sslmode=verify-ca", { PGSSLMODE: "verify-full" }, heroku);
  assert.equal(found.kind === "postgres" && found.sslMode, "verify-ca");
  // The word of `pg` itself, which `everfresh outbox` has to be given there.
  const unchecked = target("postgres://h/q", { PGSSLMODE: "no-verify" }, heroku);
  assert.equal(unchecked.kind === "postgres" && unchecked.sslMode, "no-verify");
});

test("a variable of PostgreSQL's that is wrong is named, and not taken for the URL's", () => {
  for (const [name, value] of [
    ["PGSSLMODE", "prefer"],
    ["PGSSLROOTCERT", "/no/such/file"],
  ] as const) {
    const env = { DATABASE_URL: "postgres://h/q", [name]: value };
    assert.throws(() => configFromEnv(env), { name: "ConfigError", message: new RegExp(`, and ${name} `) });
  }
});

for (const [url, sentence] of [
  ["nonsense", /is not a URL\. Write postgres:/],
  ["nope://h/q", /begins with nope: which is not known/],
  ["mysql://h/q", /begins with mysql: which is not known/],
  ["postgres://localhost", /names no database: write postgres:\/\/host\/name/],
  ["postgres://localhost/", /names no database/],
  ["postgres://h:p/q", /cannot be read as a URL.*percent-encoded/],
  ["postgres://h:99999/q", /cannot be read as a URL/],
  ["postgres://u:se#cret@h/q", /percent-encoded/],
  ["postgres://u:12#cret@h/q", /percent-encoded/],
  ["postgres://u:12?cret@h/q", /percent-encoded/],
  ["postgres://u:1/cret@h/q", /percent-encoded/],
  ["postgres://u:%zzcret@h/q", /% that is not followed by two hexadecimal digits/],
  ["postgres://h/q?sslmode=prefer", /sslmode that is not one of disable, require, verify-ca, verify-full/],
  ["postgres://h/q?sslmode=require&sslmode=disable", /has the parameter sslmode twice/],
  ["postgres://h/q?timeout=20", /has a parameter that is not known/],
  ["postgres://h/q?sslmode=verify-ca&sslrootcert=/no/such/file", /sslrootcert that cannot be read/],
  ["sqlite://", /three slashes for a relative path, by four for an absolute/],
  ["sqlite:queue.db", /three slashes/],
  ["sqlite://localhost//var/queue.db", /with a host name/],
  ["sqlite:///", /without the name of a file/],
  ["sqlite:////var/lib/", /without the name of a file/],
  ["sqlite:///queue.db?timeout=20", /with parameters, of which there are none/],
] as const)
  test(`${url} is refused with a sentence that does not repeat it`, () => {
    const told = refusal(url);
    assert.match(told, /^DATABASE_URL /);
    assert.match(told, sentence);
    assert.doesNotMatch(told, /cret/);
  });

test("SQLite on a dyno is refused: its disk does not last", () => {
  assert.match(refusal("sqlite:////app/queue.db", { production: true, heroku: true }), /add heroku-postgresql/);
});

test("what may be shown of a database holds neither user nor password", () => {
  assert.equal(target("postgres://someone:secret@db.example:5432/queue").shown, "database queue on db.example:5432");
});
