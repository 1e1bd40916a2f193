/** What protects visitors and the app: headers, a strict Content-Security-Policy, CSRF tokens, limits. */
import { randomBytes } from "node:crypto";
import cookie from "@fastify/cookie";
import csrfProtection from "@fastify/csrf-protection";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { AnswerError } from "./answers.ts";
import type { Config } from "./config.ts";
import { textField } from "./form.ts";

/** The longest body that is read; 200 code points take at most 2,400 bytes in a form. */
export const bodyLimitBytes = 16 * 1_024;

export async function protect(
  app: FastifyInstance,
  config: Pick<Config, "production" | "sessionSecret" | "writesPerMinute">,
): Promise<void> {
  const headers = await securityHeaders(config.production);
  app.addHook("onRequest", (request, reply, done) => {
    reply.headers(headers);
    if (comesFromElsewhere(request))
      done(new AnswerError(403, "elsewhere", "Writes are taken from this site's own pages only."));
    else done();
  });
  await app.register(cookie, { secret: config.sessionSecret });
  await app.register(csrfProtection, {
    cookieKey: "csrf",
    cookieOpts: { path: "/", httpOnly: true, sameSite: "lax", secure: "auto" },
    getToken: (request) => textField(request, "csrf") ?? header(request.headers["x-csrf-token"]),
  });
  if (config.writesPerMinute > 0)
    await app.register(rateLimit, {
      global: false,
      max: config.writesPerMinute,
      timeWindow: 60_000,
      ipv6Subnet: 64,
      cache: 10_000,
      errorResponseBuilder: (_request, context) =>
        Object.assign(
          new Error(`That was a bit fast. Please try again in ${Math.ceil(context.ttl / 1_000)} seconds.`),
          {
            statusCode: 429,
          },
        ),
    });
}

function header(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/**
 * The token for this visitor's forms. A visitor who has no secret yet gets one; its cookie is written here because this is
 * on the way of every first view, and the general way costs more than the rest of the page.
 */
export function csrfToken(request: FastifyRequest, reply: FastifyReply): string {
  if (!request.cookies["csrf"]) {
    const secret = newSecret();
    request.cookies["csrf"] = secret;
    reply.header(
      "set-cookie",
      `csrf=${secret}; Path=/; HttpOnly; SameSite=Lax${request.protocol === "https" ? "; Secure" : ""}`,
    );
  }
  return reply.generateCsrf();
}

/** 24 unpredictable characters. Drawn from the system for many at once, because each draw costs the same. */
function newSecret(): string {
  if (secretsAt + secretLength > secrets.length) {
    secrets = randomBytes(18 * 128).toString("base64url");
    secretsAt = 0;
  }
  secretsAt += secretLength;
  return secrets.slice(secretsAt - secretLength, secretsAt);
}

const secretLength = 24;
let secrets = "";
let secretsAt = 0;

/**
 * Every browser of today says where a request comes from. Another site of the same domain could plant a cookie for which it
 * knows the token; it cannot plant this.
 */
function comesFromElsewhere(request: FastifyRequest): boolean {
  const site = request.headers["sec-fetch-site"];
  return request.method === "POST" && site !== undefined && site !== "same-origin" && site !== "none";
}

/** The headers that every answer carries. They are the same for all, so helmet is asked once. */
async function securityHeaders(production: boolean): Promise<Record<string, string>> {
  const once = Fastify();
  await once.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
      },
    },
    // A promise about HTTPS is only made where HTTPS is.
    strictTransportSecurity: production ? { maxAge: 15_552_000, includeSubDomains: false } : false,
    referrerPolicy: { policy: "same-origin" },
    // These speak to browsers that ended long before the script of this page could run in them.
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xDnsPrefetchControl: false,
    xXssProtection: false,
    originAgentCluster: false,
  });
  const names: string[] = [];
  once.get("/", (_request, reply) => {
    names.push(...Object.keys(reply.getHeaders()), ...reply.raw.getHeaderNames());
    return "";
  });
  const { headers } = await once.inject("/");
  await once.close();
  return Object.fromEntries(names.map((name) => [name, String(headers[name.toLowerCase()])]));
}
