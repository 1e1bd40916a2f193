/** The routes of the article: look, add, remove. Looking changes nothing; changing answers when the change is committed. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { AnswerError, sendHtml, sendJson, wantsJson } from "./answers.ts";
import type { Config } from "./config.ts";
import type { Database } from "./database.ts";
import { textField } from "./form.ts";
import { checkText } from "./item-text.ts";
import { leaveNotice, takeNotice } from "./notice-cookie.ts";
import { panel, positionOf, writeCost, type Notice, type Pages, type WriteCost } from "./page.ts";
import type { Item, QueueStore } from "./queue-store.ts";
import type { Look, QueueViews } from "./queue-view.ts";
import { csrfToken } from "./security.ts";
import { count, quoted } from "./words.ts";

export interface RouteParts {
  readonly config: Pick<Config, "maxItems" | "writesPerMinute">;
  readonly database: Database;
  readonly store: QueueStore;
  readonly views: QueueViews;
  readonly pages: Pages;
}

export function queueRoutes(app: FastifyInstance, parts: RouteParts): void {
  const { store, views, pages } = parts;
  // Both come after the body was read, so that a form that is refused can keep what was typed. One limit for all writes.
  const token = app.csrfProtection.bind(app);
  const write = { preHandler: parts.config.writesPerMinute > 0 ? [app.rateLimit(), token] : token };

  app.get("/", async (request, reply) => {
    const look = await lookOrFail(views);
    const csrf = csrfToken(request, reply);
    if (wantsJson(request)) return sendJson(reply, { ...state(look), csrf });
    const carried = takeNotice(request, reply);
    return sendHtml(reply, pages.queue({ look, csrf, notice: carried?.notice, write: carried?.write }));
  });

  app.post("/add", write, async (request, reply) => {
    const started = performance.now();
    const checked = checkText(textField(request, "text"));
    if (checked.kind === "refused")
      throw new AnswerError(400, `text-${checked.reason}`, checked.message, { field: "text" });
    const item = await written(parts, () => addItem(parts, checked.text));
    const refresh = await views.refresh();
    const cost = writeCost("add", performance.now() - started, refresh);
    return await answerWrite(reply, parts, { cost, added: item });
  });

  app.post("/remove", write, async (_request, reply) => {
    const started = performance.now();
    const item = await written(parts, () => store.removeFront());
    if (item === undefined) throw new AnswerError(409, "empty", "The queue is empty: there is nothing to remove.");
    const refresh = await views.refresh();
    const cost = writeCost("remove", performance.now() - started, refresh);
    return await answerWrite(reply, parts, { cost, removed: item });
  });
}

/** The view and where it came from, as JSON answers carry them. */
function state(look: Look): object {
  return { view: look.view, panel: panel(look) };
}

async function lookOrFail(views: QueueViews): Promise<Look> {
  try {
    return await views.look();
  } catch (cause) {
    throw new AnswerError(503, "unavailable", "The database does not answer at the moment. Please try again.", {
      cause,
    });
  }
}

async function addItem(parts: RouteParts, text: string): Promise<Item> {
  if (await parts.store.holds(parts.config.maxItems))
    throw new AnswerError(409, "full", `The queue is full: it holds ${count(parts.config.maxItems)} items.`, {
      field: "text",
    });
  return await parts.store.add(text);
}

/** Runs a write; when it fails without a clear answer, the cache is told as if it had succeeded, because it may have. */
async function written<Result>(parts: RouteParts, write: () => Promise<Result>): Promise<Result> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof AnswerError) throw cause;
    parts.views.doubt(parts.database.uncertainMs);
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
  const look = await lookOrFail(parts.views);
  const position = done.added && positionOf(look.view, done.added);
  return sendJson(reply.code(done.added === undefined ? 200 : 201), {
    ...items,
    position,
    notice,
    write: cost,
    ...state(look),
  });
}
