/** The commands that are not about one item: flush_all, version, verbosity, quit, stats and what tunes memcached. */
import { answer, notAllowed } from "./answers.ts";
import { dump } from "./dump.ts";
import type { Session } from "./session.ts";
import { statistics } from "./statistics.ts";
import { Watch, watchable } from "./watch.ts";

const badFormat = "CLIENT_ERROR bad command line format";

/** Does the command in `desk.line`; false when there is no such command. */
export function adminCommand(session: Session): boolean {
  const { line } = session.desk;
  const command = commands[line.text(0)];
  if (command === undefined) return false;
  command(session, line.words, line.words > 1 && line.is(line.words - 1, "noreply"));
  return true;
}

type Command = (session: Session, words: number, silent: boolean) => void;

const commands: Readonly<Record<string, Command>> = Object.assign(Object.create(null) as object, {
  flush_all: flush,
  version: (session: Session) => answer(session, `VERSION ${session.desk.options.version}`),
  verbosity,
  quit: (session: Session) => {
    session.closing = true;
  },
  shutdown,
  stats,
  watch,
  cache_memlimit: memoryLimit,
  slabs,
  lru,
  lru_crawler: crawler,
  refresh_certs: (session: Session) =>
    answer(session, session.desk.house.refreshCertificates() ? "OK" : "Error TLS not enabled"),
});

/** flush_all [delay] [noreply] */
function flush(session: Session, words: number, silent: boolean): void {
  const { line, counters, options } = session.desk;
  if (words > 3) return answer(session, "ERROR");
  counters.cmd_flush++;
  if (!options.flushes || session.account?.canFlush !== true) return answer(session, notAllowed.flush, silent);
  const hasDelay = words !== (silent ? 2 : 1);
  if (hasDelay && !line.integer(1)) return answer(session, "CLIENT_ERROR invalid exptime argument", silent);
  session.account.store.flush(hasDelay ? line.number : 0);
  return answer(session, "OK", silent);
}

/** verbosity <level> [noreply] */
function verbosity(session: Session, words: number, silent: boolean): void {
  const { desk } = session;
  if (words < 2 || words > 3) return answer(session, "ERROR");
  if (!desk.line.unsigned(1)) return answer(session, badFormat, silent);
  desk.verbosity = Math.min(desk.line.number, 3);
  return answer(session, "OK", silent);
}

/** shutdown [graceful] */
function shutdown(session: Session, words: number): void {
  const { line, options, house } = session.desk;
  if (!options.shutdowns || session.account?.canFlush !== true) return answer(session, "ERROR: shutdown not enabled");
  const graceful = words === 2 && line.is(1, "graceful");
  if (words > 1 && !graceful) return answer(session, "CLIENT_ERROR invalid shutdown mode");
  session.closing = true;
  return house.shutdown(graceful);
}

/** stats [group] */
function stats(session: Session, words: number): void {
  const { desk, account } = session;
  const { line, writer } = desk;
  if (account?.canStats !== true) return answer(session, notAllowed.stats);
  const name = words > 1 ? line.text(1) : "";
  if (name === "reset") {
    desk.resetNumbers();
    return answer(session, "RESET");
  }
  if (name === "detail") return detail(session, words > 2 ? line.text(2) : "");
  if (name === "cachedump") return dump(session, "cachedump", words);
  const group = statistics(session, name);
  if (group === undefined) return answer(session, "ERROR");
  for (const [statistic, value] of group) writer.line(`STAT ${statistic} ${value}`);
  return answer(session, "END");
}

function detail(session: Session, what: string): void {
  const { desk } = session;
  // Prefixes are counted for all: where there are users, they would show the keys of others.
  if (desk.accounts.guest === undefined) return answer(session, notAllowed.stats);
  if (what === "on" || what === "off") desk.countPrefixes(what === "on");
  else if (what === "dump") {
    for (const line of desk.prefixes?.dump() ?? []) desk.writer.line(line);
    return answer(session, "END");
  } else return answer(session, "CLIENT_ERROR usage: stats detail on|off|dump");
  return answer(session, "OK");
}

/** watch <what>* */
function watch(session: Session, words: number, silent: boolean): void {
  const { desk } = session;
  if (!desk.options.watches || session.account?.canStats !== true)
    return answer(session, "CLIENT_ERROR watch commands not allowed", silent);
  let bits = words === 1 ? (watchable["fetchers"] ?? 0) : 0;
  for (let word = 1; word < words; word++) {
    const bit = Object.hasOwn(watchable, desk.line.text(word)) ? watchable[desk.line.text(word)] : undefined;
    if (bit === undefined) return answer(session, "ERROR", silent);
    bits |= bit;
  }
  desk.watch ??= new Watch(desk);
  if (!desk.watch.add(session)) return answer(session, "WATCHER_TOO_MANY log watcher limit reached", silent);
  session.watches = bits;
  return answer(session, "OK", silent);
}

/** cache_memlimit <megabytes>: the memory of a running server is fixed here, so only what changes nothing succeeds. */
function memoryLimit(session: Session, words: number, silent: boolean): void {
  const { line } = session.desk;
  if (words < 2 || words > 3) return answer(session, "ERROR");
  if (!line.unsigned(1)) return answer(session, "ERROR", silent);
  const megabytes = line.number;
  if (megabytes < 8) return answer(session, "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m", silent);
  if (megabytes > 1_000_000_000)
    return answer(session, "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes", silent);
  const isSame = megabytes * 1024 * 1024 === session.account?.store.limitBytes;
  return answer(session, isSame ? "OK" : "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust", silent);
}

/** slabs reassign <from> <to> | slabs automove <0|1|2>: accepted where well-formed; there are no slabs to move. */
function slabs(session: Session, words: number, silent: boolean): void {
  const { line } = session.desk;
  if (words === 4 && line.is(1, "reassign")) {
    if (!line.integer(2) || !line.integer(3)) return answer(session, badFormat);
    return answer(session, "NOSPARE source class has no spare pages");
  }
  if (words < 3 || !line.is(1, "automove")) return answer(session, "ERROR");
  if (line.is(2, "ratio")) return answer(session, words > 3 ? "OK" : "ERROR", silent);
  if (!line.unsigned(2)) return answer(session, badFormat, silent);
  return answer(session, line.number <= 2 ? "OK" : "ERROR", silent);
}

/** lru tune|mode|temp_ttl ...: accepted where well-formed; what is dropped is decided otherwise here. */
function lru(session: Session, words: number, silent: boolean): void {
  const { line } = session.desk;
  if (words >= 6 && line.is(1, "tune")) {
    const numbers = [2, 3, 4, 5].map((word) => Number(line.text(word)));
    const [hot = 0, warm = 0, hotFactor = 0, factor = 0] = numbers;
    if (numbers.some(Number.isNaN)) return answer(session, "ERROR", silent);
    if (hot + warm > 80) return answer(session, "ERROR hot and warm pcts must not exceed 80", silent);
    if (hotFactor <= 0 || factor <= 0)
      return answer(session, "ERROR hot/warm age factors must be greater than 0", silent);
    return answer(session, "OK", silent);
  }
  const isMode = words >= 3 && line.is(1, "mode") && (line.is(2, "flat") || line.is(2, "segmented"));
  const isTtl = words >= 3 && line.is(1, "temp_ttl") && line.integer(2);
  return answer(session, isMode || isTtl ? "OK" : "ERROR", silent);
}

/** lru_crawler metadump|mgdump <classes> and what else steers memcached's crawler */
function crawler(session: Session, words: number): void {
  const { line } = session.desk;
  if (words === 3 && (line.is(1, "metadump") || line.is(1, "mgdump")))
    return dump(session, line.is(1, "metadump") ? "metadump" : "mgdump", words);
  if (words === 3 && line.is(1, "crawl")) return answer(session, "OK");
  if (words === 3 && (line.is(1, "tocrawl") || line.is(1, "sleep"))) {
    if (!line.unsigned(2)) return answer(session, badFormat);
    if (line.is(1, "sleep") && line.number > 1_000_000)
      return answer(session, "CLIENT_ERROR sleep must be one second or less");
    return answer(session, "OK");
  }
  return answer(session, words === 2 && (line.is(1, "enable") || line.is(1, "disable")) ? "OK" : "ERROR");
}
