/**
 * `everfresh/express`: cached pages for Express (4 and 5) and what else speaks its middleware.
 *
 * Translation only. Mount it after what must run for every visitor, and in front of what is to be cached.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { EverfreshError } from "../errors.ts";
import { ResponseCache, type Errand, type PageOptions, type PageStore } from "../http/index.ts";
import { requestOf, visitPage } from "./node.ts";
import { runOnNode } from "./node-errand.ts";
import { SessionStore, type SessionCache, type SessionStoreOptions } from "./sessions.ts";

export { preferredLanguage, tags, type PageOptions } from "../http/index.ts";

/** The parts of Express' request that are used; its own type fits. */
export type ExpressRequest = IncomingMessage & {
  readonly originalUrl: string;
  readonly protocol: string;
};

/** The parts of Express' response that are used. */
export type ExpressResponse = ServerResponse & { locals?: object };

/**
 * Caches what the rest of the route answers.
 *
 * @example
 * app.get("/", cachePage(cache, { ttl: "10m", tags: ["queue_item"] }), (req, res) => res.render("queue"));
 *
 * @throws EverfreshError `EF_OPTION` for options that are unknown or out of range
 */
export function cachePage<Request extends ExpressRequest = ExpressRequest>(
  cache: PageStore,
  options: PageOptions<Request>,
): (req: ExpressRequest, res: ExpressResponse, next: () => void) => void {
  const pages = new ResponseCache(cache, options as PageOptions<ExpressRequest>, { sessionOf, runnerOf });
  return (req, res, next) => {
    // Behind a proxy that is trusted, Express knows the scheme and the host that the visitor used.
    const request = requestOf(req, req.originalUrl, req.protocol === "https" ? "https" : "http", hostOf(req));
    // Whatever else speaks Express' middleware may have no `locals`.
    const identity = typeof res.locals === "object" ? [req, res.locals] : [req];
    visitPage(pages, { request, source: req, raw: req, res, identity }, next);
  };
}

type ExpressApp = ((req: IncomingMessage, res: ServerResponse) => void) & { readonly parent?: ExpressApp };

/** The outermost application that a request came through. What only speaks Express' middleware has none. */
function runnerOf(req: ExpressRequest & { app?: ExpressApp }): ((errand: Errand) => void) | undefined {
  let { app } = req;
  while (app?.parent !== undefined) app = app.parent;
  const site = app;
  return site && ((errand) => runOnNode(errand, req, site));
}

/** Express 5's `host` has the port; Express 4 has no way to know it behind a proxy, so its field is taken as well. */
function hostOf(req: ExpressRequest & { host?: unknown; hostname?: unknown }): string {
  const sent = req.headers.host ?? "";
  const { host, hostname } = req;
  if (typeof host === "string" && host.includes(":") === sent.includes(":")) return host;
  return typeof hostname === "string" && !sent.startsWith(hostname) ? `${hostname},${sent}` : sent;
}

/** The id of a session that the visitor brought; one that was made a moment ago says nothing. */
function sessionOf(req: ExpressRequest & { sessionID?: unknown }): string | undefined {
  return req.headers.cookie !== undefined && typeof req.sessionID === "string" ? req.sessionID : undefined;
}

/**
 * A store for `express-session`.
 *
 * @param Store the class `session.Store`, whose methods for making sessions are needed
 * @example
 * app.use(session({ store: sessionStore(session.Store, cache), secret, resave: false, saveUninitialized: false }));
 */
export function sessionStore<Base extends object>(
  Store: abstract new () => Base,
  cache: SessionCache,
  options?: SessionStoreOptions,
): Base {
  if (typeof Store !== "function")
    throw new EverfreshError("EF_OPTION", "sessionStore takes session.Store, and then the cache");
  const sessions = new SessionStore(cache, options);
  // `express-session` makes such objects itself; only its types call the class abstract.
  const store = Reflect.construct(Store, []) as Base;
  return Object.assign(store, {
    get: sessions.get.bind(sessions),
    set: sessions.set.bind(sessions),
    touch: sessions.touch.bind(sessions),
    destroy: sessions.destroy.bind(sessions),
  });
}
