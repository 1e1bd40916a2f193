/** How the app answers: HTML for people, JSON for whoever asks for it, and one place where every failure gets its words. */
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";

/** A failure that the visitor is told about, as opposed to one that is only logged. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
  readonly statusCode: number;
  readonly code: string;
  /** The form field that it is about. */
  readonly field: string | undefined;

  constructor(statusCode: number, code: string, message: string, details: { field?: string; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.statusCode = statusCode;
    this.code = code;
    this.field = details.field;
  }
}

/** What is said of an address at which there is nothing. */
export const nothingHere = "There is nothing at this address.";

/** Whether the visitor asks for JSON: says so or sends it, and does not also take HTML, as every browser's page view does. */
export function wantsJson(request: FastifyRequest): boolean {
  const { accept = "", "content-type": sent = "" } = request.headers;
  return !accept.includes("text/html") && [accept, sent].some((field) => field.includes("application/json"));
}

/** Pages carry a token and the state of this moment: nobody may keep them. */
export function noStore(reply: FastifyReply): FastifyReply {
  return reply.header("cache-control", "no-store").header("vary", "accept, cookie");
}

export function sendHtml(reply: FastifyReply, html: string | Buffer): FastifyReply {
  return noStore(reply).type("text/html; charset=utf-8").send(html);
}

export function sendJson(reply: FastifyReply, body: object): FastifyReply {
  return noStore(reply).send(body);
}

/** What the visitor is told about `error`. Only what was thrown on purpose keeps its words; the rest goes to the log. */
export function explained(error: unknown, log: FastifyBaseLogger): AnswerError {
  if (error instanceof AnswerError) {
    if (error.statusCode >= 500) log.error({ err: error.cause ?? error }, error.message);
    return error;
  }
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message?: string };
  if (code === "FST_CSRF_MISSING_SECRET" || code === "FST_CSRF_INVALID_TOKEN")
    return new AnswerError(
      403,
      "csrf",
      "This page was too old to be trusted, or cookies are off. Nothing was changed; please try once more.",
    );
  // Of a folder among the assets, or a name that leaves them; all other refusals have a code of their own.
  if (statusCode === 403) return new AnswerError(404, "not-found", nothingHere);
  if (code === "FST_ERR_CTP_INVALID_JSON_BODY" || code === "FST_ERR_CTP_EMPTY_JSON_BODY")
    return new AnswerError(400, "bad-request", "The body is not valid JSON.");
  if (statusCode === 413) return new AnswerError(413, "too-large", "That is far too long.", { field: "text" });
  if (statusCode === 415) return new AnswerError(415, "content-type", "Send a form or JSON.");
  if (statusCode === 429) return new AnswerError(429, "too-many", message ?? "Too many requests.");
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new AnswerError(statusCode, "bad-request", "The request could not be understood.");
  log.error({ err: error }, "a request failed");
  return new AnswerError(500, "internal", "Something went wrong here. Please try again.");
}
