/**
 * Log lines: one JSON object each for machines, or short lines for the person who ran `npm start`.
 *
 * What is logged is chosen line by line, so nothing has to be hidden afterwards; errors alone come from elsewhere, and of
 * them only the parts that carry no values are taken.
 */
import type { FastifyServerOptions } from "fastify";
import type { Config } from "./config.ts";

export interface Logging {
  readonly level: Config["logLevel"];
  /** Receives whole lines. */
  readonly stream: { write(line: string): void };
}

/** Fastify's options for a logger. */
export function loggerOptions(logging: Logging): Exclude<FastifyServerOptions["logger"], boolean | undefined> {
  return { level: logging.level, stream: logging.stream, base: null, serializers: { err: shownError } };
}

/** Where `format` sends its lines: JSON as it is, or for people only what they should look at. */
export function logStream(format: Config["logFormat"], out: { write(text: string): unknown }): Logging["stream"] {
  if (format === "json") return { write: (line) => void out.write(line) };
  return {
    write(line) {
      const { level, msg, err } = JSON.parse(line) as { level: number; msg?: string; err?: { message?: string } };
      if (level >= 40) out.write(`  ! ${msg ?? ""}${err?.message === undefined ? "" : `: ${err.message}`}\n`);
    },
  };
}

/** Database drivers put the values of a row into `detail`, and queries into properties of their own; they stay out. */
function shownError(error: unknown): { type: string; message: string; stack: string; code?: string } {
  if (!(error instanceof Error)) return { type: typeof error, message: "not an error", stack: "" };
  const code = "code" in error && typeof error.code === "string" ? { code: error.code } : {};
  const cause = error.cause instanceof Error ? ` (caused by ${reasonOf(error.cause)})` : "";
  return { type: error.name, message: `${reasonOf(error)}${cause}`, stack: error.stack ?? "", ...code };
}

/** What an error says to people. Where a name has several addresses, Node's own has no message, and one for each address in it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== "" || !(error instanceof AggregateError)) return error.message;
  return error.errors.map(reasonOf).join("; ");
}
