/**
 * `everfresh/node`: cached pages for `node:http`.
 *
 * Translation only: which responses are values is said in `http`, what a handler writes is listened to in `node-capture`.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import { EverfreshError } from "../errors.ts";
import {
  errandOf,
  identityRule,
  isOddTarget,
  isSafeMethod,
  ResponseCache,
  splitTarget,
  watchIdentity,
  type Answer,
  type IdentityWatch,
  type PageOptions,
  type PagePolicy,
  type PageRequest,
  type PageStore,
  type Reason,
  type Rendering,
  type Served,
} from "../http/index.ts";
import { captureResponse, hasClosed, sendAnswer, setFields, type CaptureHooks } from "./node-capture.ts";
import { runOnNode } from "./node-errand.ts";
import { narrowRequest } from "./node-request.ts";

export { preferredLanguage, tags, type PageOptions } from "../http/index.ts";

/**
 * Caches what `handler` answers.
 *
 * @example
 * const server = createServer(cachePages(cache, { ttl: "10m", tags: ["queue_item"] }, handler));
 *
 * @throws EverfreshError `EF_OPTION` for options that are unknown or out of range
 */
export function cachePages(
  cache: PageStore,
  options: PageOptions<IncomingMessage>,
  handler: RequestListener,
): RequestListener {
  if (typeof handler !== "function")
    throw new EverfreshError("EF_OPTION", `the handler of cached pages is ${typeof handler}; it is a function`);
  const pages = new ResponseCache(cache, options, {
    runnerOf: (visitor) => (errand) => runOnNode(errand, visitor, listener),
  });
  const listener: RequestListener = (req, res) => {
    const visit = { request: requestOf(req), source: req, raw: req, res, identity: [req] };
    visitPage(pages, visit, () => handler(req, res));
  };
  return listener;
}

/** One request on its way through a framework that is built on `node:http`. */
export interface NodeVisit<Source> {
  readonly request: PageRequest;
  readonly source: Source;
  readonly raw: IncomingMessage;
  readonly res: ServerResponse;
  /** Objects whose properties say who asks. */
  readonly identity: readonly object[];
}

/** Answers from the cache, or lets `next` answer and keeps what it sends. */
export function visitPage<Source>(pages: ResponseCache<Source>, visit: NodeVisit<Source>, next: () => void): void {
  const { request, source, res } = visit;
  if (!isSafeMethod(request.method)) invalidateAfter(pages, request, res);
  let sendInstead: ((answer: Answer) => void) | undefined;
  const start = (rendering: Rendering): void => {
    // Somebody around has answered meanwhile: a time limit, say.
    if (res.headersSent) rendering.fail("incomplete");
    else sendInstead = captureResponse(res, rendering, watchVisit(pages, visit));
    next();
  };
  const errand = errandOf(visit.raw);
  if (errand !== undefined) {
    const rendering = pages.accept(errand, request, source);
    if (rendering === undefined) next();
    else start(rendering);
    return;
  }
  const answer = (served: Served): void => {
    if (served.kind === "answer" && sendInstead !== undefined) sendInstead(served.answer);
    else if (served.kind === "answer" && !res.headersSent) sendAnswer(res, served.answer);
    if (served.kind !== "pass") return;
    if (!res.headersSent) setFields(res, served.fields);
    next();
  };
  const served = pages.serve(request, source, start);
  if (served instanceof Promise) void served.then(answer);
  else answer(served);
}

/** Lets the handler see only what is part of the key, and notices when it looks at who asks. */
export function watchVisit<Source>(pages: ResponseCache<Source>, visit: NodeVisit<Source>): CaptureHooks {
  const { policy } = pages;
  const back = narrowRequest(visit.raw, visit.source as object, policy);
  const watches = policy.isPrivate ? [] : watchesOf(policy, visit.identity);
  let reason: Reason | undefined;
  return {
    handled() {
      if (watches.some((watch) => watch.wasRead)) reason = "identity-read";
      for (const watch of watches.splice(0)) watch.end();
      back();
      return reason;
    },
    aside: (work) => watches.reduce<typeof work>((inner, watch) => () => watch.unwatched(inner), work)(),
  };
}

function watchesOf(policy: PagePolicy<never>, [request, ...others]: readonly object[]): IdentityWatch[] {
  const { names, onlyIfSet } = identityRule(policy);
  const watches = request === undefined ? [] : [watchIdentity(request, names, onlyIfSet)];
  // Elsewhere (Express' `res.locals`) only what is there is watched: templates read all of it.
  for (const other of others) {
    const present = names.filter((name) => Object.hasOwn(other, name));
    watches.push(watchIdentity(other, present, true));
  }
  return watches;
}

/**
 * Holds a response to an unsafe request until what is stored for its URL is invalidated: its first bytes, because whoever has
 * read the head may ask for the page at once, and its end, because the handler may write to its source until then.
 */
export function invalidateAfter<Source>(pages: ResponseCache<Source>, request: PageRequest, res: ServerResponse): void {
  const before = { write: res.write.bind(res), end: res.end.bind(res), flushHeaders: res.flushHeaders.bind(res) };
  let state: "untouched" | "held" | "open" = "untouched";
  const held: (() => unknown)[] = [];
  const invalidated = (then: () => unknown): void => {
    const finish = (): void => {
      try {
        then();
      } catch (error) {
        // Nobody who could hear it is on the stack any more.
        res.destroy(error as Error);
      }
    };
    // An invalidation that is still pending is retried by the cache, which reads nothing old from there before.
    pages.wrote(request, res.statusCode).then(finish, finish);
  };
  const hold = (work: () => unknown): void => {
    held.push(work);
    if (state === "held") return;
    state = "held";
    invalidated(() => {
      state = "open";
      for (const each of held.splice(0)) each();
      if (!res.writableNeedDrain) res.emit("drain");
    });
  };
  // Whoever leaves keeps a stream from being read, so it is never begun, or not to its end; the handler has succeeded all the same.
  // What `pipeline` refuses to begin, as it does from Node 24 on, is not heard of.
  let isPiped = false;
  const left = (): void => {
    if (isPiped && !res.writableEnded) void pages.wrote(request, res.statusCode).catch(() => undefined);
  };
  res.once("close", left);
  res.once("pipe", () => {
    isPiped = true;
    if (hasClosed(res)) left();
  });
  res.write = ((...args: Parameters<typeof before.write>) => {
    if (state === "open" || !isContent(args[0])) return before.write(...args);
    hold(() => before.write(...args));
    return false;
  }) as typeof before.write;
  res.flushHeaders = () => (state === "open" ? before.flushHeaders() : hold(before.flushHeaders));
  res.end = ((...args: Parameters<typeof before.end>) => {
    const [chunk] = args as unknown[];
    // What cannot be sent is refused where the handler hears it.
    if (chunk !== undefined && chunk !== null && typeof chunk !== "function" && !isContent(chunk))
      return before.end(...args);
    Object.assign(res, before);
    const finish = (): void => invalidated(() => before.end(...args));
    if (state === "held") held.push(finish);
    else finish();
    return res;
  }) as typeof before.end;
}

function isContent(chunk: unknown): boolean {
  return typeof chunk === "string" || chunk instanceof Uint8Array;
}

/** A request of `node:http` as the rules see it; a framework may know better under which address it was sent. */
export function requestOf(
  req: IncomingMessage,
  target = req.url ?? "/",
  scheme: PageRequest["scheme"] = (req.socket as Partial<TLSSocket>).encrypted === true ? "https" : "http",
  host = String(req.headers.host ?? req.headers[":authority"] ?? ""),
): PageRequest {
  const { path, query } = splitTarget(target);
  const isOdd = isOddTarget(target);
  return {
    method: req.method ?? "GET",
    scheme,
    host,
    path,
    query,
    isOdd,
    fields: req.headers as PageRequest["fields"],
  };
}
