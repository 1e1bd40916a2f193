/** Two users, a stranger, all kinds of routes, random order: no byte of one reaches another. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import { createCache, memory } from "everfresh";
import { ask, sites, type Route, type Site } from "./sites.ts";

const ttl = "1m" as const;
const html = { "content-type": "text/html" };
const secretOf = (user: string | undefined): string => (user === undefined ? "nobody" : `secret-of-${user}`);

/** Routes as people write them: right, careless and wrong. Each shows the user's secret somewhere, or nothing of anybody. */
const routes: readonly Route[] = [
  { path: "/public", options: { ttl }, handler: () => ({ body: "for all" }) },
  { path: "/careless", options: { ttl }, handler: (asked) => ({ body: secretOf(asked.user()) }) },
  {
    path: "/careless-ignoring",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ body: secretOf(asked.user()) }),
  },
  {
    path: "/careless-cookie",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ body: secretOf(/sid=(\w+)/.exec(asked.header("cookie") ?? "")?.[1]) }),
  },
  {
    path: "/careless-key",
    options: { ttl, cookies: ["lang"] },
    handler: (asked) => ({ body: `${asked.header("cookie") ?? ""} ${secretOf(asked.user())}` }),
  },
  { path: "/account", options: { ttl, perUser: true }, handler: (asked) => ({ body: secretOf(asked.user()) }) },
  {
    path: "/login",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ headers: { "set-cookie": `sid=${asked.header("x-try") ?? ""}` }, body: "welcome" }),
  },
  {
    path: "/token",
    options: { ttl, cookies: "ignore" },
    handler: (asked) => ({ headers: html, body: `<input name="_csrf" value="${asked.header("x-try") ?? ""}">` }),
  },
  {
    path: "/varying",
    options: { ttl },
    handler: (asked) => ({ headers: { vary: "X-Try" }, body: asked.header("x-try") ?? "none" }),
  },
  {
    path: "/api",
    options: { ttl },
    handler: (asked) => ({ body: `${asked.header("authorization") ?? ""}${asked.header("x-api-key") ?? ""}` }),
  },
  {
    path: "/failing",
    options: { ttl },
    handler: (asked) => ({ status: 500, body: `failed for ${asked.header("x-try") ?? ""}` }),
  },
  {
    path: "/streamed",
    options: { ttl },
    handler: (asked) => ({ body: streamed(secretOf(asked.user())) }),
  },
];

async function* streamed(text: string): AsyncIterable<string> {
  for (const letter of text) yield letter;
}

const users = ["ann", "bob", undefined] as const;
const visit = fc.record({
  second: fc.boolean(),
  user: fc.constantFrom(...users),
  extras: fc.subarray(["authorization", "x-api-key", "x-try", "accept-encoding", "lang", "no-cookie"] as const),
  method: fc.constantFrom("GET", "GET", "GET", "HEAD"),
});

/** Two routes at a time, so that users meet on them. */
const run = fc.record({
  paths: fc.tuple(...[1, 2].map(() => fc.constantFrom(...routes.map(({ path }) => path)))),
  visits: fc.array(visit, { minLength: 6, maxLength: 16 }),
});
type Visit = typeof visit extends fc.Arbitrary<infer T> ? T : never;

const opened: Site[] = [];
after(async () => {
  for (const site of opened) await site.close();
});

for (const framework of Object.keys(sites) as (keyof typeof sites)[])
  describe(`${framework}:`, () => {
    test("whatever one user has seen, another one never does", async () => {
      const cache = createCache({ backend: memory({ limitBytes: 8_000_000 }) });
      const site = await sites[framework](cache, routes);
      opened.push(site);
      let hits = 0;
      const property = fc.asyncProperty(run, async ({ paths, visits }) => {
        await cache.clear();
        // The first half at once, so that they wait for one another's renderings as well, then all of them.
        const come = async ({ second, user, extras, method }: Visit): Promise<void> => {
          const mine = user ?? "stranger";
          const headers: Record<string, string> = {};
          const cookies = user === undefined || extras.includes("no-cookie") ? [] : [`sid=${user}`];
          if (extras.includes("lang")) cookies.push("lang=de");
          if (cookies.length > 0) headers["cookie"] = cookies.join("; ");
          if (extras.includes("authorization")) headers["authorization"] = `Bearer of-${mine}`;
          if (extras.includes("x-api-key")) headers["x-api-key"] = `key-of-${mine}`;
          if (extras.includes("x-try")) headers["x-try"] = `try-of-${mine}`;
          // One user's browser takes br, the other's gzip, so that coded pages are in play as well.
          if (extras.includes("accept-encoding")) headers["accept-encoding"] = user === "ann" ? "br" : "gzip";
          const got = await ask(site.origin + paths[second ? 1 : 0], headers, method);
          if (/; hit/.test(String(got.headers["cache-status"]))) hits++;
          const all = `${JSON.stringify(got.headers)} ${got.text}`;
          for (const other of ["ann", "bob", "stranger"])
            if (other !== mine) assert.doesNotMatch(all, new RegExp(`(of-|sid=)${other}`));
        };
        await Promise.all(visits.slice(visits.length >> 1).map(come));
        await Promise.all(visits.map(come));
      });
      await fc.assert(property, { numRuns: Number(process.env["EVERFRESH_RUNS"] ?? 40) });
      assert.ok(hits > 15, `only ${hits} hits: nothing would have been seen`);
      await cache.close();
    });
  });
