/**
 * Whose answer about a generation is good for whom: only questions asked after a reader came, and the first of them that is
 * answered.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, ReadSink } from "#src/backend/backend.ts";
import type { Deliveries } from "#src/cache/deliveries.ts";
import { Generations } from "#src/cache/generations.ts";
import { nextMoment } from "#src/cache/moments.ts";
import { systemRandom } from "#src/clock.ts";

/** Generations on a backend that answers when it is told to, in the order of asking or another. */
function questioned(): { generations: Generations; asked: ReadSink[] } {
  const asked: ReadSink[] = [];
  const backend = { serverOf: () => "one", readInto: (_wire, _want, sink) => void asked.push(sink) } as Pick<
    Backend,
    "serverOf" | "readInto"
  > as Backend;
  const deliveries = { blocked: (_server) => false } as Pick<Deliveries, "blocked"> as Deliveries;
  return { generations: new Generations(backend, deliveries, systemRandom), asked };
}

const bytes = (text: string): [Buffer, number, number] => [Buffer.from(text), 0, text.length];

test("who came before a question that is answered does not wait for a later one", () => {
  const { generations, asked } = questioned();
  const early = nextMoment();
  const first = generations.read("tag", early);
  const late = nextMoment();
  const second = generations.read("tag", late);
  assert.notEqual(second, first);
  assert.equal(asked.length, 2);
  asked[0]?.glance?.(...bytes("aaaaaaaa"));
  assert.equal(generations.read("tag", early), first);
  assert.deepEqual([first.state, first.current], ["known", "aaaaaaaa"]);
  // Its answer is too old for who came after it was asked.
  assert.equal(generations.read("tag", late), second);
  assert.equal(second.state, "asked");
});

test("an answer that comes late does not take the place of a later question's", () => {
  const { generations, asked } = questioned();
  generations.read("tag", nextMoment());
  const moment = nextMoment();
  const second = generations.read("tag", moment);
  asked[1]?.glance?.(...bytes("bbbbbbbb"));
  asked[0]?.glance?.(...bytes("aaaaaaaa"));
  assert.equal(generations.read("tag", moment), second);
  assert.equal(second.current, "bbbbbbbb");
  const third = generations.read("tag", nextMoment());
  assert.equal(third.state, "asked");
});
