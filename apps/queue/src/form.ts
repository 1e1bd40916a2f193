/** The fields of a posted form or JSON object. Anything may have been posted. */
import type { FastifyRequest } from "fastify";

/** The field `name` if it is one text; a field that came twice, or another kind of value, is none. */
export function textField(request: FastifyRequest, name: string): string | undefined {
  const body: unknown = request.body;
  if (typeof body !== "object" || body === null || !Object.hasOwn(body, name)) return undefined;
  const value = (body as Record<string, unknown>)[name];
  return typeof value === "string" ? value : undefined;
}
