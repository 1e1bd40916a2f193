/**
 * `everfresh/fastify`: cached pages for Fastify, as a `preHandler` hook of a route or of the whole site.
 *
 * Translation only. Types of Fastify are described by the parts that are used, so that this package needs none of it.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import {
  errandOf,
  field,
  isSafeMethod,
  ResponseCache,
  type Answer,
  type AnswerFields,
  type Errand,
  type PageOptions,
  type PageRequest,
  type PageStore,
  type Rendering,
  type Served,
} from "../http/index.ts";
import { captureResponse, fieldsOf, union } from "./node-capture.ts";
import { invalidateAfter, requestOf, watchVisit } from "./node.ts";
import { runOnNode } from "./node-errand.ts";

import { SessionStore, type SessionCache, type SessionStoreOptions } from "./sessions.ts";

export { preferredLanguage, tags, type PageOptions } from "../http/index.ts";

/** The parts of Fastify's request that are used; its own type fits. */
export interface PageFastifyRequest {
  readonly raw: IncomingMessage;
  readonly protocol: string;
  readonly host: string;
  readonly originalUrl: string;
  readonly server: { routing(req: IncomingMessage, res: ServerResponse): void };
}

/** The parts of Fastify's reply that are used. */
export interface PageFastifyReply {
  readonly raw: ServerResponse;
  code(status: number): unknown;
  header(name: string, value: unknown): unknown;
  hasHeader(name: string): boolean;
  getHeaders(): Record<string, string | string[] | number | undefined>;
  send(payload?: unknown): unknown;
  hijack(): unknown;
}

/**
 * Caches what a route answers.
 *
 * @example
 * app.get("/", { preHandler: cachePage(cache, { ttl: "10m", tags: ["queue_item"] }) }, handler);
 *
 * @throws EverfreshError `EF_OPTION` for options that are unknown or out of range
 */
export function cachePage<Request extends PageFastifyRequest = PageFastifyRequest>(
  cache: PageStore,
  options: PageOptions<Request>,
): (request: PageFastifyRequest, reply: PageFastifyReply, done: () => void) => void {
  const pages = new ResponseCache(cache, options as PageOptions<PageFastifyRequest>, { sessionOf, runnerOf });
  return (source, reply, done) => {
    const { raw } = source;
    const request = requestOf(raw, source.originalUrl, source.protocol === "https" ? "https" : "http", source.host);
    if (!isSafeMethod(request.method)) invalidateAfter(pages, request, reply.raw);
    let sendInstead: ((answer: Answer) => void) | undefined;
    const start = (rendering: Rendering): void => {
      const visit = { request, source, raw, res: reply.raw, identity: [source] };
      let hooks = watchVisit(pages, visit);
      let reason = undefined as ReturnType<typeof hooks.handled>;
      const inherited = fieldsOf(reply.getHeaders());
      /** What the handler has set, and sent where that is at hand. */
      let told: { readonly fields: AnswerFields; readonly body: Buffer | undefined } | undefined;
      // The hooks behind `send` (sessions, cookies) are not the handler. What is read from a stream behind them is.
      const send = reply.send.bind(reply);
      reply.send = (payload) => {
        reply.send = send;
        reason = hooks.handled(noBytes);
        told = { fields: { ...fieldsOf(reply.getHeaders()), ...responseFields(payload) }, body: bytesOf(payload) };
        whenRead(payload, reply.raw, () => (hooks = watchVisit(pages, visit)));
        return send(payload);
      };
      sendInstead = captureResponse(reply.raw, rendering, {
        handled(body) {
          const later = hooks.handled(body);
          // On every hit the hooks would change what they have changed already, and the first visitor's is not the next one's.
          if (told?.body?.equals(body) === false) return "rewritten";
          return reason ?? later;
        },
        aside: (work) => hooks.aside(work),
        inherited: (fields) => ({ ...inherited, ...setBehind(told?.fields, fields) }),
      });
      done();
    };
    const errand = errandOf(raw);
    if (errand !== undefined) {
      const rendering = pages.accept(errand, request, source);
      if (rendering === undefined) done();
      else start(rendering);
      return;
    }
    const answer = (served: Served): void => {
      if (served.kind === "answer" && sendInstead !== undefined) sendInstead(served.answer);
      else if (served.kind === "answer" && !reply.raw.headersSent) sendAnswer(reply, request, served.answer);
      if (served.kind !== "pass") return;
      setFields(reply, served.fields);
      done();
    };
    const served = pages.serve(request, source, start);
    if (served instanceof Promise) void served.then(answer);
    else answer(served);
  };
}

const noBytes = Buffer.alloc(0);

function bytesOf(payload: unknown): Buffer | undefined {
  return typeof payload === "string" || payload instanceof Uint8Array ? Buffer.from(payload as string) : undefined;
}

/** What a `Response` says, which Fastify sets behind the hooks of `send`. */
function responseFields(payload: unknown): AnswerFields {
  return Object.prototype.toString.call(payload) === "[object Response]"
    ? fieldsOf(Object.fromEntries((payload as Response).headers))
    : {};
}

/** Fastify sets these itself when it sends, to what the handler's payload is. */
const ofThePayload = new Set(["content-type", "content-length", "content-encoding", "transfer-encoding"]);

/** What hooks behind `send` have set: they set it for each visitor anew. */
function setBehind(told: AnswerFields | undefined, fields: AnswerFields): AnswerFields {
  if (told === undefined) return {};
  return Object.fromEntries(
    Object.entries(fields).filter(([name]) => !ofThePayload.has(name) && field(fields, name) !== field(told, name)),
  );
}

/** Calls `begin` when what is sent begins to be read, if it is a stream: of Node's own, of the web, or of a `Response`. */
function whenRead(payload: unknown, res: ServerResponse, begin: () => void): void {
  if (typeof payload !== "object" || payload === null) return;
  const { pipe, body } = payload as { pipe?: unknown; body?: unknown };
  if (typeof pipe === "function") res.once("pipe", begin);
  const stream = (body ?? payload) as { getReader?: unknown };
  const { getReader } = stream;
  if (typeof getReader !== "function") return;
  stream.getReader = (...args: unknown[]): unknown => {
    stream.getReader = getReader;
    begin();
    return getReader.apply(stream, args);
  };
}

function sendAnswer(reply: PageFastifyReply, request: PageRequest, answer: Answer): void {
  reply.code(answer.status);
  setFields(reply, answer.fields);
  if (request.method !== "HEAD") {
    // Fastify would say of bytes that they are just that, and browsers would save the page instead of showing it.
    const isTyped = reply.hasHeader("content-type");
    const { body } = answer;
    reply.send(isTyped || body === undefined ? body : body.length === 0 ? undefined : Readable.from(body));
    return;
  }
  // Fastify would count the bytes of the body that this answer does not have.
  reply.hijack();
  reply.raw.writeHead(answer.status, reply.getHeaders());
  reply.raw.end();
}

function setFields(reply: PageFastifyReply, fields: AnswerFields): void {
  for (const name in fields) {
    const value = fields[name] ?? "";
    reply.header(name, name === "vary" && reply.hasHeader(name) ? union(reply.getHeaders()[name], value) : value);
  }
}

/** Fastify's own way in, which its server calls for each request. */
function runnerOf({ raw, server }: PageFastifyRequest): (errand: Errand) => void {
  return (errand) => runOnNode(errand, raw, (req, res) => server.routing(req, res));
}

/** The id of a session that the visitor brought; one that was made a moment ago says nothing. */
function sessionOf(request: PageFastifyRequest & { session?: { sessionId?: unknown } }): string | undefined {
  const id = request.raw.headers.cookie === undefined ? undefined : request.session?.sessionId;
  return typeof id === "string" ? id : undefined;
}

/**
 * A store for `@fastify/session`.
 *
 * @example
 * await app.register(fastifySession, { store: sessionStore(cache), secret });
 */
export function sessionStore(cache: SessionCache, options?: SessionStoreOptions): SessionStore {
  return new SessionStore(cache, options);
}
