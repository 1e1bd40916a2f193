/** Carries one sentence over the redirect after a form was posted: a signed cookie that the next page view takes away. */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Notice } from "./page.ts";

const name = "notice";
const options = { path: "/", httpOnly: true, sameSite: "lax", secure: "auto", signed: true, maxAge: 60 } as const;

export interface CarriedNotice {
  readonly notice: Notice;
  /** What the write cost, for the panel. */
  readonly write?: string;
}

export function leaveNotice(reply: FastifyReply, carried: CarriedNotice): void {
  reply.setCookie(name, Buffer.from(JSON.stringify(carried)).toString("base64url"), options);
}

/** The sentence left for this visitor, if any. Signed by us, so its shape needs no checking. */
export function takeNotice(request: FastifyRequest, reply: FastifyReply): CarriedNotice | undefined {
  const cookie = request.cookies[name];
  if (cookie === undefined) return undefined;
  if (request.method === "GET") reply.clearCookie(name, { path: "/" });
  const { valid, value } = request.unsignCookie(cookie);
  return valid ? (JSON.parse(Buffer.from(value, "base64url").toString()) as CarriedNotice) : undefined;
}
