/** A real Chromium, driven as a person would; every page is watched for errors and for breaches of its policy. */
import { after, type TestContext } from "node:test";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { programFile } from "./programs.ts";

export interface Watched {
  readonly page: Page;
  /** Errors, dialogs and policy breaches so far. Failed requests are not among them; tests cause some on purpose. */
  readonly complaints: readonly string[];
}

/** One browser for the test file; each page has a fresh profile. */
export function testBrowser(): (t: TestContext, options?: BrowserContextOptions) => Promise<Watched> {
  let browser: Promise<Browser> | undefined;
  after(async () => {
    await (await browser)?.close();
  });
  return async (t, options = {}) => {
    browser ??= chromium.launch({
      executablePath: programFile("chromium"),
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    });
    const context = await (await browser).newContext({ reducedMotion: "reduce", ...options });
    t.after(() => context.close());
    context.setDefaultTimeout(10_000);
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => void complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !text.startsWith("Failed to load resource"))
        complaints.push(`console: ${text}`);
    });
    page.on("dialog", (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    return { page, complaints };
  };
}

/**
 * What an accessibility checker would say about the page, as far as a script can tell: names, labels, landmarks, headings,
 * ids, and the contrast of every text with what is behind it (WCAG 2.2 AA).
 */
export async function accessibilityFindings(page: Page): Promise<string[]> {
  return (await page.evaluate(`(${audit})()`)) as string[];
}

// Runs in the page, so it is text here.
const audit = String.raw`() => {
  const found = [];
  const all = [...document.querySelectorAll("body *")];
  const visible = (e) => e.checkVisibility() && e.getClientRects().length > 0;
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title) found.push("no title");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  let level = 1;
  for (const h of document.querySelectorAll("h1,h2,h3,h4")) {
    const next = Number(h.tagName[1]);
    if (next > level + 1) found.push("heading jumps to " + h.textContent);
    level = next;
  }
  const ids = all.map((e) => e.id).filter(Boolean);
  for (const id of ids) if (ids.filter((each) => each === id).length > 1) found.push("id twice: " + id);
  for (const e of all) {
    for (const name of ["aria-describedby", "aria-labelledby"])
      for (const id of (e.getAttribute(name) ?? "").split(" ").filter(Boolean))
        if (!document.getElementById(id)) found.push(name + " leads nowhere: " + id);
    if (e.tabIndex > 0) found.push("tabindex above 0");
    if (e.matches("input:not([type=hidden]),select,textarea") && !e.labels?.length) found.push("no label: " + e.outerHTML);
    if (e.matches("button,a[href]") && !e.textContent.trim()) found.push("no name: " + e.outerHTML);
    if (e.matches("img:not([alt])")) found.push("no alt: " + e.outerHTML);
    if (e.matches("button,input:not([type=hidden])") && visible(e)) {
      const box = e.getBoundingClientRect();
      if (box.height < 24 || box.width < 24) found.push("small target: " + e.outerHTML);
    }
  }
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = color;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
    return (x + 0.05) / (y + 0.05);
  };
  for (const e of all) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if ((!own && !e.matches("input[type=text]")) || !visible(e)) continue;
    const style = getComputedStyle(e);
    const ground = behind(e);
    const colors = [style.color];
    if (e.matches("input")) colors.push(getComputedStyle(e, "::placeholder").color);
    for (const color of colors) {
      const ratio = contrast(over(rgba(color), ground), ground);
      if (ratio < 4.5) found.push("contrast " + ratio.toFixed(2) + ": " + e.outerHTML.slice(0, 80));
    }
    if (e.matches("input[type=text]")) {
      const ratio = contrast(over(rgba(style.borderTopColor), ground), ground);
      if (ratio < 3) found.push("border contrast " + ratio.toFixed(2));
    }
  }
  return found;
}`;
