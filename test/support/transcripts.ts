/**
 * Transcripts: what is said to a server and what it must answer, word for word.
 *
 *     # a comment, which becomes the name of what follows
 *     > get a          sent, with CR LF behind it
 *     < END            the answer, with CR LF behind it
 *     <m ERROR         the answer of memcached 1.6.18 where ours is different on purpose
 *     <o HD            ours
 *     <<               the server hangs up (<<m, <<o)
 *     !                the rest is for ours only: memcached 1.6.18 lacks it
 *
 * `\r`, `\n`, `\xff` and `\\` are escapes; a line that ends in `\` is sent or expected without CR LF. `{x*300}` stands
 * for 300 times x.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type Speaker = "memcached" | "ours";

export interface Exchange {
  readonly comment: string;
  readonly sent: string;
  readonly expected: string;
  readonly hangsUp: boolean;
}

export interface Transcript {
  readonly name: string;
  exchanges(speaker: Speaker): Exchange[];
}

const folder = "test/conformance/transcripts";

export function transcripts(): Transcript[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".txt"))
    .toSorted()
    .map((file) => {
      const lines = readFileSync(join(folder, file), "utf8").split("\n");
      return { name: file.replace(/\.txt$/, ""), exchanges: (speaker) => read(lines, speaker) };
    });
}

function read(lines: readonly string[], speaker: Speaker): Exchange[] {
  const exchanges: Exchange[] = [];
  let comment = "";
  let sent = "";
  let expected = "";
  let hangsUp = false;
  const finish = (): void => {
    if (sent !== "") exchanges.push({ comment, sent, expected, hangsUp });
    sent = expected = "";
    hangsUp = false;
  };
  for (const line of lines) {
    const match = /^(>|<<?)([mo]?)(?: (.*))?$/.exec(line);
    if (line.startsWith("#")) {
      finish();
      comment = line.slice(1).trim();
    } else if (line === "!") {
      finish();
      if (speaker === "memcached") return exchanges;
    } else if (match !== null) {
      const [, kind, only, text = ""] = match;
      if (kind === ">" && (expected !== "" || hangsUp)) finish();
      if (only !== "" && (only === "m") !== (speaker === "memcached")) continue;
      if (kind === ">") sent += plain(text);
      else if (kind === "<") expected += plain(text);
      else hangsUp = true;
    } else if (line !== "") throw new Error(`no line of a transcript: ${line}`);
  }
  finish();
  return exchanges;
}

function plain(text: string): string {
  const isOpen = /(?<!\\)(\\\\)*\\$/.test(text);
  const line = isOpen ? text.slice(0, -1) : `${text}\r\n`;
  return line
    .replaceAll(/\{(.)\*(\d+)\}/g, (_all, letter: string, times: string) => letter.repeat(Number(times)))
    .replaceAll(/\\(r|n|\\|x[0-9a-f]{2})/g, (_all, escape: string) => {
      if (escape === "r") return "\r";
      if (escape === "n") return "\n";
      return escape === "\\" ? "\\" : String.fromCharCode(Number.parseInt(escape.slice(1), 16));
    });
}
