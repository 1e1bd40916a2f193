/**
 * What does a cached page of the queue app cost, beside a bare Fastify handler that sends the same bytes?
 * And how often does a cold fleet run its slow query?
 *
 * The app asks memcached about every page (nothing is taken from its own memory unasked), checks and signs the CSRF cookie,
 * fills the token and the panel into the cached page and sets all security headers. The bare handler does none of this.
 *
 * Both run as processes of their own, one after the other in every round, under the same load; what counts is the ratio, and the
 * CPU time that the server process used per request, which other work on the machine disturbs least.
 *
 * `npm run bench app article` runs only the comparison with the article's stack, which app/article.mjs describes.
 *
 * It does not show: latency under little load, a database (cached pages ask none), a network (all of it is the loopback), or what
 * a visitor without a cookie costs (one more signature).
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import autocannon from "autocannon";
import { beforeTheArticle } from "./app/article.mjs";
import {
  add,
  cpuUs,
  end,
  firstVisit,
  folder,
  freePort,
  median,
  print,
  startApp,
  startMemcached,
  startNode,
} from "./parts.mjs";

const rounds = Number(process.env.ROUNDS ?? 7);
const seconds = Number(process.env.SECONDS ?? 2);
const connections = 64;
const [chosen] = process.argv.slice(2);

try {
  if (chosen !== "article") {
    await cachedPage();
    await coldFleet();
  }
  await beforeTheArticle();
} finally {
  await end();
}

async function cachedPage() {
  const memcached = await startMemcached();
  const app = await startApp({ MEMCACHE_SERVERS: memcached });
  const visitor = await firstVisit(app);
  for (let item = 1; item <= 100; item += 1) await add(app, visitor, `item ${item} of a hundred, as people write them`);
  const page = await (await fetch(app.url, { headers: { cookie: visitor.cookie } })).text();
  const file = join(folder, "page.html");
  writeFileSync(file, page);
  const port = await freePort();
  const bare = await startNode(["bench/app/bare.mjs", String(port), file], {}, port);
  bare.url = `http://127.0.0.1:${port}/`;

  const results = { app: [], bare: [] };
  for (let round = 0; round <= rounds; round += 1)
    for (const name of ["app", "bare"]) {
      const server = name === "app" ? app : bare;
      const before = cpuUs(server.child.pid);
      const result = await autocannon({
        url: server.url,
        connections,
        duration: seconds,
        headers: { cookie: visitor.cookie, accept: "text/html" },
      });
      if (result.non2xx > 0 || result.errors > 0)
        throw new Error(`${name}: ${result.non2xx} bad answers, ${result.errors} errors`);
      const used = cpuUs(server.child.pid) - before;
      // The first round warms up.
      if (round > 0)
        results[name].push({ perSecond: result.requests.total / result.duration, cpuUs: used / result.requests.total });
    }
  const look = await (await fetch(app.url, { headers: { accept: "application/json", cookie: visitor.cookie } })).json();
  if (look.panel.source !== "cache") throw new Error("the page did not come from the cache");

  const of = (name, field) => median(results[name].map((result) => result[field]));
  const ratios = results.app.map((result, round) => result.perSecond / results.bare[round].perSecond);
  print(
    `A cached page with 100 items (${page.length} bytes), ${connections} connections, median of ${rounds} rounds of ${seconds} s`,
  );
  print(`  ${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`);
  print(
    `  queue app      ${format(of("app", "perSecond"))} requests/s   ${of("app", "cpuUs").toFixed(1)} us CPU per request`,
  );
  print(
    `  bare Fastify   ${format(of("bare", "perSecond"))} requests/s   ${of("bare", "cpuUs").toFixed(1)} us CPU per request`,
  );
  print(
    `  ratio          ${median(ratios).toFixed(2)} of its requests/s (bar: 0.50), rounds ${ratios.map((ratio) => ratio.toFixed(2)).join(" ")}`,
  );
}

async function coldFleet() {
  const memcached = await startMemcached();
  const env = { MEMCACHE_SERVERS: memcached, SLOW_QUERY_MS: "2000", LOG_LEVEL: "info" };
  const apps = [await startApp(env), await startApp(env)];
  const started = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, at) => (await fetch(apps[at % 2].url)).status),
  );
  const took = performance.now() - started;
  const queries = apps.map((app) => app.output().split("the database was asked for the queue").length - 1);
  print("");
  print("200 visitors at once, two fresh processes, a query of 2,000 ms");
  print(`  all answered after ${took.toFixed(0)} ms, ${answers.filter((status) => status === 200).length} with a page`);
  print(`  the query ran ${queries[0] + queries[1]} time(s) (bar: 1), ${queries.join(" and ")} per process`);
}

function format(number) {
  return Math.round(number).toLocaleString("en").padStart(8);
}
