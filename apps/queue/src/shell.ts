/**
 * A page that has been rendered once and is filled many times: the text between the few places that differ.
 *
 * The template is rendered with a marker in each of these places and cut there. The marker is drawn anew in every process, so
 * no text of a visitor can look like one.
 */
import { randomUUID } from "node:crypto";
import type { Panel } from "./page.ts";

const mark = randomUUID();

/** What differs from one answer to the next; all of it is made by us and needs no escaping. */
const places = {
  csrf: (csrf: string, _panel: Panel) => csrf,
  source: (_csrf: string, panel: Panel) => panel.source,
  took: (_csrf: string, panel: Panel) => panel.words.took,
  age: (_csrf: string, panel: Panel) => panel.words.age,
  query: (_csrf: string, panel: Panel) => panel.words.query,
  sentence: (_csrf: string, panel: Panel) => panel.words.sentence,
  barView: (_csrf: string, panel: Panel) => String(panel.bar.view),
  barQuery: (_csrf: string, panel: Panel) => String(panel.bar.query),
} as const;

type Place = keyof typeof places;

export class Shell {
  readonly #start: string;
  readonly #pieces: readonly { readonly place: Place; readonly after: string }[];

  /** @param render renders the page around what it is given */
  constructor(render: (slots: object) => string) {
    const slot = (place: Place): string => `${mark}${place};`;
    const [start = "", ...rest] = render({
      csrf: slot("csrf"),
      panel: {
        source: slot("source"),
        words: { took: slot("took"), age: slot("age"), query: slot("query"), sentence: slot("sentence") },
        bar: { view: slot("barView"), query: slot("barQuery") },
      },
    }).split(mark);
    this.#start = start;
    this.#pieces = rest.map((piece) => {
      const end = piece.indexOf(";");
      return { place: piece.slice(0, end) as Place, after: piece.slice(end + 1) };
    });
  }

  fill(csrf: string, panel: Panel): string {
    let html = this.#start;
    for (const { place, after } of this.#pieces) html += places[place](csrf, panel) + after;
    return html;
  }
}
