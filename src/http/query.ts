/**
 * The query of a URL in one canonical form, so that `?b=2&a=1` and `?a=1&b=2` are one page.
 *
 * Parameters are sorted by their name; those of one name keep their order, which programs do observe, also where some of
 * them are written in another way (`%61`, `a[]`, `a.b`). Nothing is decoded: `%41` and `A` stay two pages, because what
 * decodes them in between is not ours to know.
 */

/**
 * Which parameters count: all of them, or those in a list. What does not count, the handler does not get to see. What parsers
 * such as `qs` put into a parameter of the list (`n[a]`, `[n]`, `n.a`) counts with it, because they have done so by then.
 */
export type QueryRule = "all" | readonly string[];

/** The canonical form of `query` (without its `?`), with only the parameters that count. */
export function canonicalQuery(query: string, rule: QueryRule): string {
  if (query === "" || (rule !== "all" && rule.length === 0)) return "";
  if (rule === "all" && !query.includes("&")) return query;
  const kept = query.split("&").filter((part) => part !== "" && (rule === "all" || counts(part, rule)));
  if (kept.length < 2) return kept[0] ?? "";
  return kept.toSorted((a, b) => compare(variableOf(a), variableOf(b))).join("&");
}

function counts(part: string, names: readonly string[]): boolean {
  return names.includes(decodedName(part)) || names.includes(variableOf(part));
}

/** What a program may put a parameter into: its decoded name between brackets and dots. */
function variableOf(part: string): string {
  return decodedName(part)
    .replace(/^[[.]+/, "")
    .replace(/[[\].].*$/s, "");
}

function nameOf(part: string): string {
  const equals = part.indexOf("=");
  return equals < 0 ? part : part.slice(0, equals);
}

/** The name as a program will see it: a list of names must not be bypassed by `%70age=2`. */
function decodedName(part: string): string {
  const name = nameOf(part).replaceAll("+", " ");
  if (!name.includes("%")) return name;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
