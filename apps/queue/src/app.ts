/** The app as a value: `createApp(parts)` wires the parts into a Fastify instance that can listen, or be asked by `inject()`. */
import formbody from "@fastify/formbody";
import staticFiles from "@fastify/static";
import Fastify, { LogController, type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { AnswerError, explained, nothingHere, sendHtml, sendJson, wantsJson } from "./answers.ts";
import type { Config } from "./config.ts";
import { letConnectionsGo } from "./connections.ts";
import type { Database } from "./database.ts";
import { textField } from "./form.ts";
import { health } from "./health.ts";
import { loggerOptions, type Logging } from "./logging.ts";
import { assetFolder, assetVersion, Pages } from "./page.ts";
import type { QueueCache } from "./queue-cache.ts";
import { QueueStore } from "./queue-store.ts";
import { cachedPages, renderedPages, type PageLook, type QueuePages } from "./queue-page.ts";
import { QueueViews } from "./queue-view.ts";
import { QueueWrites } from "./queue-writes.ts";
import { queueRoutes } from "./routes.ts";
import { bodyLimitBytes, csrfToken, protect } from "./security.ts";

/** What an app is made of. Whoever opened the database and the cache closes them, after the app. */
export interface AppParts {
  readonly config: Pick<
    Config,
    "production" | "sessionSecret" | "slowQueryMs" | "pageCache" | "writesPerMinute" | "maxItems" | "trustedProxies"
  >;
  readonly database: Database;
  readonly cache: QueueCache;
  /** Where log lines go; without it there are none. */
  readonly logging?: Logging | undefined;
}

/** Which methods each address answers; everything else is 405 here and 404 elsewhere. */
const methods: Readonly<Record<string, string>> = {
  "/": "GET, HEAD",
  "/add": "POST",
  "/remove": "POST",
  "/healthz": "GET, HEAD",
};

export async function createApp(parts: AppParts): Promise<FastifyInstance> {
  const { config, database, cache } = parts;
  const app = Fastify({
    logger: parts.logging !== undefined && loggerOptions(parts.logging),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyLimitBytes,
    trustProxy: (_address, hop) => hop < config.trustedProxies,
    requestTimeout: 20_000,
    connectionTimeout: 0,
    keepAliveTimeout: 65_000,
    routerOptions: { maxParamLength: 100 },
    // Fastify answers what it cannot decode by itself, past every hook: without our headers, our page, our log line.
    rewriteUrl: ({ url = "/" }) => (canBeDecoded(pathOf({ url })) ? url : "/%25"),
    forceCloseConnections: "idle",
    // What arrives while the app ends is answered like any other request, and not past our page and our words.
    return503OnClosing: false,
  });
  const store = new QueueStore(database);
  const { slowQueryMs } = config;
  const views = new QueueViews({ cache: cache.cache, store, slowQueryMs, log: app.log });
  const rendering = new Pages({ database: database.kind, cache: cache.kind, slowQueryMs });
  const pages = config.pageCache ? cachedPages(cache.cache, views, rendering) : renderedPages(views, rendering);
  const writes = new QueueWrites({ database, cache: cache.cache, store, pages, log: app.log });

  await protect(app, config);
  app.removeContentTypeParser("text/plain");
  await app.register(formbody, { bodyLimit: bodyLimitBytes });
  await app.register(assets);
  if (parts.logging !== undefined) logRequests(app);
  letConnectionsGo(app);
  // Before a body is read: what is wrong with that matters nowhere but where one is taken.
  app.addHook("onRequest", (request, reply, done) => {
    if (request.is404) notFound(request, reply, rendering);
    else done();
  });
  queueRoutes(app, { config, store, views, pages, writes });
  app.get("/healthz", async (_request, reply) => {
    const state = await health(database, cache, views);
    return sendJson(reply.code(state.status === "down" ? 503 : 200), state);
  });
  app.setNotFoundHandler((request, reply) => notFound(request, reply, rendering));
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, { rendering, pages }));
  app.addHook("onClose", () => writes.close());
  return app;
}

/** The assets. One that was asked for with its version never changes under that address. */
async function assets(app: FastifyInstance): Promise<void> {
  app.addHook("onSend", (request, reply, _payload, done) => {
    if (reply.statusCode === 200 && request.url.endsWith(`?v=${assetVersion}`))
      reply.header("cache-control", "public, max-age=31536000, immutable");
    done();
  });
  await app.register(staticFiles, { root: assetFolder, prefix: "/assets/", index: false, maxAge: 0 });
}

/** One line per request, when it has been answered. No address of the visitor, no query, no header, no body. */
function logRequests(app: FastifyInstance): void {
  app.addHook("onResponse", (request, reply, done) => {
    request.log.info(
      {
        method: request.method,
        path: pathOf(request),
        status: reply.statusCode,
        tookMs: Math.round(reply.elapsedTime * 10) / 10,
      },
      "request",
    );
    done();
  });
}

function notFound(request: FastifyRequest, reply: FastifyReply, pages: Pages): FastifyReply {
  const path = pathOf(request);
  const allowed = path.startsWith("/assets/") ? "GET, HEAD" : Object.hasOwn(methods, path) ? methods[path] : undefined;
  const wrongMethod = allowed !== undefined && !allowed.split(", ").includes(request.method);
  const error = wrongMethod
    ? new AnswerError(405, "method", `Only ${allowed} can be used here.`)
    : new AnswerError(404, "not-found", nothingHere);
  if (wrongMethod) reply.header("allow", allowed);
  return answerPlainly(reply.code(error.statusCode), error, pages);
}

/** A failed form shows the queue again, with the message where it belongs and what was typed kept. */
async function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { rendering, pages }: { readonly rendering: Pages; readonly pages: QueuePages },
): Promise<FastifyReply> {
  const told = explained(error, request.log);
  reply.code(told.statusCode);
  if (told.statusCode === 503) reply.header("retry-after", "5");
  const posted = request.routeOptions.url === "/add" || request.routeOptions.url === "/remove";
  // Another site's form is told no more than that: with the page it would get a cookie of its own in the place of the visitor's.
  const answersPlainly = !posted || told.statusCode >= 500 || told.code === "elsewhere";
  if (answersPlainly || wantsJson(request)) return answerPlainly(reply, told, rendering);
  const look = await lookIfPossible(pages);
  if (look === undefined) return answerPlainly(reply, told, rendering);
  const html = look.fillIn({
    csrf: csrfToken(request, reply),
    text: textField(request, "text") ?? "",
    ...(told.field === "text"
      ? { fieldError: told.message }
      : { notice: { kind: told.code === "empty" ? "empty" : "problem", text: told.message } }),
  });
  return sendHtml(reply, html);
}

async function lookIfPossible(pages: QueuePages): Promise<PageLook | undefined> {
  try {
    return await pages.look();
  } catch {
    return undefined;
  }
}

const titles: Readonly<Record<number, string>> = { 404: "Not found", 405: "Not like this", 503: "One moment" };

function answerPlainly(reply: FastifyReply, error: AnswerError, pages: Pages): FastifyReply {
  const { code, message, field: about } = error;
  if (wantsJson(reply.request))
    return sendJson(reply, { error: { code, message, ...(about !== undefined && { field: about }) } });
  return sendHtml(reply, pages.message({ title: titles[error.statusCode] ?? "That did not work", text: message }));
}

function pathOf({ url }: { readonly url: string }): string {
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

function canBeDecoded(path: string): boolean {
  try {
    decodeURI(path);
    return true;
  } catch {
    return false;
  }
}
