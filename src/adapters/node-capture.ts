/**
 * Listens to what a handler writes to a `ServerResponse`, and sends it on.
 *
 * The head is held back until the body begins. Where the handler sends everything with one `end`, the page is whole
 * before anything has left, so its first visitor is answered like all later ones (with an entity tag, 304, ranges).
 * Otherwise the chunks go out as they come, and a copy is kept up to the limit.
 *
 *     handler ── writeHead, write, end ──> here ──> the methods as they were (sessions, compression, the socket)
 */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { listOf, type Answer, type AnswerFields, type Reason, type Rendering, type Verdict } from "../http/index.ts";

type Done = (error?: Error | null) => void;
type Methods = Pick<ServerResponse, "writeHead" | "write" | "end" | "flushHeaders" | "addTrailers">;

/** What the framework around it adds. */
export interface CaptureHooks {
  /** The handler is done, and `body` was kept of it: nobody watches it any more. Answers a reason not to store after all. */
  handled(body: Buffer): Reason | undefined;
  /** Runs code of others (sessions, cookies) that hooks into the head without its being taken for the handler's. */
  aside<T>(work: () => T): T;
  /** Which of these fields others than the handler have set, where the framework knows more of it. */
  inherited?(fields: AnswerFields): AnswerFields;
}

/** Fields of a response in one shape: names in lower case, values as text. */
export function fieldsOf(headers: OutgoingHttpHeaders): AnswerFields {
  const fields: AnswerFields = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) fields[name.toLowerCase()] = Array.isArray(value) ? value.map(String) : String(value);
  return fields;
}

/** Sends an answer on a response that nothing was sent on yet. */
export function sendAnswer(res: ServerResponse, answer: Answer): void {
  // Without headers of somebody else, Node writes ours in one go.
  if (res.getHeaderNames().length === 0) res.writeHead(answer.status, answer.fields as OutgoingHttpHeaders);
  else {
    setFields(res, answer.fields);
    res.statusCode = answer.status;
  }
  if (answer.body === undefined) res.end();
  else res.end(answer.body);
}

/** Sets fields beside those that are there; what responses vary on adds up. */
export function setFields(res: ServerResponse, fields: AnswerFields): void {
  for (const name in fields) {
    let value = fields[name] ?? "";
    if (name === "vary") value = union(res.getHeader("vary"), value);
    res.setHeader(name, value);
  }
}

/** Both lists of names, each name once. */
export function union(
  before: number | string | readonly string[] | undefined,
  after: string | readonly string[],
): string {
  const names = new Map<string, string>();
  for (const text of [before ?? [], after].flat())
    for (const name of listOf(String(text))) if (!names.has(name.toLowerCase())) names.set(name.toLowerCase(), name);
  return [...names.values()].join(", ");
}

/** Listens until the response ends. Answers how to send something else instead of what was discarded. */
export function captureResponse(
  res: ServerResponse,
  rendering: Rendering,
  hooks: CaptureHooks,
): (answer: Answer) => void {
  const before = methodsOf(res);
  const capture = new Capture(res, rendering, hooks, before);
  const ours: Methods = {
    writeHead: (status: number, ...rest: unknown[]) => capture.writeHead(status, rest),
    write: ((chunk: unknown, encoding: unknown, done: unknown) =>
      capture.write(chunk, encoding, done)) as Methods["write"],
    end: ((...args: unknown[]) => capture.end(args)) as Methods["end"],
    flushHeaders: () => capture.flushHeaders(),
    addTrailers: (trailers) => capture.addTrailers(trailers),
  };
  Object.assign(res, ours);
  // A client that leaves does not stop the handler, which may still write all of it; a handler that gives up does.
  const closed = (): void => {
    if (!res.writableEnded) capture.fail("incomplete");
  };
  // Whoever left while others rendered has closed it already.
  if (hasClosed(res)) closed();
  else res.once("close", closed);
  return (answer) => capture.sendInstead(answer);
}

/** Whether there is nobody to send to any more; HTTP/2's responses say so of their stream. */
export function hasClosed(res: ServerResponse): boolean {
  const { stream } = res as { stream?: { readonly destroyed?: unknown } };
  return res.destroyed || stream?.destroyed === true;
}

/** The methods as they are now, whoever has replaced them before. */
function methodsOf(res: ServerResponse): Methods {
  return {
    writeHead: res.writeHead.bind(res),
    write: res.write.bind(res),
    end: res.end.bind(res),
    flushHeaders: res.flushHeaders.bind(res),
    addTrailers: res.addTrailers.bind(res),
  };
}

const noBytes = Buffer.alloc(0);

class Capture {
  readonly #res: ServerResponse;
  readonly #rendering: Rendering;
  readonly #hooks: CaptureHooks;
  readonly #before: Methods;
  #inherited: AnswerFields;
  /** Whether what is written is the answer that goes out instead, and not the handler's. */
  #sendsInstead = false;
  #verdict: Verdict | undefined;
  #chunks: Buffer[] = [];
  #length = 0;
  /** What came of the rendering is known; what is still written is only sent. */
  #settled = false;

  constructor(res: ServerResponse, rendering: Rendering, hooks: CaptureHooks, before: Methods) {
    this.#res = res;
    this.#rendering = rendering;
    this.#hooks = hooks;
    this.#before = before;
    this.#inherited = fieldsOf(res.getHeaders());
  }

  /** Sends a page in the place of what the handler answers, of which nothing is shown, neither its headers. */
  sendInstead(answer: Answer): void {
    const [res, before] = [this.#res, this.#before];
    this.#hooks.handled(noBytes);
    if (res.headersSent) return;
    for (const name of res.getHeaderNames()) {
      const value = this.#inherited[name];
      if (value === undefined) res.removeHeader(name);
      else res.setHeader(name, value);
    }
    setFields(res, answer.fields);
    res.statusCode = answer.status;
    if (res.statusMessage) res.statusMessage = "";
    // The handler may still be writing, and is not heard. HTTP/2's `end` calls `write`.
    this.#sendsInstead = true;
    before.writeHead(answer.status);
    if (answer.body === undefined) before.end();
    else before.end(answer.body);
    this.#sendsInstead = false;
  }

  writeHead(status: number, rest: readonly unknown[]): ServerResponse {
    const [first, second] = rest;
    this.#res.statusCode = status;
    if (typeof first === "string") this.#res.statusMessage = first;
    setHeaders(this.#res, typeof first === "string" ? second : first);
    return this.#res;
  }

  flushHeaders(): void {
    if (this.#decide(false).kind !== "discard") this.#before.flushHeaders();
  }

  addTrailers(trailers: Parameters<Methods["addTrailers"]>[0]): void {
    this.fail("trailers");
    if (this.#verdict?.kind === "discard") return;
    this.#before.addTrailers(trailers);
  }

  write(chunk: unknown, encoding: unknown, done: unknown): boolean {
    const verdict = this.#decide(false);
    if (verdict.kind === "discard" && !this.#sendsInstead) {
      const written = typeof encoding === "function" ? encoding : done;
      if (typeof written === "function") process.nextTick(written);
      return true;
    }
    if (verdict.kind === "keep") this.#collect(chunk, encoding, verdict.limitBytes);
    const hasRoom = this.#before.write(chunk, encoding as BufferEncoding, done as Done);
    // Others wait for this page, so up to its limit it is not written at the pace of the one who reads it, who may not read.
    return hasRoom || !this.#settled;
  }

  end(args: readonly unknown[]): ServerResponse {
    const res = this.#res;
    const { chunk, encoding, done } = endArguments(args);
    const verdict = this.#decide(true);
    if (verdict.kind === "keep" && chunk !== undefined && chunk !== null)
      this.#collect(chunk, encoding, verdict.limitBytes);
    const body = Buffer.concat(this.#chunks, this.#chunks.length === 0 ? 0 : this.#length);
    const reason = this.#hooks.handled(body);
    if (reason !== undefined) this.fail(reason);
    Object.assign(res, this.#before);
    if (verdict.kind === "discard") {
      if (res.writableFinished) done?.();
      else if (done !== undefined) res.once("finish", done);
      return res;
    }
    if (this.#settled || verdict.kind === "pass") return res.end(...(args as Parameters<ServerResponse["end"]>));
    this.#settled = true;
    const answer = this.#rendering.complete(body);
    if (res.headersSent) return res.end(...(args as Parameters<ServerResponse["end"]>));
    if (done !== undefined) res.once("finish", done);
    for (const name of res.getHeaderNames()) if (!(name in answer.fields)) keepOrDrop(res, name, answer);
    setFields(res, answer.fields);
    res.statusCode = answer.status;
    if (answer.body === undefined) res.end();
    else res.end(answer.body);
    return res;
  }

  fail(reason: Reason): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#chunks = [];
    const fields = this.#rendering.fail(reason);
    if (!this.#res.headersSent) setFields(this.#res, fields);
  }

  /** Asks what to do, once; sends the head unless the body is at hand with it. */
  #decide(isWhole: boolean): Verdict {
    if (this.#verdict !== undefined) return this.#verdict;
    const res = this.#res;
    const fields = fieldsOf(res.getHeaders());
    this.#inherited = this.#hooks.inherited?.(fields) ?? this.#inherited;
    const verdict = this.#rendering.head({ status: res.statusCode, fields, inherited: this.#inherited });
    this.#verdict = verdict;
    if (verdict.kind === "discard") {
      this.#settled = true;
      return verdict;
    }
    if (verdict.kind === "pass") {
      this.#settled = true;
      setFields(res, verdict.fields);
    } else if (!isWhole) setFields(res, this.#rendering.streamed());
    if (!isWhole) this.#hooks.aside(() => this.#before.writeHead(res.statusCode));
    return verdict;
  }

  #collect(chunk: unknown, encoding: unknown, limitBytes: number): void {
    if (this.#settled) return;
    const bytes = bytesOf(chunk, encoding);
    this.#length += bytes.length;
    if (this.#length > limitBytes) this.fail("too-large");
    else this.#chunks.push(bytes);
  }
}

/**
 * A 304 or 412 carries little of what the handler set (RFC 9110 section 15.4.5); whole answers keep all of it, but for the
 * framing: what says its length must not say Transfer-Encoding as well (RFC 9112 section 6.2).
 */
function keepOrDrop(res: ServerResponse, name: string, { status, fields }: Answer): void {
  const describesBody = name.startsWith("content-") || name === "last-modified";
  const isBare = status === 304 || status === 412 || status === 416;
  const framesTwice = name === "transfer-encoding" && (isBare || fields["content-length"] !== undefined);
  if (framesTwice || (describesBody && isBare)) res.removeHeader(name);
}

function setHeaders(res: ServerResponse, headers: unknown): void {
  if (typeof headers !== "object" || headers === null) return;
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers as Record<string, string | string[] | undefined>))
      if (value !== undefined) res.setHeader(name, value);
    return;
  }
  // Node takes a flat list of names and values as well; a name that occurs twice is two lines.
  const seen = new Set<string>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = String(headers[at]);
    if (seen.has(name.toLowerCase())) res.appendHeader(name, headers[at + 1] as string);
    else res.setHeader(name, headers[at + 1] as string);
    seen.add(name.toLowerCase());
  }
}

function endArguments(args: readonly unknown[]): { chunk?: unknown; encoding?: unknown; done?: Done } {
  const [chunk, encoding, done] = args;
  if (typeof chunk === "function") return { done: chunk as Done };
  if (typeof encoding === "function") return { chunk, done: encoding as Done };
  return { chunk, encoding, ...(typeof done === "function" ? { done: done as Done } : {}) };
}

/** A copy: the handler may use its buffer again. */
function bytesOf(chunk: unknown, encoding: unknown): Buffer {
  if (typeof chunk === "string")
    return Buffer.from(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
  return Buffer.from(chunk as Uint8Array);
}
