/**
 * The queue page with 100 items beside the article's own stack: Django, gunicorn with one worker, pylibmc, PostgreSQL, memcached.
 *
 * Three pages each: the query from PostgreSQL, the query from memcached, the whole page from memcached (which the app asks
 * about every page; nothing is taken from its own memory unasked). Beside them two limits: a node:http loop written by hand for
 * the same work, and Fastify with the bytes ready. All of them are processes of their own, loaded one after the other in every
 * round; what counts is the CPU time, user and system, of the application's processes per request.
 *
 * Django has the settings that production asks for and `startproject`'s own middleware; its cached page has no CSRF token, so
 * that one page serves all, and its worker closes every connection, as gunicorn's plain workers do. The app checks cookies,
 * fills each visitor's token into the page, and sets its security headers.
 *
 * With one connection every request wakes each process anew; with several the app runs fewer queries than it has requests (one
 * for all who came before it began) and asks memcached once for all who came at once, where Django's worker takes one request
 * after the other.
 *
 * It does not show: the CPU time of PostgreSQL and memcached, latency, a network, a slow query.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import autocannon from "autocannon";
import {
  add,
  cpuUs,
  firstVisit,
  folder,
  freePort,
  median,
  print,
  start,
  startApp,
  startMemcached,
  startNode,
  startPostgres,
  write,
} from "../parts.mjs";

const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = Number(process.env.SECONDS ?? 1);
const python = "/usr/bin/python3";
const site = fileURLToPath(new URL("article", import.meta.url));
const pages = ["database", "query", "page"];
const pageNames = {
  database: "query from PostgreSQL",
  query: "query from memcached",
  page: "whole page from memcached",
};
/** Django's CPU time is to be at least so many times the app's. */
const bars = { database: 8, query: 15, page: 10 };

export async function beforeTheArticle() {
  const postgres = await startPostgres();
  if (postgres === undefined) {
    print("PostgreSQL is not installed, so there is nothing to compare with the article's stack.");
    return;
  }
  const memcached = await startMemcached();
  const database = `postgres://postgres@127.0.0.1:${postgres}/postgres`;
  const env = { NODE_ENV: "production", DATABASE_URL: database, MEMCACHE_SERVERS: memcached };
  const app = {
    page: await startApp(env),
    query: await startApp({ ...env, PAGE_CACHE: "0", CACHE_NAMESPACE: "query" }),
    database: await startApp({ ...env, PAGE_CACHE: "0", EVERFRESH_BACKEND: "none" }),
  };
  const visitor = await firstVisit(app.page);
  for (let item = 1; item <= 100; item += 1) await add(app.page, visitor, `item ${item}`);
  const sites = pages.map((page) => ({ stack: "queue app", page, ...app[page], cookie: visitor.cookie }));
  sites.push({ ...sites[2], stack: "queue app, new connections", closes: true });
  for (const page of pages) sites.push(await handwritten(page, database, memcached));
  sites.push(await bare(sites[2]));
  sites.push(...(await django(postgres, memcached)));
  // Compilers run in these processes too, and are done after some thousand requests.
  for (const each of sites) for (let time = 0; time < 2; time += 1) await load(each, 16);
  for (const connections of [1, 16]) await compare(sites, connections);
  await writes(app.page, visitor);
}

async function compare(sites, connections) {
  for (const each of sites) each.cpu = [];
  for (let round = 0; round < rounds; round += 1)
    for (const each of sites) {
      const before = cpuUs(each.child.pid);
      const { requests, bytes } = await load(each, connections);
      each.cpu.push((cpuUs(each.child.pid) - before) / requests);
      each.bytes = Math.round(bytes / requests);
    }
  print(
    `\nThe queue page with 100 items, ${connections} connection(s), CPU us of the application per request, median of ${rounds} rounds of ${seconds} s`,
  );
  print(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}\n`);
  print("| page | stack | CPU us | Django takes | bar | bytes |\n|---|---|---|---|---|---|");
  for (const page of [...pages, "bytes"])
    for (const each of sites.filter((one) => one.page === page)) {
      const theirs = sites.find((one) => one.stack === "Django" && one.page === page);
      const ratio =
        theirs === undefined ? "" : `${median(theirs.cpu.map((cpu, round) => cpu / each.cpu[round])).toFixed(1)} x`;
      const bar = each.stack.startsWith("queue app") && ratio !== "" ? `${bars[page]} x` : "";
      print(
        `| ${pageNames[page] ?? "bytes that are ready"} | ${each.stack} | ${median(each.cpu).toFixed(1)} | ${ratio} | ${bar} | ${each.bytes} |`,
      );
    }
}

function load(each, connections) {
  return (each.closes ? loadClosing : loadKept)(each, connections);
}

/** Loads a server that keeps its connections. */
async function loadKept({ url, cookie, stack, page }, connections) {
  const headers = { cookie, accept: "text/html" };
  const result = await autocannon({ url, connections, duration: seconds, headers });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${stack}, ${page}: ${result.non2xx} bad answers, ${result.errors} errors`);
  return { requests: result.requests.total, bytes: result.throughput.total };
}

/** Loads a server that closes the connection after each answer. */
async function loadClosing({ url, cookie, stack, page }, connections) {
  const { pathname, port } = new URL(url);
  const request = `GET ${pathname} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nCookie: ${cookie}\r\nAccept: text/html\r\nConnection: close\r\n\r\n`;
  const until = performance.now() + seconds * 1_000;
  let requests = 0;
  let bytes = 0;
  const visitor = async () => {
    while (performance.now() < until) {
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(request);
      const chunks = [];
      for await (const chunk of socket) chunks.push(chunk);
      const answer = Buffer.concat(chunks);
      if (!answer.toString("latin1", 0, 15).includes(" 200")) throw new Error(`${stack}, ${page}: a bad answer`);
      requests += 1;
      bytes += answer.length;
    }
  };
  await Promise.all(Array.from({ length: connections }, visitor));
  return { requests, bytes };
}

/** An add and a remove, each with its transaction, the outbox, and the next page computed. */
async function writes(app, visitor) {
  const cpu = [];
  for (let round = 0; round <= rounds; round += 1) {
    const before = cpuUs(app.child.pid);
    const pairs = 100;
    for (let pair = 0; pair < pairs; pair += 1) {
      await add(app, visitor, `pair ${pair}`);
      await write(app, visitor, "remove", {}, 200);
    }
    if (round > 0) cpu.push((cpuUs(app.child.pid) - before) / pairs);
  }
  print(
    `\nAn add and a remove, one after the other, with the page computed after each: ${median(cpu).toFixed(0)} us of CPU`,
  );
}

async function handwritten(page, database, memcached) {
  const port = await freePort();
  const server = await startNode(
    ["bench/app/handwritten.mjs", String(port), page, database, memcached.split(":")[1]],
    {},
    port,
  );
  return { stack: "node:http by hand", page, ...server, url: `http://127.0.0.1:${port}/`, cookie: "" };
}

async function bare({ url, cookie }) {
  const file = join(folder, "article.html");
  writeFileSync(file, await (await fetch(url, { headers: { cookie } })).text());
  const port = await freePort();
  const server = await startNode(["bench/app/bare.mjs", String(port), file], {}, port);
  return { stack: "bare Fastify", page: "bytes", ...server, url: `http://127.0.0.1:${port}/`, cookie };
}

/** The article's stack, where its parts are installed. */
async function django(postgres, memcached) {
  if (spawnSync(python, ["-c", "import django, gunicorn, pylibmc, psycopg2"]).status !== 0) {
    print(
      "Django, gunicorn, pylibmc or psycopg2 is not installed, so the article's stack is left out (Debian: python3-django gunicorn python3-pylibmc python3-psycopg2).",
    );
    return [];
  }
  const port = await freePort();
  const env = {
    PATH: process.env.PATH,
    SECRET_KEY: "only for this benchmark, not a secret",
    DJANGO_SETTINGS_MODULE: "settings",
    PYTHONDONTWRITEBYTECODE: "1",
    MEMCACHE_SERVERS: memcached,
    PGHOST: "127.0.0.1",
    PGPORT: String(postgres),
    PGUSER: "postgres",
    PGDATABASE: "postgres",
  };
  const args = [
    "-m",
    "gunicorn",
    "--workers",
    "1",
    "--bind",
    `127.0.0.1:${port}`,
    "--log-level",
    "warning",
    "site_wsgi",
  ];
  const server = await start(python, args, { port, cwd: site, env });
  return pages.map((page) => ({
    stack: "Django",
    page,
    ...server,
    url: `http://127.0.0.1:${port}/${page}`,
    cookie: `csrftoken=${"a".repeat(64)}`,
    closes: true,
  }));
}
