/** Numbers and durations as people read them; the page and the JSON answers use the same words. */

const thousands = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `12,345` */
export function count(value: number): string {
  const rounded = Math.round(value);
  return rounded < 1_000 ? String(rounded) : thousands.format(rounded);
}

/** `2.1 ms`, `2,004 ms` */
export function milliseconds(value: number): string {
  return `${value < 99.95 ? value.toFixed(1) : count(value)} ms`;
}

/** `0.4 s`, `14 s`, `3 min`, `2 h` */
export function age(ms: number): string {
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 120_000) return `${count(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${count(ms / 60_000)} min`;
  return `${count(ms / 3_600_000)} h`;
}

/** `1 item`, `5 items` */
export function items(total: number): string {
  return total === 1 ? "1 item" : `${count(total)} items`;
}

/** An item's text, short enough for a sentence. Cut between code points. */
export function quoted(text: string): string {
  const points = Array.from(text);
  return `“${points.length <= 40 ? text : `${points.slice(0, 39).join("")}…`}”`;
}
