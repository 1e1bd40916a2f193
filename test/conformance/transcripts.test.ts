/**
 * Every transcript is spoken to a real memcached and to our server; both must answer word for word: said line by line,
 * byte by byte, and (to ours) all at once.
 */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createServer } from "everfresh/server";
import { startMemcached } from "../support/memcached.ts";
import { needs } from "../support/programs.ts";
import { type Conversation, talk } from "../support/talk.ts";
import { type Exchange, type Speaker, transcripts } from "../support/transcripts.ts";

/** Long enough for the loopback to deliver what was sent before in a piece of its own. */
const bytewise = 200;

for (const speaker of ["memcached", "ours"] as const)
  suite(speaker === "ours" ? "our server" : "memcached", speaker === "memcached" ? needs("memcached") : {}, () => {
    for (const transcript of transcripts()) {
      test(`speaks the transcript "${transcript.name}" line by line`, async () => {
        await withServer(speaker, async (port) => speak(await talk(port), transcript.exchanges(speaker), sendWhole));
      });
      test(`speaks the transcript "${transcript.name}" byte by byte`, async () => {
        await withServer(speaker, async (port) => speak(await talk(port), transcript.exchanges(speaker), sendBytes));
      });
    }
  });

suite("our server", () => {
  for (const transcript of transcripts())
    test(`answers the transcript "${transcript.name}" said all at once`, async () => {
      const exchanges = transcript.exchanges("ours");
      await withServer("ours", async (port) => {
        const conversation = await talk(port);
        conversation.send(exchanges.map(({ sent }) => sent).join(""));
        const expected = exchanges.map((exchange) => exchange.expected).join("");
        assert.equal(await conversation.hear(expected.length), expected);
        conversation.close();
      });
    });
});

async function speak(
  conversation: Conversation,
  exchanges: readonly Exchange[],
  send: (conversation: Conversation, text: string) => Promise<void>,
): Promise<void> {
  for (const { comment, sent, expected, hangsUp } of exchanges) {
    await send(conversation, sent);
    const where = `${comment}: ${JSON.stringify(sent.slice(0, 200))}`;
    if (hangsUp) assert.equal(await conversation.hearAll(), expected, where);
    else assert.equal(await conversation.hear(expected.length), expected, where);
    if (!hangsUp) assert.equal(conversation.heard(), "", where);
  }
  conversation.close();
}

async function sendWhole(conversation: Conversation, text: string): Promise<void> {
  conversation.send(text);
}

/** The commands byte by byte; long data in few pieces. */
async function sendBytes(conversation: Conversation, text: string): Promise<void> {
  const head = text.slice(0, bytewise);
  for (const byte of head) {
    conversation.send(byte);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  for (let at = bytewise; at < text.length; at += 50_001) conversation.send(text.slice(at, at + 50_001));
}

/** A server that has just started, because transcripts count CAS values from 1. */
async function withServer(speaker: Speaker, use: (port: number) => Promise<void>): Promise<void> {
  const server = speaker === "ours" ? await createServer().listen() : await startMemcached();
  try {
    await use(server.port);
  } finally {
    await ("stop" in server ? server.stop() : server.close());
  }
}
