/**
 * `everfresh/hono`: cached pages for Hono, on every runtime that has Node's modules.
 *
 * Translation only. Types of Hono are described by the parts that are used, so that this package needs none of it.
 */
import { EverfreshError } from "../errors.ts";
import {
  errandOf,
  isSafeMethod,
  ResponseCache,
  type Answer,
  type AnswerFields,
  type Errand,
  type PageOptions,
  type PagePolicy,
  type PageRequest,
  type PageStore,
  type Rendering,
  type Served,
} from "../http/index.ts";
import { runOnHono, type HonoSite } from "./hono-errand.ts";
import { requestOf } from "./hono-request.ts";
import { View } from "./hono-view.ts";

export { preferredLanguage, tags, type PageOptions } from "../http/index.ts";

/** The parts of Hono's context that are used; its own type fits. */
export interface PageContext {
  readonly req: { raw: Request; readonly method: string };
  readonly env: unknown;
  res: Response;
  get: (key: never) => unknown;
  header(name: string, value?: string, options?: { append?: boolean }): void;
  body(data: Uint8Array | null, status?: never, headers?: Record<string, string | string[]>): Response;
}

type Next = () => Promise<void>;

/** Options of pages, and what Hono's contexts do not tell. */
export interface HonoPageOptions<Context> extends PageOptions<Context> {
  /** The whole site, which `staleWhileRevalidate` asks for a page without a visitor. Default: none. */
  readonly app?: HonoSite | undefined;
}

/**
 * Caches what the rest of the route answers.
 *
 * @example
 * app.get("/", cachePage(cache, { ttl: "10m", tags: ["queue_item"] }), (c) => c.html(page()));
 *
 * @throws EverfreshError `EF_OPTION` for options that are unknown or out of range
 */
export function cachePage<Context extends PageContext = PageContext>(
  cache: PageStore,
  options: HonoPageOptions<Context>,
): (context: PageContext, next: Next) => Promise<Response | undefined> {
  const { app, ...rest } = (options ?? {}) as HonoPageOptions<PageContext>;
  if (app !== undefined && typeof app.fetch !== "function")
    throw new EverfreshError("EF_OPTION", "app is the whole site: an object with fetch, as Hono's own");
  const runnerOf = ({ env }: PageContext) => app && ((errand: Errand) => runOnHono(errand, app, env));
  const pages = new ResponseCache(cache, rest, app === undefined ? {} : { runnerOf });
  return (context, next) => {
    const request = requestOf(context.req.raw, context.req.method);
    if (!isSafeMethod(request.method)) return write(pages, request, context, next);
    const errand = errandOf(context.req.raw);
    if (errand !== undefined) {
      const rendering = pages.accept(errand, request, context);
      return rendering === undefined
        ? next().then(() => undefined)
        : render(pages.policy, context, next, rendering).then(() => undefined);
    }
    return new Promise((resolve, reject) => {
      let rendered: Promise<unknown> | undefined;
      const answer = (served: Served): void => {
        if (served.kind === "answer" && rendered !== undefined) {
          // The handler has answered, and is not heard; what is returned would not be heard either.
          const { answer: stale } = served;
          rendered.then(() => resolve(replace(context, respond(context, stale))), reject);
        } else if (served.kind === "answer") resolve(respond(context, served.answer));
        // What its own handler answers leaves when it is there, also where the cache has given it up.
        else if (served.kind === "pass") next().then(() => resolve(passOn(context, served.fields)), reject);
      };
      // A page that is rendered here leaves as soon as its head is known, while it is still being stored.
      const start = (rendering: Rendering): void => {
        rendered = render(pages.policy, context, next, rendering).then(
          (result) => result === "sent" && resolve(undefined),
          reject,
        );
      };
      const served = pages.serve(request, context, start);
      if (served instanceof Promise) served.then(answer).catch(reject);
      else answer(served);
    });
  };
}

/** An unsafe request, whose success invalidates what is stored for its URL. */
async function write(
  pages: ResponseCache<PageContext>,
  request: PageRequest,
  context: PageContext,
  next: Next,
): Promise<undefined> {
  await next();
  // An invalidation that is still pending is retried by the cache, which reads nothing old from there before.
  await pages.wrote(request, context.res.status).catch(() => undefined);
}

/** Lets the handler render, seeing only what is part of the key, and hands on what it answers. */
async function render<Context extends PageContext>(
  policy: PagePolicy<Context>,
  context: Context,
  next: Next,
  rendering: Rendering,
): Promise<"sent" | "discarded"> {
  const inherited = fieldsOf(context.res.headers);
  const view = new View(policy, context, rendering);
  try {
    await next();
  } catch (error) {
    view.end();
    rendering.fail("incomplete");
    throw error;
  }
  view.returned();
  const { res } = context;
  if (view.wasRead) {
    view.end();
    setFields(context, rendering.fail("identity-read"));
    return "sent";
  }
  const verdict = rendering.head({ status: res.status, fields: fieldsOf(res.headers), inherited });
  if (verdict.kind === "discard") {
    // Nothing of it is shown, neither its headers.
    view.end();
    replace(context, new Response(null, { headers: headersOf(inherited) }));
    // Whoever makes it may take their time, or fail, to end it.
    void res.body?.cancel().catch(() => undefined);
    return "discarded";
  }
  if (verdict.kind === "pass") {
    view.end();
    setFields(context, verdict.fields);
    return "sent";
  }
  try {
    await hand(context, res, rendering, view, verdict.limitBytes);
  } catch (error) {
    // Its body broke off before anything of it was known.
    view.end();
    rendering.fail("incomplete");
    throw error;
  }
  return "sent";
}

/** Hands a storable response on: as a page where its body is at hand, as a stream that is copied where it is not. */
async function hand(
  context: PageContext,
  res: Response,
  rendering: Rendering,
  view: View,
  limitBytes: number,
): Promise<void> {
  const reader = res.body?.getReader();
  const first = await reader?.read();
  // A body that was made from a text or bytes ends at once; one that is still being made does not.
  const second = first?.done === false ? reader?.read() : undefined;
  const rest = await Promise.race([second, new Promise<"later">((resolve) => void setImmediate(resolve, "later"))]);
  if (reader === undefined || first === undefined || first.done || (rest !== "later" && rest?.done === true)) {
    view.end();
    if (view.wasRead) {
      setFields(context, rendering.fail("identity-read"));
      return;
    }
    const answer = rendering.complete(Buffer.from(first?.value ?? []));
    const body = answer.body === undefined ? null : new Uint8Array(answer.body);
    replace(context, new Response(body, { status: answer.status, headers: headersOf(answer.fields) }));
    return;
  }
  setFields(context, rendering.streamed());
  const { status, headers } = context.res;
  const body = copying([Promise.resolve(first), second ?? reader.read()], reader, rendering, view, limitBytes);
  replace(context, new Response(body, { status, headers }));
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;
type Read = Awaited<ReturnType<Reader["read"]>>;

/** Passes a body on as it is read, and keeps a copy up to the limit. `begun` are reads that were made already. */
function copying(
  begun: Promise<Read>[],
  reader: Reader,
  rendering: Rendering,
  view: View,
  limitBytes: number,
): ReadableStream<Uint8Array> {
  let chunks: Uint8Array[] = [];
  let length = 0;
  /** Passes on what comes next. Answers whether more may come. */
  async function step(controller: ReadableStreamDefaultController<Uint8Array>): Promise<boolean> {
    try {
      const { done, value } = await (begun.shift() ?? reader.read());
      if (done) {
        if (view.wasRead) rendering.fail("identity-read");
        else rendering.complete(Buffer.concat(chunks, length));
        view.end();
        controller.close();
        return false;
      }
      length += value.length;
      if (length <= limitBytes) chunks.push(value.slice());
      else {
        chunks = [];
        rendering.fail("too-large");
      }
      controller.enqueue(value);
      return true;
    } catch (error) {
      view.end();
      rendering.fail("incomplete");
      controller.error(error);
      return false;
    }
  }
  return new ReadableStream<Uint8Array>({
    // Others wait for this page, so up to its limit it is not read at the pace of the one it is sent to, who may not read.
    async start(controller) {
      let isMore = true;
      while (isMore && length <= limitBytes) isMore = await step(controller);
    },
    async pull(controller) {
      await step(controller);
    },
    async cancel(reason) {
      view.end();
      rendering.fail("incomplete");
      await reader.cancel(reason);
    },
  });
}

/** An answer beside the headers that the layers around it have set. */
function respond(context: PageContext, { status, fields, body }: Answer): Response {
  const bytes = (body as Uint8Array<ArrayBuffer> | undefined) ?? null;
  const headers = fields as Record<string, string | string[]>;
  // Where nobody has set any, a response of our own is as good, and its headers need not become `Headers` on the way.
  const hasOthers = !context.body(null).headers.keys().next().done;
  if (hasOthers || Object.values(fields).some(Array.isArray)) return context.body(bytes, status as never, headers);
  return new Response(bytes, { status, headers: headers as Record<string, string> });
}

/** Hono merges the headers of a response into the next one, so there is none in between. */
function replace(context: PageContext, res: Response): undefined {
  const open: { res: Response | undefined } = context;
  open.res = undefined;
  open.res = res;
}

function headersOf(fields: AnswerFields): Headers {
  const headers = new Headers();
  for (const name in fields) for (const value of [fields[name] ?? ""].flat()) headers.append(name, value);
  return headers;
}

/** What the handler has answered, where it can carry them with these fields: no copy can be made of the answer to an upgrade. */
function passOn(context: PageContext, fields: AnswerFields): undefined {
  try {
    const said = context.res.headers;
    // The handler may have said itself what a cache in front may keep.
    for (const name in fields) if (!name.endsWith("-control") || !said.has(name)) setField(context, name, fields[name]);
  } catch {
    // It leaves as it is.
  }
}

function setFields(context: PageContext, fields: AnswerFields): undefined {
  for (const name in fields) setField(context, name, fields[name]);
}

function setField(context: PageContext, name: string, value: AnswerFields[string] | undefined): void {
  context.header(name, [value ?? ""].flat().join(", "));
}

function fieldsOf(headers: Headers): AnswerFields {
  const fields: AnswerFields = Object.fromEntries(headers);
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) fields["set-cookie"] = cookies;
  return fields;
}
