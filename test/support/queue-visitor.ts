/** A visitor of the queue app: keeps cookies, takes the token from the page, follows redirects when asked to. */
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from "fastify";

/** What JSON answers hold; each has only some of it. */
export interface QueueAnswer {
  readonly view: {
    readonly id: string;
    readonly total: number;
    readonly front: readonly QueueAnswerItem[];
    readonly back: readonly QueueAnswerItem[];
  };
  readonly panel: {
    readonly source: "cache" | "database";
    readonly tookMs: number;
    readonly ageMs: number;
    readonly queryMs: number;
  };
  readonly csrf: string;
  readonly added: QueueAnswerItem;
  readonly removed: QueueAnswerItem;
  readonly position: number;
  readonly notice: { readonly kind: string; readonly text: string };
  readonly write: { readonly tookMs: number; readonly refreshMs: number; readonly cache: string };
  readonly error: { readonly code: string; readonly message: string; readonly field?: string };
}

export interface QueueAnswerItem {
  readonly id: number;
  readonly text: string;
}

export type Reply = LightMyRequestResponse;

export class Visitor {
  readonly #app: FastifyInstance;
  readonly cookies = new Map<string, string>();
  csrf = "";

  constructor(app: FastifyInstance) {
    this.#app = app;
  }

  async request(options: InjectOptions): Promise<Reply> {
    const reply = await this.#app.inject({ ...options, cookies: Object.fromEntries(this.cookies) });
    for (const { name, value, maxAge } of reply.cookies)
      if (value === "" || maxAge === 0) this.cookies.delete(name);
      else this.cookies.set(name, value);
    return reply;
  }

  /** Opens the page as a browser would. */
  async page(): Promise<Reply> {
    const reply = await this.request({ url: "/", headers: { accept: "text/html,*/*" } });
    this.csrf = /name="csrf" value="([^"]+)"/.exec(reply.body)?.[1] ?? this.csrf;
    return reply;
  }

  async look(): Promise<QueueAnswer> {
    const reply = await this.request({ url: "/", headers: { accept: "application/json" } });
    const answer = reply.json<QueueAnswer>();
    this.csrf = answer.csrf;
    return answer;
  }

  /** Posts a form, without JavaScript. */
  async post(path: "/add" | "/remove", fields: Record<string, string> = {}): Promise<Reply> {
    if (this.csrf === "") await this.page();
    return await this.request({
      method: "POST",
      url: path,
      headers: { accept: "text/html", "content-type": "application/x-www-form-urlencoded" },
      payload: new URLSearchParams({ csrf: this.csrf, ...fields }).toString(),
    });
  }

  /** Posts as the page's script does. */
  async send(path: "/add" | "/remove", fields: Record<string, string> = {}): Promise<Reply> {
    if (this.csrf === "") await this.look();
    return await this.request({
      method: "POST",
      url: path,
      headers: {
        accept: "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "x-csrf-token": this.csrf,
      },
      payload: new URLSearchParams(fields).toString(),
    });
  }

  async add(text: string): Promise<QueueAnswer> {
    const reply = await this.send("/add", { text });
    if (reply.statusCode !== 201) throw new Error(`add answered ${reply.statusCode}: ${reply.body}`);
    return reply.json<QueueAnswer>();
  }

  async remove(): Promise<QueueAnswer> {
    const reply = await this.send("/remove");
    if (reply.statusCode !== 200) throw new Error(`remove answered ${reply.statusCode}: ${reply.body}`);
    return reply.json<QueueAnswer>();
  }
}
