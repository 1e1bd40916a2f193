/**
 * `everfresh serve`: the embedded server as a program of its own, started with memcached's flags.
 *
 * It says on standard output where it listens, as the variables that clients of MemCachier read, and runs until
 * SIGTERM or SIGINT. SIGHUP reads users and certificates again. With `-e file`, what is stored survives SIGTERM, SIGINT,
 * SIGUSR1 and `shutdown graceful`, not a crash.
 */
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { systemRandom } from "../clock.ts";
import { type CacheServer, type User, createServer } from "../server/index.ts";
import { ownVersion } from "./own-version.ts";
import { type ServeOrder, readFlags, readUsers } from "./serve-flags.ts";

const help = `everfresh serve: a memcached-compatible server; its flags are memcached's.

  -p, --port <n>           TCP port; 0 for any free one (default: 11211)
  -l, --listen <address>   address, or address:port, comma-separated, repeatable (default: 127.0.0.1;
                           memcached's is every address of the machine)
  -s, --unix-socket <file> unix socket instead of TCP; -a <mask> its rights (default: 700)
  -m, --memory-limit <MB>  memory for items (default: 64)
  -I, --max-item-size <n>  largest item, such as 512k or 2m (default: 1m)
  -M, --disable-evictions  refuse to store instead of dropping what is old
  -c, --conn-limit <n>     visitors at one time (default: 1024)
  -S, --enable-sasl        users log in by SASL; the file MEMCACHED_SASL_PWDB names them, or one is made up and shown
  -Y, --auth-file <file>   users log in by a first set in text; the file holds name:password lines
  -Z, --enable-ssl         TLS, with -o ssl_chain_cert=file,ssl_key=file[,ssl_ca_cert=file,ssl_verify_mode=0..3]
  -B, --protocol <name>    auto, ascii or binary (default: auto)
  -D <char>                ends the prefix of a key for "stats detail" (default: ":")
  -F  -X  -W  -A           no flush_all; no dumping of keys; no watch; allow the shutdown command
  -e, --memory-file <file> keep what is stored over a restart in this file
  -b <n>  -P <file>  -u <user>  -v  -U 0
  -o idle_timeout=<s>      send away visitors who say nothing for so long
  -o version=<text>        what the command "version" answers, for clients that choose commands by it
`;

export async function serve(args: string[]): Promise<number> {
  const order = readFlags(args, process.env);
  if (order.shows === "help") {
    process.stdout.write(help);
    return 0;
  }
  if (order.shows === "version") {
    process.stdout.write(`everfresh ${ownVersion()}\n`);
    return 0;
  }
  for (const flag of order.ignored) process.stderr.write(`everfresh serve: ${flag} does nothing here\n`);
  const made = order.makesUser ? makeUser() : undefined;
  const users = order.usersFile === undefined ? made : usersOf(order.usersFile, order);
  const stopping = new AbortController();
  const server = createServer({
    ...order.options,
    ...(users === undefined ? {} : { users }),
    onShutdown: (graceful) => stopping.abort(graceful),
  });
  let hasPidFile = false;
  try {
    if (order.itemsFile !== undefined) warmUp(server, order.itemsFile);
    // All at once, so that nobody is answered at one place before the others are open.
    await Promise.all(order.listen.map(async (place) => server.listen(place)));
    if (order.user !== undefined && process.getuid?.() === 0) becomeUser(order.user);
    if (order.pidFile !== undefined) {
      writeFileSync(order.pidFile, `${process.pid}\n`);
      hasPidFile = true;
    }
    // Whoever reads where it listens may stop it at once.
    obeySignals(server, order, () => stopping.abort(true));
    announce(server, made?.[0]);
    await once(stopping.signal, "abort");
    if (stopping.signal.reason === true && order.itemsFile !== undefined) server.save(order.itemsFile);
    return 0;
  } finally {
    // Also after an error: a server that goes on listening would keep the process, and the port, for nobody.
    await server.close();
    if (hasPidFile && order.pidFile !== undefined) rmSync(order.pidFile, { force: true });
  }
}

/** The variables that make a client of MemCachier use this server. */
function announce(server: CacheServer, user: User | undefined): void {
  const lines = [`MEMCACHIER_SERVERS=${server.addresses.join(",")}`];
  if (user !== undefined) lines.push(`MEMCACHIER_USERNAME=${user.name}`, `MEMCACHIER_PASSWORD=${user.password}`);
  process.stdout.write(`${lines.join("\n")}\n`);
}

function usersOf(file: string, { options }: ServeOrder): User[] {
  return readUsers(readFileSync(file, "utf8"), file, options.login);
}

function makeUser(): User[] {
  const name = Buffer.from(systemRandom.bytes(3)).toString("hex").toUpperCase();
  return [{ name, password: Buffer.from(systemRandom.bytes(16)).toString("hex") }];
}

function obeySignals(server: CacheServer, order: ServeOrder, stop: () => void): void {
  for (const signal of ["SIGTERM", "SIGINT", "SIGUSR1"] as const) process.once(signal, stop);
  process.on("SIGHUP", () => {
    try {
      server.refreshCertificates();
      if (order.usersFile !== undefined) server.setUsers(usersOf(order.usersFile, order));
    } catch (error) {
      process.stderr.write(`everfresh serve: kept the old users and certificates: ${String(error)}\n`);
    }
  });
}

/** Starts with what the last run has kept; a damaged file is dropped, because an empty cache is always right. */
function warmUp(server: CacheServer, file: string): void {
  try {
    const items = server.load(file);
    if (items > 0) process.stderr.write(`everfresh serve: ${items} items kept from before\n`);
  } catch (error) {
    process.stderr.write(`everfresh serve: starts empty: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}

function becomeUser(user: string): void {
  if (user === "root") return;
  process.setgroups?.([]);
  process.setgid?.(user);
  process.setuid?.(user);
}
