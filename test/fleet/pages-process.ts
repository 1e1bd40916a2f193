/**
 * One web process of the fleet that `pages.test.ts` drives: pages and fragments over rows that live with the test.
 *
 *     node pages-process.js <memcached> <source> <variant>
 *
 * `fresh` caches with Everfresh; `local` does with the in-process tier, asking every time; `naive` caches pages the way the article
 * does, "delete after write", and must be caught; `relaxed` has `staleWhileRevalidate` and pages whose time is soon over.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createCache, memcached } from "everfresh";
import { cachePages } from "everfresh/node";

const [servers = "", source = "", variant = "fresh"] = process.argv.slice(2);
const cache = createCache({
  backend: memcached(servers),
  namespace: "fleet",
  local: variant === "local",
  invalidationTimeout: "1s",
});
const rowOf = (url = "/"): string => url.split("/").at(-1) ?? "";

const load = async (row: string): Promise<string> => await (await fetch(`${source}/${row}`)).text();
const rows = cache.entry("row", { load, ttl: "1m", tags: (row) => [`row:${row}`] });

/** The row by way of an entry and, within a fragment, by itself: the two may differ while a write is under way. */
async function render(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const row = rowOf(req.url);
  const byEntry = await rows.get(row);
  const byFragment = await cache.fragment("row", [row], () => load(row), { ttl: "1m", tags: [`row:${row}`] });
  res.end(`${byEntry} ${byFragment}`);
}

/** Writes, and answers 200 once the invalidation is acknowledged; by tag and by key in turn. */
async function write(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const row = rowOf(req.url);
  const version = await (await fetch(`${source}/${row}`, { method: "POST" })).text();
  try {
    if (variant === "naive") await cache.delete(`naive:${row}`);
    else await cache.invalidateTags([`row:${row}`]);
    if (variant !== "naive" && Number(version) % 2 === 0) await rows.refresh(row);
    res.end(version);
  } catch {
    res.writeHead(503).end(version);
  }
}

const answer = (req: IncomingMessage, res: ServerResponse): void => {
  const work = req.method === "POST" ? write(req, res) : render(req, res);
  work.catch(() => res.writeHead(500).end());
};

const naive = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const key = `naive:${rowOf(req.url)}`;
  const known = await cache.get<string>(key);
  if (known !== undefined) {
    res.end(known);
    return;
  }
  const page = `${await load(rowOf(req.url))} 999999999`;
  await cache.set(key, page, { ttl: "1m" });
  res.end(page);
};

/** The row itself, once for each rendering. */
const alone = (req: IncomingMessage, res: ServerResponse): void => {
  load(rowOf(req.url)).then(
    (row) => res.end(row),
    () => res.writeHead(500).end(),
  );
};

const pages =
  variant === "relaxed"
    ? cachePages(cache, { ttl: "200ms", staleWhileRevalidate: "1m", tags: (req) => [`row:${rowOf(req.url)}`] }, alone)
    : cachePages(cache, { ttl: "1m" }, answer);
const server = createServer((req, res) => {
  if (req.method === "POST") answer(req, res);
  else if (variant === "naive") naive(req, res).catch(() => res.writeHead(500).end());
  else pages(req, res);
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
