// The limit of Node with the same work: a node:http loop, a query or a raw memcached answer, and a template literal. No
// framework, no deadline, no check.
// `node handwritten.mjs <port> <database | query | page> <url of PostgreSQL> <port of memcached>`
import { createServer } from "node:http";
import pg from "pg";
import { open } from "../client/raw.mjs";

// What stands around the list: about as many bytes as in the app's page.
const filler = "<p>what stands around the list</p>".repeat(118);
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const [port, mode, database, memcached] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: database, max: 5 });
const cache = await open([Number(memcached)]);
const load = async () => (await pool.query("SELECT id, text FROM queue_item ORDER BY id")).rows;
await cache.set("hand-query", JSON.stringify(await load()));
await cache.set("hand-page", render(await load()));

const pages = {
  database: async () => Buffer.from(render(await load())),
  query: async () => Buffer.from(render(JSON.parse(await cache.get("hand-query")))),
  page: () => cache.getBytes("hand-page"),
};
const page = pages[mode];

async function answer(response) {
  const bytes = await page();
  response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": bytes.length });
  response.end(bytes);
}

createServer((_request, response) => void answer(response)).listen(Number(port), "127.0.0.1");

function escaped(text) {
  return /[&<>"']/.test(text) ? text.replaceAll(/[&<>"']/g, (character) => escapes[character]) : text;
}

function render(items) {
  let list = "";
  for (let at = 0; at < items.length; at++)
    list += `\n<li data-id="${items[at].id}"><span class="place" aria-hidden="true">${at + 1}</span><bdi>${escaped(items[at].text)}</bdi></li>`;
  return `<!doctype html><title>The queue (${items.length} items)</title>${filler}<ol class="items">${list}\n</ol>`;
}
