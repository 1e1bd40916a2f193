/**
 * `everfresh outbox`: the table, the triggers and the relay of the outbox, for people and for deployments.
 *
 * It opens the database that DATABASE_URL (or `--db`) names with the driver of the project it is run in.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { cacheFromEnv, type CacheFromEnv } from "../cache/index.ts";
import { systemClock, type Timer } from "../clock.ts";
import { EverfreshError, reasonOf } from "../errors.ts";
import type { EventName, EventShapes } from "../events.ts";
import { createOutbox, type Outbox, type OutboxCache } from "../outbox/index.ts";
import { openDatabase } from "./outbox-database.ts";

const help = `everfresh outbox: invalidations that commit with the data.

  everfresh outbox install                       create the table
  everfresh outbox watch <table> --tag <tag>     put triggers on a table, so that every writer is seen;
                                                 --tag may be repeated; "item:{id}" is one tag per changed row
  everfresh outbox unwatch <table>               take the triggers away
  everfresh outbox status                        what waits, by namespace; leaves with 1 when something is older than 10 s
  everfresh outbox relay [--once]                deliver what was left, until SIGTERM or SIGINT; --once: what is due now,
                                                 and leave with 1 when some of it could not be delivered

  --db <url>            the database (default: DATABASE_URL): postgres://..., sqlite:///relative.db,
                        sqlite:////absolute.db, sqlite:file or a file name.
                        It is opened with the driver of this project: pg; node:sqlite, better-sqlite3 or libsql
  --namespace <name>    the namespace of the cache (default: everfresh); watch and unwatch leave the triggers of others alone
  --table <name>        the outbox's table (default: everfresh_outbox)

The relay tells the cache that MEMCACHIER_*, MEMCACHEDCLOUD_* or MEMCACHE_* name, and needs one of them.
`;

const flags = {
  db: { type: "string" },
  namespace: { type: "string", default: "everfresh" },
  table: { type: "string" },
  tag: { type: "string", multiple: true, default: [] as string[] },
  once: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

/** A database that takes longer for a statement of the relay counts as hung: it is asked again on another connection. */
const relayAnswerMs = 5_000;
/** How long the relay may take to end. */
const leaveMs = 5_000;

/** Runs one of its commands. @returns the exit code */
export async function outbox(args: string[]): Promise<number> {
  const { values, positionals } = read(args);
  const [command, table] = positionals;
  if (values.help || command === undefined) {
    (values.help ? process.stdout : process.stderr).write(help);
    return values.help ? 0 : 2;
  }
  const takesTable = command === "watch" || command === "unwatch";
  const isKnown = takesTable || command === "install" || command === "status" || command === "relay";
  if (!isKnown || positionals.length !== (takesTable ? 2 : 1)) {
    const wrong = isKnown
      ? `${command} takes ${takesTable ? "one table" : "nothing else"}`
      : `there is no command ${command}`;
    process.stderr.write(`everfresh outbox: ${wrong}\n\n${help}`);
    return 2;
  }
  const answerMs = command === "relay" ? relayAnswerMs : undefined;
  const database = await openDatabase(values.db ?? process.env["DATABASE_URL"], command === "install", answerMs);
  const toldCache = command === "relay" ? await sharedCache(values.namespace) : undefined;
  // Only the relay tells a cache; the other commands need to know no more than its name.
  const cache: OutboxCache = toldCache?.cache ?? { name: values.namespace, invalidate: nobody, invalidateTags: nobody };
  const made = createOutbox({
    db: database.handle,
    caches: cache,
    relay: command === "relay" && !values.once,
    ...(values.table === undefined ? {} : { table: values.table }),
  });
  try {
    if (command === "relay") return await relay(made, values.once, toldCache?.description ?? "");
    if (command === "status") return await status(made);
    if (command === "install") await made.install();
    else if (command === "watch") await made.watch(table ?? "", { tags: values.tag });
    else await made.unwatch(table ?? "");
    process.stdout.write(`${command}: done\n`);
    return 0;
  } finally {
    await made.close();
    await toldCache?.close();
    await database.close();
  }
}

function read(args: string[]) {
  try {
    return parseArgs({ args, options: flags, allowPositionals: true });
  } catch (error) {
    throw new EverfreshError("EF_OPTION", error instanceof Error ? error.message : String(error));
  }
}

/**
 * The cache that the relay tells. It removes what it has delivered, so one that nobody else sees would lose it.
 *
 * @throws EverfreshError `EF_OPTION` where the environment names no servers
 */
async function sharedCache(namespace: string): Promise<CacheFromEnv> {
  const told = await cacheFromEnv(process.env, { namespace });
  if (told.kind === "memcached") return told;
  await told.close();
  throw new EverfreshError(
    "EF_OPTION",
    `the relay has no cache to tell that others see, and delivers nothing. ${told.description} Set MEMCACHIER_SERVERS, MEMCACHIER_USERNAME and MEMCACHIER_PASSWORD, or MEMCACHE_SERVERS, as the app has them`,
  );
}

function nobody(): Promise<never> {
  return Promise.reject(new EverfreshError("EF_OPTION", "no cache is told by this command"));
}

async function relay(made: Outbox, once_: boolean, description: string): Promise<number> {
  if (once_) {
    const stopTelling = tellRefusals("they stay for the next relay");
    const delivered = await made.relayOnce();
    stopTelling();
    const { failed } = made.relayCounts;
    process.stdout.write(`relay: ${delivered} rows delivered${failed > 0 ? `, ${failed} were not` : ""}\n`);
    return failed > 0 ? 1 : 0;
  }
  const stopTelling = [tellTroubles(made), tellRefusals("it goes on trying")];
  const release = holdProcess();
  // Whoever reads that it runs may stop it at once.
  const stopped = Promise.race([once(process, "SIGTERM"), once(process, "SIGINT")]);
  process.stdout.write(`relay: running; ${description}\n`);
  await stopped;
  release();
  // What hangs must not hold up the end: Docker kills after ten seconds.
  systemClock.after(leaveMs, () => {
    process.stderr.write("relay: the database does not answer; leaving without it\n");
    process.exit(1);
  });
  for (const stop of stopTelling) stop();
  const { delivered, failed, errors } = made.relayCounts;
  process.stdout.write(`relay: ${delivered} rows delivered, ${failed} attempts and ${errors} looks failed\n`);
  return 0;
}

/** Neither a signal that is waited for nor the relay's timer keeps a process alive. */
function holdProcess(): () => void {
  let timer: Timer;
  const hold = () => {
    timer = systemClock.after(3_600_000, hold, true);
  };
  hold();
  return () => timer.cancel();
}

/** Says on standard error what troubles the relay, once until it goes well again. @returns what ends it */
function tellTroubles(made: Outbox): () => void {
  const channel = "everfresh:outbox:error" satisfies EventName;
  let [said, wentWell] = ["", 0];
  const tell = (event: unknown) => {
    const { what, error } = event as EventShapes[typeof channel];
    const { passes, errors } = made.relayCounts;
    const trouble = `${what}: ${reasonOf(error)}`;
    // Listening is tried again after each look that went well; that is no news of it.
    if (trouble === said && (what === "listen" || passes - errors === wentWell)) return;
    [said, wentWell] = [trouble, passes - errors];
    process.stderr.write(`relay: ${trouble}${what === "drop" ? "" : "; it goes on trying"}\n`);
  };
  subscribe(channel, tell);
  return () => unsubscribe(channel, tell);
}

/** Says on standard error why rows were not delivered, once until all are that were due. @returns what ends it */
function tellRefusals(next: string): () => void {
  const channel = "everfresh:outbox:relayed" satisfies EventName;
  let said = "";
  const tell = (event: unknown) => {
    const { pending, error } = event as EventShapes[typeof channel];
    const reason = pending === 0 ? "" : reasonOf(error);
    if (reason !== said && reason !== "")
      process.stderr.write(`relay: ${pending} rows were not delivered: ${reason}; ${next}\n`);
    said = reason;
  };
  subscribe(channel, tell);
  return () => unsubscribe(channel, tell);
}

/** Rows this old mean that no relay runs, or that a cache server has been away for long. */
const lateMs = 10_000;

async function status(made: Outbox): Promise<number> {
  const { dialect, table, waiting } = await made.status();
  process.stdout.write(`${table} on ${dialect}: ${waiting.length === 0 ? "nothing waits" : ""}\n`);
  for (const { namespace, rows, oldestMs, attempts } of waiting)
    process.stdout.write(`  ${namespace}: ${rows} rows, the oldest ${oldestMs} ms, tried ${attempts} times in vain\n`);
  return waiting.some(({ oldestMs }) => oldestMs > lateMs) ? 1 : 0;
}
