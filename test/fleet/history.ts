/**
 * What happened to a queue, and whether every page told the truth about it.
 *
 * All processes of a machine share the monotonic clock, and here even one process writes the history down, so "before" needs
 * no luck: an operation has a moment at which it was sent and one at which it was answered, and it took effect somewhere
 * between the two. From that follows what a page may show and what it must show; everything else is a finding.
 */

/** An operation that changed the queue. `answeredAt` is Infinity where the answer was lost: it may have taken effect or not. */
export interface Change {
  readonly kind: "add" | "remove";
  readonly text: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** One view of the queue. */
export interface View {
  readonly texts: readonly string[];
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** What a view, or the whole history, got wrong. */
export interface Finding {
  readonly kind:
    | "stale: shows a removed item"
    | "stale: lacks an item"
    | "from the future"
    | "unknown item"
    | "doubled"
    | "out of order";
  readonly text: string;
}

interface Life {
  readonly added: Change;
  readonly removed: Change | undefined;
}

/** Collects changes, then judges views. Texts are unique: each is added once. */
export class History {
  readonly #adds = new Map<string, Change>();
  readonly #removes = new Map<string, Change[]>();

  /** Notes a change once its outcome is known. */
  note(change: Change): void {
    if (change.kind === "add") this.#adds.set(change.text, change);
    else this.#removes.set(change.text, [...(this.#removes.get(change.text) ?? []), change]);
  }

  /** What is wrong with the changes themselves: an item handed out twice, or one that nobody added. */
  lossesAndDoubles(): Finding[] {
    return [...this.#removes].flatMap(([text, removes]): Finding[] => [
      ...(removes.length > 1 ? [{ kind: "doubled" as const, text }] : []),
      ...(this.#adds.has(text) ? [] : [{ kind: "unknown item" as const, text }]),
    ]);
  }

  /** What must be in the queue once everything has been answered; items whose fate is unknown are left out. */
  remaining(): string[] {
    return [...this.#lives()]
      .filter(([, { added, removed }]) => added.answeredAt < Infinity && removed === undefined)
      .map(([text]) => text);
  }

  /** What is wrong with a view of the whole queue. Judge views when the history is complete. */
  judge(view: View): Finding[] {
    const lives = this.#lives();
    const shown = new Set(view.texts);
    const findings: Finding[] = [];
    if (shown.size < view.texts.length)
      findings.push({ kind: "doubled", text: view.texts.find((text, at) => view.texts.indexOf(text) !== at) ?? "" });
    for (const text of shown) {
      const life = lives.get(text);
      if (life === undefined) findings.push({ kind: "unknown item", text });
      else if (life.added.sentAt > view.answeredAt) findings.push({ kind: "from the future", text });
      else if (life.removed !== undefined && life.removed.answeredAt < view.sentAt)
        findings.push({ kind: "stale: shows a removed item", text });
    }
    for (const [text, { added, removed }] of lives)
      if (
        !shown.has(text) &&
        added.answeredAt < view.sentAt &&
        !(removed !== undefined && removed.sentAt < view.answeredAt)
      )
        findings.push({ kind: "stale: lacks an item", text });
    return [...findings, ...this.#disorder(view)];
  }

  /** Items that were added one after the other, and are shown the other way round. */
  #disorder(view: View): Finding[] {
    const findings: Finding[] = [];
    let latest = -Infinity;
    for (const text of view.texts.toReversed()) {
      const added = this.#adds.get(text);
      if (added === undefined) continue;
      if (-added.sentAt < latest) findings.push({ kind: "out of order", text });
      latest = Math.max(latest, -added.answeredAt);
    }
    return findings;
  }

  #lives(): Map<string, Life> {
    return new Map([...this.#adds].map(([text, added]) => [text, { added, removed: this.#removes.get(text)?.[0] }]));
  }
}
