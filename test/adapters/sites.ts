/** One site, written once, served by each framework: the routes of the contract that all adapters keep. */
import { once } from "node:events";
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { serve } from "@hono/node-server";
import type { Cache } from "everfresh";
import express from "express";
import { cachePage as expressPage } from "everfresh/express";
import { cachePage as fastifyPage } from "everfresh/fastify";
import { cachePage as honoPage } from "everfresh/hono";
import { cachePages } from "everfresh/node";
import fastify, { type FastifyRequest } from "fastify";
import { Hono, type Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { PageOptions } from "everfresh/http";

/** What a handler may ask of a request, in any framework. */
export interface Asked {
  readonly url: string;
  header(name: string): string | undefined;
  /** The user that an outer layer has found by the cookie `sid`. That layer also sends the field `x-layer` back. */
  user(): string | undefined;
  /** Everything by which the framework says where the request was sent. */
  address(): unknown;
  /** From where it came, where the framework says so. */
  ip(): string | undefined;
  /** The request's headers as they came, where the framework shows them. */
  raw(): unknown;
}

/** What it answers. */
export interface Told {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body: string | AsyncIterable<string>;
}

export interface Route {
  readonly path: string;
  readonly method?: "GET" | "POST";
  /** Undefined: the route is not cached. */
  readonly options?: Omit<PageOptions<never>, "private" | "tags" | "key" | "when"> & {
    readonly tags?: readonly string[];
    /** Keyed by the cookie `sid`. */
    readonly perUser?: boolean;
  };
  readonly handler: (asked: Asked) => Told | Promise<Told>;
}

export interface Site {
  readonly origin: string;
  close(): Promise<void>;
}

export type StartSite = (cache: Cache, routes: readonly Route[]) => Promise<Site>;

const userOf = (cookie: string | undefined): string | undefined => /\bsid=(\w+)/.exec(cookie ?? "")?.[1];

function optionsOf<Source>(route: Route, cookieOf: (source: Source) => string | undefined): PageOptions<Source> {
  const { perUser = false, ...options } = route.options ?? { ttl: "1m" };
  return perUser ? { ...options, private: (source) => userOf(cookieOf(source)) } : options;
}

async function send(res: ServerResponse, told: Told): Promise<void> {
  for (const [name, value] of Object.entries(told.headers ?? {})) res.setHeader(name, value);
  res.statusCode = told.status ?? 200;
  if (typeof told.body === "string") res.end(told.body);
  else {
    for await (const chunk of told.body) if (!res.write(chunk)) await once(res, "drain");
    res.end();
  }
}

const nodeSite: StartSite = async (cache, routes) => {
  const listeners = new Map<string, RequestListener>(
    routes.map((route) => {
      const handler = (req: IncomingMessage, res: ServerResponse): void => {
        const asked: Asked = {
          url: req.url ?? "",
          header: (name) => req.headers[name] as string | undefined,
          user: () => (req as { user?: string }).user,
          address: () => [req.url, req.headers.host],
          ip: () => undefined,
          raw: () => [req.rawHeaders, req.headersDistinct],
        };
        void Promise.resolve(route.handler(asked)).then((told) => send(res, told));
      };
      const cached =
        route.options === undefined
          ? handler
          : cachePages(
              cache,
              optionsOf(route, (req) => req.headers.cookie),
              handler,
            );
      return [`${route.method ?? "GET"} ${route.path}`, cached] as const;
    }),
  );
  const server = createServer((req, res) => {
    Object.assign(req, { user: userOf(req.headers.cookie) });
    if (req.headers["x-layer"] !== undefined) res.setHeader("x-layer", req.headers["x-layer"]);
    const method = req.method === "HEAD" ? "GET" : req.method;
    const { pathname } = new URL(req.url ?? "", "http://site");
    listeners.get(`${method} ${pathname}`)?.(req, res);
  });
  return await siteOn(server.listen(0, "127.0.0.1"));
};

const expressSite: StartSite = async (cache, routes) => {
  const app = express();
  app.use((req, res, next) => {
    Object.assign(req, { user: userOf(req.headers.cookie) });
    if (req.headers["x-layer"] !== undefined) res.setHeader("x-layer", req.headers["x-layer"]);
    next();
  });
  for (const route of routes) {
    const method = route.method === "POST" ? "post" : "get";
    const cached =
      route.options === undefined
        ? []
        : [
            expressPage<express.Request>(
              cache,
              optionsOf(route, (req) => req.headers.cookie),
            ),
          ];
    app[method](route.path, ...cached, async (req, res) => {
      const asked: Asked = {
        url: req.url,
        header: (name) => req.get(name),
        user: () => (req as { user?: string }).user,
        ip: () => req.ip,
        address: () => [req.url, req.originalUrl, req.host, req.hostname, req.protocol, req.subdomains, req.query],
        raw: () => [req.rawHeaders, req.headersDistinct],
      };
      const told = await route.handler(asked);
      res.set(told.headers ?? {}).status(told.status ?? 200);
      if (typeof told.body === "string") res.send(told.body);
      else await send(res, told);
    });
  }
  return await siteOn(app.listen(0, "127.0.0.1"));
};

const fastifySite: StartSite = async (cache, routes) => {
  const app = fastify({ forceCloseConnections: true });
  app.decorateRequest("user");
  app.addHook("onRequest", (request, reply, done) => {
    Object.assign(request, { user: userOf(request.headers.cookie) });
    if (request.headers["x-layer"] !== undefined) reply.header("x-layer", request.headers["x-layer"]);
    done();
  });
  for (const route of routes) {
    const cached =
      route.options === undefined
        ? {}
        : {
            preHandler: fastifyPage<FastifyRequest>(
              cache,
              optionsOf(route, (request) => request.raw.headers.cookie),
            ),
          };
    app.route({
      method: route.method ?? "GET",
      url: route.path,
      ...cached,
      handler: async (request, reply) => {
        const asked: Asked = {
          url: request.url,
          header: (name) => request.headers[name] as string | undefined,
          user: () => (request as { user?: string }).user,
          ip: () => request.ip,
          address: () => [request.url, request.originalUrl, request.host, request.protocol, request.query],
          raw: () => [request.raw.rawHeaders, request.raw.headersDistinct],
        };
        const told = await route.handler(asked);
        reply.code(told.status ?? 200).headers(told.headers ?? {});
        return reply.send(typeof told.body === "string" ? told.body : Readable.from(told.body));
      },
    });
  }
  const origin = await app.listen({ port: 0, host: "127.0.0.1" });
  return { origin, close: () => app.close() };
};

const honoSite: StartSite = async (cache, routes) => {
  const app = new Hono<{ Variables: { user: string | undefined } }>();
  app.use(async (c, next) => {
    c.set("user", userOf(c.req.header("cookie")));
    const layer = c.req.header("x-layer");
    if (layer !== undefined) c.header("x-layer", layer);
    await next();
  });
  for (const route of routes) {
    if (route.options !== undefined)
      app.on(
        route.method ?? "GET",
        route.path,
        honoPage<Context>(cache, {
          ...optionsOf<Context>(route, (c) => c.req.raw.headers.get("cookie") ?? undefined),
          app,
        }),
      );
    app.on(route.method ?? "GET", route.path, async (c) => {
      const asked: Asked = {
        url: c.req.url.replace(/^https?:\/\/[^/]+/, ""),
        header: (name) => c.req.header(name),
        user: () => c.get("user"),
        ip: () => undefined,
        address: () => [c.req.url, c.req.path, c.req.query(), c.req.header("host")],
        raw: () => [...c.req.raw.headers],
      };
      const told = await route.handler(asked);
      const body =
        typeof told.body === "string" ? told.body : (Readable.toWeb(Readable.from(bytes(told.body))) as ReadableStream);
      return c.body(
        body,
        (told.status ?? 200) as ContentfulStatusCode,
        told.headers as Record<string, string | string[]>,
      );
    });
  }
  const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
  return await siteOn(server as Server);
};

/** A server that listens or is about to. */
export async function siteOn(server: Server): Promise<Site> {
  if (!server.listening) await once(server, "listening");
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function* bytes(texts: AsyncIterable<string>): AsyncIterable<Uint8Array> {
  for await (const text of texts) yield Buffer.from(text);
}

export const sites = { "node:http": nodeSite, Express: expressSite, Fastify: fastifySite, Hono: honoSite } as const;

/** What came back. */
export interface Got {
  readonly status: number;
  /** The statuses of interim responses that came before. */
  readonly interim: readonly number[];
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

/** Asks without any help of a client library: no redirects, no decompression, no fields of its own. */
export async function ask(
  url: string,
  headers: Record<string, string | string[]> = {},
  method = "GET",
  onChunk: (chunk: Buffer) => void = () => undefined,
): Promise<Got> {
  const req = httpRequest(url, { method, headers, agent: false });
  const interim: number[] = [];
  req.on("information", ({ statusCode }: { statusCode: number }) => interim.push(statusCode));
  req.end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of res) {
    chunks.push(chunk as Buffer);
    onChunk(chunk as Buffer);
  }
  const body = Buffer.concat(chunks);
  return { status: res.statusCode ?? 0, interim, headers: res.headers, body, text: body.toString() };
}

/**
 * Sends a head that no client would, and answers all that comes back until the connection ends.
 *
 * @param head without its empty line; `HOST` in it is the site's
 */
export async function sendBytes(origin: string, head: string): Promise<string> {
  const { port } = new URL(origin);
  const socket = connect(Number(port), "127.0.0.1");
  socket.end(head.replaceAll("HOST", new URL(origin).host) + "Connection: close\r\n\r\n", "latin1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "close");
  return Buffer.concat(chunks).toString("latin1");
}
