// One site for the benchmark, as a process of its own: `node site.mjs <framework> <bare | coherent | local> [memcached]`.
// `bare` sends bytes that are ready; the others send the same bytes from the cache. Tells its parent port and CPU time.
import { createServer } from "node:http";
import { createCache, memcached } from "everfresh";

const [framework, mode, servers] = process.argv.slice(2);
const body = `<!doctype html>${"<li>an item of a list, as people write them</li>".repeat(440)}`.slice(0, 20_480);
const type = "text/html; charset=utf-8";
const local = mode === "local" ? { maxAge: "250ms" } : true;
const cache = mode === "bare" ? undefined : createCache({ backend: memcached(servers), namespace: framework, local });
const options = { ttl: "10m", tags: ["queue_item"] };

const part = Buffer.alloc(64 * 1024, 120);
/** 5 MB in parts, each one after the one before was taken. */
async function stream(res) {
  for (let sent = 0; sent < 80; sent++)
    if (!res.write(part)) await new Promise((resolve) => res.once("drain", resolve));
  res.end();
}

const handler = (req, res) => {
  if (req.url === "/stream") {
    void stream(res);
    return;
  }
  res.setHeader("content-type", type);
  res.end(body);
};
const bytes = Buffer.from(body);
const bare = (req, res) => {
  if (req.url === "/stream") {
    void stream(res);
    return;
  }
  res.writeHead(200, { "content-type": type, "content-length": bytes.length });
  res.end(bytes);
};

const starts = {
  async node() {
    const { cachePages } = await import("everfresh/node");
    const server = createServer(cache ? cachePages(cache, options, handler) : bare);
    return await listening(server);
  },
  async express() {
    const { default: express } = await import("express");
    const { cachePage } = await import("everfresh/express");
    const app = express();
    if (cache) app.get("/", cachePage(cache, options));
    app.get("/", (_req, res) => res.type("html").send(body));
    return await listening(createServer(app));
  },
  async fastify() {
    const { default: fastify } = await import("fastify");
    const { cachePage } = await import("everfresh/fastify");
    const app = fastify();
    const route = cache ? { preHandler: cachePage(cache, options) } : {};
    app.get("/", route, (_request, reply) => reply.type(type).send(body));
    await app.listen({ port: 0, host: "127.0.0.1" });
    return app.server.address().port;
  },
  async hono() {
    const { Hono } = await import("hono");
    const { serve } = await import("@hono/node-server");
    const { cachePage } = await import("everfresh/hono");
    const app = new Hono();
    if (cache) app.get("/", cachePage(cache, options));
    app.get("/", (c) => c.html(body));
    return await new Promise((resolve) =>
      serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, (info) => resolve(info.port)),
    );
  },
};

const port = await starts[framework]();
process.on("message", () => process.send({ cpu: process.cpuUsage(), rss: process.memoryUsage().rss }));
process.send({ port });
process.once("SIGINT", () => process.exit());

function listening(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}
