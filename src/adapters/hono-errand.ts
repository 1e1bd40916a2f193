/** Requests of Hono without a visitor, sent through the whole application. */
import { sendFor, type Errand } from "../http/index.ts";

/** The whole site, as `export default app` has it. */
export interface HonoSite {
  readonly fetch: (request: Request, env?: never) => Response | Promise<Response>;
}

/** Asks `site` for the page of an errand, with the visitor's environment but for what is the visitor's own. */
export function runOnHono(errand: Errand, site: HonoSite, env: unknown): void {
  const { request, target, rendering } = errand;
  const { incoming: _incoming, outgoing: _outgoing, ...bindings } = (env ?? {}) as Record<string, unknown>;
  const asked = new Request(`${request.scheme}://${request.host}${target}`, {
    headers: request.fields as Record<string, string>,
  });
  sendFor(errand, asked);
  const over = (): void => void rendering.fail("unavailable");
  // Read to its end, because a page that is streamed is stored when it has ended.
  Promise.resolve(site.fetch(asked, bindings as never))
    .then((response) => response.arrayBuffer())
    .then(over, over);
}
