/** Numbers and durations as people read them; the page and the JSON answers use the same words. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** `12,345` */
export function count(value: number): string {
  return whole.format(value);
}

/** `2.1 ms`, `2,004 ms` */
export function milliseconds(value: number): string {
  return `${value < 99.95 ? tenths.format(value) : whole.format(value)} ms`;
}

/** `0.4 s`, `14 s`, `3 min`, `2 h` */
export function age(ms: number): string {
  if (ms < 9_950) return `${tenths.format(ms / 1_000)} s`;
  if (ms < 120_000) return `${whole.format(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${whole.format(ms / 60_000)} min`;
  return `${whole.format(ms / 3_600_000)} h`;
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
