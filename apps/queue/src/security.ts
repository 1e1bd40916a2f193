/** What protects visitors and the app: headers, a strict Content-Security-Policy, CSRF tokens, limits. */
import cookie from "@fastify/cookie";
import csrfProtection from "@fastify/csrf-protection";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance } from "fastify";
import type { Config } from "./config.ts";
import { textField } from "./form.ts";

/** The longest body that is read; 200 code points take at most 2,400 bytes in a form. */
export const bodyLimitBytes = 16 * 1_024;

export async function protect(
  app: FastifyInstance,
  config: Pick<Config, "production" | "sessionSecret" | "writesPerMinute">,
): Promise<void> {
  await app.register(helmet, {
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
    strictTransportSecurity: config.production ? { maxAge: 15_552_000, includeSubDomains: false } : false,
    referrerPolicy: { policy: "same-origin" },
  });
  await app.register(cookie, { secret: config.sessionSecret });
  await app.register(csrfProtection, {
    cookieKey: "csrf",
    cookieOpts: { path: "/", httpOnly: true, sameSite: "lax", secure: "auto", signed: true },
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
