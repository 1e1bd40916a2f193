/**
 * A page for everybody with holes in it, for what is one visitor's own: a CSRF token, a name, a notice.
 *
 * The page is rendered once, with a marker in the place of each hole, and cut there; what is kept are the bytes around the
 * holes and where they are. A marker is drawn anew for every rendering and never leaves it, so no text of a visitor can
 * be taken for a hole. What is filled in is never kept.
 *
 *     byte  0      0xF2: this format
 *     bytes 1-4    length of the head, big endian
 *     then         the head, JSON: [offset of the hole, its name], in order, and the facts; then the bytes
 */
import { systemRandom, type Random } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { checkTexts } from "./checks.ts";

/** HTML that is put into a hole as it is. */
export class TrustedHtml {
  readonly html: string;

  constructor(html: string) {
    this.html = html;
  }

  /** For templates that are rendered without a cache, with the values themselves in the places of the holes. */
  toString(): string {
    return this.html;
  }
}

/** Says that `html` needs no escaping, because whoever wrote it has escaped what came from elsewhere. */
export function trustedHtml(html: string): TrustedHtml {
  return new TrustedHtml(html);
}

/** What fills a hole: a text, which is escaped for HTML and for quoted attributes, or {@link trustedHtml}. */
export type HoleValue = string | TrustedHtml;

/** A page that was cut, ready to be filled any number of times. */
export interface OpenedPage<Name extends string, Facts> {
  /** What its renderer left for those who fill it. */
  readonly facts: Facts;
  /**
   * The page of one visitor: not to be kept by anybody, so send it with `Cache-Control: no-store`.
   *
   * @throws EverfreshError `EF_OPTION` for a hole of this page that is left out; fill it with `""` where it is to be empty
   */
  readonly fillIn: (values: Readonly<Record<Name, HoleValue>>) => Buffer;
}

interface Head {
  readonly holes: readonly (readonly [offset: number, name: string])[];
  readonly facts?: unknown;
}

const format = 0xf2;
const headAt = 5;

/**
 * A page with the holes `names`. Keep what `cut` makes in the cache, and `fillIn` what the cache has for each visitor.
 *
 * @typeParam Facts what renderers leave beside the page for those who fill it; JSON
 *
 * @example
 * const page = new PageWithHoles(["csrf", "notice"]);
 * const load = async () => page.cut((holes) => render({ items: await queue.get("main"), ...holes }));
 * const bytes = await cache.getOrSet("queue-page", load, { ttl: "10m", tags: ["queue_item"], collects: true, shared: true });
 * reply.type("text/html").send(page.open(bytes).fillIn({ csrf: token, notice: "Added." }));
 */
export class PageWithHoles<const Name extends string, Facts = unknown> {
  readonly #names: readonly Name[];
  readonly #random: Random;
  readonly #opened = new WeakMap<Uint8Array, OpenedPage<Name, Facts>>();

  /** @throws EverfreshError `EF_OPTION` for names that are no list of texts */
  constructor(names: readonly Name[], random: Random = systemRandom) {
    checkTexts("what names the holes of a page", names, "a list of texts");
    this.#names = names;
    this.#random = random;
  }

  /**
   * Renders the page and cuts it at its holes. `render` gets a text for each name, to be put where the hole shall be, any
   * number of times or not at all: between tags or in a quoted attribute.
   */
  async cut(
    render: (holes: Readonly<Record<Name, string>>) => string | Promise<string>,
    ...[facts]: unknown extends Facts ? [] : [facts: Facts]
  ): Promise<Buffer> {
    // Letters and digits, so that no template engine changes it.
    const mark = `hole${Buffer.from(this.#random.bytes(16)).toString("hex")}x`;
    const holes = Object.fromEntries(this.#names.map((name, index) => [name, `${mark}${index}z`]));
    if (typeof render !== "function")
      throw new EverfreshError("EF_OPTION", `what renders a page with holes is ${typeof render}; it is a function`);
    const rendered: unknown = await render(holes as Record<Name, string>);
    // Hono's JSX makes an object of type String.
    const html = typeof rendered === "object" ? rendered?.valueOf() : rendered;
    if (typeof html !== "string")
      throw new EverfreshError("EF_VALUE", `a page with holes was rendered as ${typeof html}; it is a text`);
    const [start = "", ...rest] = html.split(mark);
    const pieces = [Buffer.from(start)];
    const places: [number, string][] = [];
    let offset = pieces[0]?.length ?? 0;
    for (const text of rest) {
      const end = text.indexOf("z");
      places.push([offset, this.#names[Number(text.slice(0, end))] ?? ""]);
      const piece = Buffer.from(text.slice(end + 1));
      offset += piece.length;
      pieces.push(piece);
    }
    const head = Buffer.from(JSON.stringify({ holes: places, facts } satisfies Head));
    const prefix = Buffer.alloc(headAt);
    prefix[0] = format;
    prefix.writeUInt32BE(head.length, 1);
    return Buffer.concat([prefix, head, ...pieces]);
  }

  /**
   * What `cut` made. The same bytes are taken apart once.
   *
   * @throws EverfreshError `EF_VALUE` for other bytes, and for a page with a hole that this one does not have: give pages
   *   another key when their holes change
   */
  open(bytes: Uint8Array): OpenedPage<Name, Facts> {
    let opened = this.#opened.get(bytes);
    if (opened === undefined) this.#opened.set(bytes, (opened = this.#takeApart(bytes)));
    return opened;
  }

  #takeApart(bytes: Uint8Array): OpenedPage<Name, Facts> {
    if (!(bytes instanceof Uint8Array))
      throw new EverfreshError("EF_VALUE", "what open takes are the bytes that cut made");
    const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (all.length < headAt || all[0] !== format) throw new EverfreshError("EF_VALUE", "these bytes are no cut page");
    const bodyAt = headAt + all.readUInt32BE(1);
    const { holes, facts } = JSON.parse(all.toString("utf8", headAt, bodyAt)) as Head;
    for (const [, name] of holes)
      if (!this.#names.includes(name as Name))
        throw new EverfreshError("EF_VALUE", `this page has a hole ${JSON.stringify(name)} that nobody fills`);
    const pieces = piecesOf(all.subarray(bodyAt), holes);
    return { facts: facts as Facts, fillIn: (values) => filled(pieces, values ?? {}) };
  }
}

/** The text around the holes; its "characters" are the bytes of the page, which a string of latin-1 holds as they are. */
interface Pieces {
  readonly start: string;
  readonly rest: readonly { readonly name: string; readonly after: string }[];
}

function piecesOf(body: Buffer, holes: Head["holes"]): Pieces {
  const ends = [...holes.map(([offset]) => offset), body.length];
  const texts = ends.map((end, index) => body.toString("latin1", ends[index - 1] ?? 0, end));
  return {
    start: texts[0] ?? "",
    rest: holes.map(([, name], index) => ({ name, after: texts[index + 1] ?? "" })),
  };
}

/** One string and one copy: half the time of copying piece by piece. */
function filled({ start, rest }: Pieces, values: Readonly<Record<string, HoleValue>>): Buffer {
  let page = start;
  for (const { name, after } of rest) page += bytesOf(htmlOf(values[name], name)) + after;
  return Buffer.from(page, "latin1");
}

const beyondAscii = /[\u0080-\uffff]/;

function bytesOf(text: string): string {
  return beyondAscii.test(text) ? Buffer.from(text).toString("latin1") : text;
}

const special = /[&<>"']/;
const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function htmlOf(value: HoleValue | undefined, name: string): string {
  if (typeof value !== "string") {
    if (typeof value?.html === "string") return value.html;
    throw new EverfreshError("EF_OPTION", `the hole ${name} is filled with no text, nor with trustedHtml of one`);
  }
  return special.test(value) ? value.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? "") : value;
}
