/**
 * `everfresh/templates`: cached fragments in template languages.
 *
 * What a fragment shows is in its name and in what it varies on; what invalidates it is in its tags. A page that is rendered
 * around fragments takes over their tags, as `cache.fragment` says.
 */
import { EverfreshError } from "../errors.ts";

/** What fragments need of a cache; the one of `everfresh` has it. */
export interface FragmentCache {
  fragment(
    name: string,
    varyOn: readonly unknown[],
    render: () => string | Promise<string>,
    options?: FragmentOptions,
  ): Promise<string>;
}

/** How a fragment is kept. */
export interface FragmentOptions {
  readonly ttl?: FragmentTtl | undefined;
  readonly tags?: readonly string[] | undefined;
}
type FragmentTtl = `${number}${"ms" | "s" | "m" | "h" | "d"}`;

// -- LiquidJS ----------------------------------------------------------------------------------------------------

/** The parts of LiquidJS that the tag uses. */
interface LiquidEngine {
  readonly parser: { parseStream(tokens: unknown[]): LiquidStream };
  readonly renderer: { renderTemplates(templates: unknown[], context: object): LiquidSteps };
  evalValue(expression: string, context: object): Promise<unknown>;
}
/** What LiquidJS yields while it renders: promises, and generators within generators. */
type LiquidSteps = Pick<Iterator<unknown, unknown, unknown>, "next" | "throw">;
interface LiquidStream {
  on(event: string, listener: (template: unknown) => void): LiquidStream;
  start(): LiquidStream;
  stop(): void;
}
/** A tag of LiquidJS, and what this one notes on it. */
interface LiquidTag {
  liquid: LiquidEngine;
  templates?: unknown[];
  expressions?: readonly string[];
  tags?: string | undefined;
}

/**
 * The block tag `cache` for LiquidJS, after Django's: a time to live, a name, and what the fragment depends on. `tags:` at the
 * end takes a text or a list.
 *
 * @example
 * engine.registerTag("cache", liquidCacheTag(cache));
 * // {% cache "10m", "song", song.id, locale, tags: "songs" %} ... {% endcache %}
 */
export function liquidCacheTag(cache: FragmentCache): {
  parse(this: LiquidTag, token: { readonly args: string; readonly raw?: string }, rest: unknown[]): void;
  render(this: LiquidTag, context: object): Generator<unknown, string, unknown>;
} {
  return {
    parse(token, rest) {
      const { list, named } = argumentsOf(token.args);
      if (list.length < 2)
        throw new EverfreshError("EF_OPTION", `{% cache %} takes a time to live and a name; got ${token.args}`);
      this.expressions = list;
      this.tags = named;
      const templates: unknown[] = [];
      this.templates = templates;
      const stream = this.liquid.parser.parseStream(rest);
      stream
        .on("tag:endcache", () => stream.stop())
        .on("template", (template) => void templates.push(template))
        .on("end", () => {
          throw new EverfreshError("EF_OPTION", `{% cache ${token.args} %} has no {% endcache %}`);
        });
      stream.start();
    },
    *render(context) {
      const { liquid, templates = [], expressions = [], tags } = this;
      const values = (yield Promise.all(expressions.map((each) => liquid.evalValue(each, context)))) as unknown[];
      const [ttl, name, ...varyOn] = values;
      const named = tags === undefined ? [] : ((yield liquid.evalValue(tags, context)) as string | readonly string[]);
      const html = yield cache.fragment(
        String(name),
        varyOn,
        () => run(liquid.renderer.renderTemplates(templates, context)),
        { ttl: String(ttl) as FragmentTtl, tags: [named].flat() },
      );
      return html as string;
    },
  };
}

async function run(steps: LiquidSteps): Promise<string> {
  let step = steps.next();
  while (step.done !== true) {
    try {
      step = steps.next(isSteps(step.value) ? await run(step.value) : await step.value);
    } catch (error) {
      if (steps.throw === undefined) throw error;
      step = steps.throw(error);
    }
  }
  return step.value as string;
}

function isSteps(value: unknown): value is LiquidSteps {
  return typeof value === "object" && value !== null && "next" in value && "throw" in value;
}

/** Cuts arguments at commas and spaces that stand outside of quotes. */
function argumentsOf(text: string): { readonly list: readonly string[]; readonly named: string | undefined } {
  const at = /(?:^|[,\s])tags:\s*/.exec(text);
  const before = at === null ? text : text.slice(0, at.index);
  const named = at === null ? undefined : text.slice(at.index + at[0].length).trim();
  return { list: before.match(/"[^"]*"|'[^']*'|[^\s,]+/g) ?? [], named };
}

// -- Eta and other plain engines ---------------------------------------------------------------------------------

/** A list's fragments. */
export interface EachOptions<Item> extends FragmentOptions {
  /** What the fragment of an item depends on, its id before all. */
  readonly varyOn: (item: Item) => readonly unknown[];
  /** Tags of an item's fragment, beside `tags`. */
  readonly tagsOf?: ((item: Item) => readonly string[]) | undefined;
}

/** Fragments for templates that can wait: hand it to them as data. */
export interface Fragments {
  /** One fragment. */
  one(
    name: string,
    varyOn: readonly unknown[],
    render: () => string | Promise<string>,
    options?: FragmentOptions,
  ): Promise<string>;
  /** A fragment for each item, read in one round trip per server; those that are missing are rendered. */
  each<Item>(
    name: string,
    items: readonly Item[],
    render: (item: Item) => string | Promise<string>,
    options: EachOptions<Item>,
  ): Promise<string>;
}

/**
 * Fragments for Eta and whatever else can await within a template.
 *
 * @example
 * await eta.renderAsync("queue", { items, fragments: fragments(cache) });
 * // <%~ await it.fragments.each("item", it.items, (item) => includeAsync("./item", item), { varyOn: (item) => [item.id] }) %>
 */
export function fragments(cache: FragmentCache): Fragments {
  return {
    one: (name, varyOn, render, options) => cache.fragment(name, varyOn, render, options),
    async each(name, items, render, each) {
      if (!Array.isArray(items) || typeof each?.varyOn !== "function")
        throw new EverfreshError(
          "EF_OPTION",
          "each takes a name, a list, the function that renders one of it, and { varyOn: (item) => [item.id] }",
        );
      const { varyOn, tagsOf, tags = [], ...options } = each;
      const texts = items.map((item) =>
        cache.fragment(name, varyOn(item), () => render(item), {
          ...options,
          tags: [...tags, ...(tagsOf?.(item) ?? [])],
        }),
      );
      return (await Promise.all(texts)).join("");
    },
  };
}

// -- Hono's JSX --------------------------------------------------------------------------------------------------

/** The properties of the component. */
export interface CachedProps extends FragmentOptions {
  readonly name: string;
  readonly varyOn?: readonly unknown[] | undefined;
  /** A function, so that nothing is rendered where the fragment is at hand. */
  readonly children?: unknown;
}

/**
 * An asynchronous component for Hono's JSX.
 *
 * @example
 * const Cached = honoFragment(cache);
 * <Cached name="song" varyOn={[song.id]} tags={["songs"]}>{() => <Song song={song} />}</Cached>
 */
export function honoFragment(cache: FragmentCache): (props: CachedProps) => Promise<never> {
  return async ({ name, varyOn = [], children, ...options }) => {
    const child: unknown = [children].flat()[0];
    if (typeof child !== "function")
      throw new EverfreshError("EF_OPTION", `the cached fragment ${name} takes a function as its only child`);
    const html = await cache.fragment(name, varyOn, () => htmlOf((child as () => unknown)()), options);
    // What Hono calls an escaped string: it was escaped when it was rendered.
    return Object.assign(new String(html), { isEscaped: true as const, callbacks: [] }) as never;
  };
}

/** As Hono's JSX shows children: what is no JSX is escaped, lists are put together, nothing shows nothing. */
async function htmlOf(child: unknown): Promise<string> {
  const shown = await child;
  if (Array.isArray(shown)) return (await Promise.all(shown.map(htmlOf))).join("");
  if (shown === undefined || shown === null || typeof shown === "boolean") return "";
  if (typeof shown === "object" && "isEscaped" in shown && shown.isEscaped === true) {
    const { toString } = shown as { toString: () => string | Promise<string> };
    // What an element within waits for makes its text a promise; a text may be an object of type String.
    return (await toString.call(shown)).valueOf();
  }
  return (shown as string | number).toString().replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
