/** Sequences of requests and responses, and the site on a clock of its own that they are played on, over real sockets. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { after, before } from "node:test";
import { createCache, memory } from "everfresh";
import { preferredLanguage, type PageOptions } from "everfresh/http";
import { requestOf, visitPage } from "#src/adapters/node.ts";
import { formatHttpDate } from "#src/http/dates.ts";
import { ResponseCache } from "#src/http/response-cache.ts";
import { ask, siteOn, type Got, type Site } from "../../adapters/sites.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** A number is the date that many seconds from now. */
export type Values = Readonly<Record<string, string | number | string[]>>;

/** What the handler answers, should it be asked. Without a status it is 200. */
export interface Told {
  readonly status?: number;
  readonly fields?: Values;
  readonly body?: string;
  /** What is sent beforehand: 102, or 103 with these fields. */
  readonly processing?: true;
  readonly hints?: Readonly<Record<string, string>>;
  /** Hang up instead. */
  readonly hangsUp?: true;
}

/** One request, and what must become of it. */
export interface Exchange {
  /** Seconds that pass before it. */
  readonly after?: number;
  readonly method?: string;
  /** What follows the path of the sequence. */
  readonly at?: string;
  readonly asks?: Values;
  readonly told?: Told;
  /** Whether the handler was asked, or what it said earlier was used again. */
  readonly is?: "rendered" | "reused";
  readonly status?: number;
  readonly text?: string;
  /** The statuses of interim responses. Default: none. */
  readonly hears?: readonly number[];
  /** Fields of the answer; undefined for those that must be absent. */
  readonly gets?: Readonly<Record<string, string | number | RegExp | undefined>>;
}

/** What a site is told about its pages: a shared cache, one user's, one that covers errors, one without
 * regard to cookies, one in two languages. */
const options = {
  shared: { ttl: "2h", statuses: [200, 203, 204, 301, 302, 307, 308, 404, 405, 410, 414, 501] },
  oneUser: { ttl: "2h", private: () => "ann" },
  covering: { ttl: "2h", staleIfError: "1h" },
  cookieless: { ttl: "2h", cookies: "ignore" },
  languages: { ttl: "2h", vary: [{ header: "accept-language", as: preferredLanguage("en", "de") }] },
} as const satisfies Record<string, PageOptions<IncomingMessage>>;

export type SiteName = keyof typeof options;

/** Pages of one policy, whose handler says what the sequence that is played tells it to say. */
export class ScriptedSite {
  readonly #clock = new ManualClock(Date.UTC(2026, 10, 23));
  #renders = 0;
  readonly #told = new Map<string, Told>();
  readonly #server;
  #site: Site | undefined;

  constructor(policy: PageOptions<IncomingMessage>) {
    const clock = this.#clock;
    const cache = createCache({ backend: memory({ limitBytes: 64_000_000, clock }), clock });
    const pages = new ResponseCache<IncomingMessage>(cache, policy, {}, clock);
    this.#server = createServer((req, res) => {
      const visit = { request: requestOf(req), source: req, raw: req, res, identity: [req] };
      visitPage(pages, visit, () => this.#handle(req, res));
    });
  }

  async open(): Promise<void> {
    this.#site = await siteOn(this.#server.listen(0, "127.0.0.1"));
  }

  async close(): Promise<void> {
    await this.#site?.close();
  }

  /** Plays a sequence under a path of its own. */
  async play(path: string, exchanges: readonly Exchange[]): Promise<void> {
    for (const [at, exchange] of exchanges.entries()) {
      if (exchange.after !== undefined) await this.#clock.advance(exchange.after * 1000);
      const target = path + (exchange.at ?? "");
      this.#told.set(pathOf(target), exchange.told ?? {});
      const rendersBefore = this.#renders;
      const asking = ask(`${this.#site?.origin}${target}`, this.#dated(exchange.asks), exchange.method);
      if (exchange.told?.hangsUp === true) await assert.rejects(asking);
      else this.#check(exchange, await asking, this.#renders - rendersBefore, `request ${at + 1}`);
    }
  }

  #check(exchange: Exchange, got: Got, renders: number, which: string): void {
    const { is, status, text, hears = [], gets = {} } = exchange;
    const said = `${which}: ${String(got.headers["cache-status"])}`;
    if (is !== undefined) assert.equal(renders, is === "rendered" ? 1 : 0, said);
    if (is === "reused") assert.match(String(got.headers["cache-status"]), /; hit/, said);
    if (status !== undefined) assert.equal(got.status, status, said);
    if (text !== undefined) assert.equal(got.text, text, said);
    assert.deepEqual(got.interim, hears, said);
    for (const [name, expected] of Object.entries(gets)) {
      const value = got.headers[name];
      const about = `${which}: ${name}`;
      if (expected instanceof RegExp) assert.match(String(value), expected, about);
      else assert.equal(value, typeof expected === "number" ? this.#date(expected) : expected, about);
    }
  }

  #handle(req: IncomingMessage, res: ServerResponse): void {
    const told = this.#told.get(pathOf(req.url ?? "")) ?? {};
    const { status = 200, fields, body = "0123456789", hangsUp } = told;
    this.#renders++;
    if (hangsUp === true) {
      req.socket.destroy();
      return;
    }
    if (told.processing === true) res.writeProcessing();
    if (told.hints !== undefined) res.writeEarlyHints(told.hints);
    for (const [name, value] of Object.entries(this.#dated(fields))) res.setHeader(name, value);
    res.statusCode = status;
    if (status === 204) res.end();
    else res.end(body);
  }

  #dated(values: Values = {}): Record<string, string | string[]> {
    return Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, typeof value === "number" ? this.#date(value) : value]),
    );
  }

  #date(seconds: number): string {
    return formatHttpDate(this.#clock.now() + seconds * 1000);
  }
}

/** One site for each policy, open while the tests of a file run. */
export function openSites(): Readonly<Record<SiteName, ScriptedSite>> {
  const sites = Object.entries(options).map(([name, policy]) => [name, new ScriptedSite(policy)] as const);
  before(async () => {
    for (const [, site] of sites) await site.open();
  });
  after(async () => {
    for (const [, site] of sites) await site.close();
  });
  return Object.fromEntries(sites) as Record<SiteName, ScriptedSite>;
}

const pathOf = (target: string): string => target.split("?")[0] ?? "";
