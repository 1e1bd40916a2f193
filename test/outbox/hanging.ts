/**
 * What the processes of the tests that are killed have in common: the database that their arguments name (`postgres <url>
 * <schema>` or `sqlite <file>`), and a cache that says a word when it is told, and never answers.
 */
import Sqlite from "libsql";
import pg from "pg";

const [kind, place = "", schema = ""] = process.argv.slice(2);

export const db =
  kind === "postgres"
    ? new pg.Pool({ connectionString: place, options: `-c search_path=${schema}` })
    : new Sqlite(place);

export function hangingCache(word: string) {
  const hang = (): Promise<void> =>
    new Promise(() => {
      process.stdout.write(`${word}\n`);
    });
  // Nothing else keeps the process there until it is killed.
  setInterval(() => undefined, 60_000);
  return { name: "shop", invalidate: hang, invalidateTags: hang };
}
