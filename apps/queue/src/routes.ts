/** The routes of the article: look, add, remove. Looking changes nothing; changing answers when the change is committed. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { AnswerError, sendHtml, sendJson, wantsJson } from "./answers.ts";
import type { Config } from "./config.ts";
import { textField } from "./form.ts";
import { checkText } from "./item-text.ts";
import { leaveNotice, takeNotice } from "./notice-cookie.ts";
import { positionOf, type Notice } from "./page.ts";
import { panel, writeCost, type WriteCost } from "./panel.ts";
import type { QueuePages } from "./queue-page.ts";
import type { Item, QueueStore } from "./queue-store.ts";
import type { Look, QueueViews, Seen } from "./queue-view.ts";
import type { QueueWrites, Written } from "./queue-writes.ts";
import { csrfToken } from "./security.ts";
import { count, quoted } from "./words.ts";

export interface RouteParts {
  readonly config: Pick<Config, "maxItems" | "writesPerMinute">;
  readonly store: QueueStore;
  readonly views: QueueViews;
  readonly pages: QueuePages;
  readonly writes: QueueWrites;
}

export function queueRoutes(app: FastifyInstance, parts: RouteParts): void {
  const { views, pages, writes } = parts;
  // Both come after the body was read, so that a form that is refused can keep what was typed. One limit for all writes.
  const token = app.csrfProtection.bind(app);
  const write = { preHandler: parts.config.writesPerMinute > 0 ? [app.rateLimit(), token] : token };

  app.get("/", async (request, reply) => {
    if (wantsJson(request)) {
      const look = await orUnavailable(views.look());
      return sendJson(tellSource(reply, look), { ...state(look), csrf: csrfToken(request, reply) });
    }
    const { seen, fillIn } = await orUnavailable(pages.look());
    const carried = takeNotice(request, reply);
    const own = { csrf: csrfToken(request, reply), notice: carried?.notice, write: carried?.write };
    return sendHtml(tellSource(reply, seen), fillIn(own));
  });

  app.post("/add", write, async (request, reply) => {
    const started = performance.now();
    const checked = checkText(textField(request, "text"));
    if (checked.kind === "refused")
      throw new AnswerError(400, `text-${checked.reason}`, checked.message, { field: "text" });
    const { item, refresh } = await orUncertain(parts, addItem(parts, checked.text));
    const cost = writeCost("add", performance.now() - started, refresh);
    return await answerWrite(reply, parts, { cost, added: item });
  });

  app.post("/remove", write, async (_request, reply) => {
    const started = performance.now();
    const removed = await orUncertain(parts, writes.removeFront());
    if (removed === undefined) throw new AnswerError(409, "empty", "The queue is empty: there is nothing to remove.");
    const cost = writeCost("remove", performance.now() - started, removed.refresh);
    return await answerWrite(reply, parts, { cost, removed: removed.item });
  });
}

/** RFC 9211: whether the answer came from the cache. */
function tellSource(reply: FastifyReply, { source, asked }: Seen): FastifyReply {
  const how = source === "cache" ? "hit" : asked ? "fwd=miss" : "fwd=bypass";
  return reply.header("cache-status", `everfresh; ${how}`);
}

/** The view and where it came from, as JSON answers carry them. */
function state(look: Look): object {
  return { view: look.view, panel: panel(look) };
}

async function orUnavailable<Result>(looking: Promise<Result>): Promise<Result> {
  try {
    return await looking;
  } catch (cause) {
    throw new AnswerError(503, "unavailable", "The database does not answer at the moment. Please try again.", {
      cause,
    });
  }
}

async function addItem({ config, store, writes }: RouteParts, text: string): Promise<Written> {
  if (await store.holds(config.maxItems))
    throw new AnswerError(409, "full", `The queue is full: it holds ${count(config.maxItems)} items.`, {
      field: "text",
    });
  return await writes.add(text);
}

/** Waits for a write; when it fails without a clear answer, the cache is told as if it had succeeded, because it may have. */
async function orUncertain<Result>({ writes }: RouteParts, writing: Promise<Result>): Promise<Result> {
  try {
    return await writing;
  } catch (cause) {
    if (cause instanceof AnswerError) throw cause;
    await writes.doubt();
    throw new AnswerError(
      503,
      "unavailable",
      "The database did not answer, so it is not certain whether that was saved. Look at the queue before you try again.",
      { cause },
    );
  }
}

async function answerWrite(
  reply: FastifyReply,
  parts: RouteParts,
  done: { readonly cost: WriteCost; readonly added?: Item; readonly removed?: Item },
): Promise<FastifyReply> {
  const { cost, ...items } = done;
  const notice: Notice = {
    kind: "done",
    text:
      done.added === undefined ? `Removed ${quoted(done.removed?.text ?? "")}.` : `Added ${quoted(done.added.text)}.`,
  };
  if (!wantsJson(reply.request)) {
    leaveNotice(reply, { notice, write: cost.sentence });
    return reply.redirect(done.added === undefined ? "/" : "/#back", 303);
  }
  const look = await orUnavailable(parts.views.look());
  const position = done.added && positionOf(look.view, done.added);
  return sendJson(reply.code(done.added === undefined ? 200 : 201), {
    ...items,
    position,
    notice,
    write: cost,
    ...state(look),
  });
}
