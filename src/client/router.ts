/** Many servers: who owns a key, and the ways to each of them. */
import {
  Link,
  socketTransport,
  type HandshakePlan,
  type LinkOptions,
  type LinkState,
  type OpenTransport,
} from "../connection/index.ts";
import { EverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import type { ServerAddress } from "./address.ts";
import { LinkSums } from "./counters.ts";
import { oneAtATime } from "./hash.ts";
import type { Operations } from "./operations.ts";
import type { ResolvedOptions } from "./options.ts";
import { placement, type Placement } from "./ring.ts";

/** One server and the links to it. */
export interface Member {
  readonly name: string;
  /** Whether it is spoken to over TLS. */
  readonly secure: boolean;
  /** How it is logged in to. */
  readonly plan: HandshakePlan;
  readonly links: readonly Link[];
}

/** Knows the servers and finds the link for a key. */
export class Router {
  #members: readonly Member[] = [];
  readonly #options: ResolvedOptions;
  #servers: readonly ServerAddress[] = [];
  #keepsHomes = false;
  #plan: HandshakePlan;
  #place: Placement = () => 0;
  /** The only link, where there is only one. */
  #single: Link | undefined = undefined;
  /** The links to servers that left the list and still owe an answer, with their end. */
  readonly #leaving = new Map<readonly Link[], Promise<void>>();
  /** Of those that owe none any more. */
  readonly #gone = new LinkSums();

  constructor(options: ResolvedOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#take(options.servers);
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  /** The server that is home to a key, whatever its state; `key` is latin1 text of the key's bytes. */
  home(key: string): Member {
    return this.#members[this.#place(key)] as Member;
  }

  /** The link that commands for a key take: always the same, so that they stay in order. */
  link(key: string): Link {
    if (this.#single !== undefined) return this.#single;
    const home = this.#place(key);
    const member = this.#members[home] as Member;
    const link = member.links.length === 1 ? (member.links[0] as Link) : pick(member, key);
    return this.#options.failover === "next" && link.state === "down" ? this.#nextUp(home, key, link) : link;
  }

  /**
   * Takes another list of servers. Those that stay, and are spoken to and logged in to as before, keep their connections;
   * those that go finish what was asked of them. Which keys move is the placement's business.
   *
   * @throws EverfreshError `EF_OPTION` for credentials that cannot be taken, and where keys would move that may not; then
   *   nothing has changed
   */
  change(servers: readonly ServerAddress[]): void {
    if (this.#keepsHomes && !haveSameHomes(servers, this.#servers)) throw moving("changeServers with other servers");
    this.#plan = this.#options.planFor(servers, this.#plan);
    this.#take(servers);
  }

  /** What happened on all links so far. */
  numbers(): LinkSums {
    const sums = new LinkSums();
    sums.add(this.#gone);
    for (const links of [...this.#members.map((member) => member.links), ...this.#leaving.keys()])
      for (const link of links) sums.add(link.numbers());
    return sums;
  }

  /** From now on every key stays at its home. */
  keepHomes(): void {
    if (this.#options.failover === "next") throw moving("failover");
    if (this.#options.discovery !== undefined) throw moving("discovery");
    this.#keepsHomes = true;
  }

  #take(servers: readonly ServerAddress[]): void {
    this.#servers = servers;
    const plan = this.#plan;
    const staying = new Map(this.#members.map((member) => [member.name, member]));
    const before = new Set(staying.keys());
    const members = servers.map((server) => {
      const present = staying.get(server.name);
      const isPresent = present?.plan === plan && present.secure === isSecure(server, this.#options);
      return isPresent ? present : openMember(server, { ...this.#options, plan });
    });
    for (const member of members) if (staying.get(member.name) === member) staying.delete(member.name);
    this.#members = members;
    this.#place = placement(servers, this.#options.placement);
    this.#single = members.length === 1 && this.#options.connections === 1 ? members[0]?.links[0] : undefined;
    for (const member of staying.values()) this.#leaving.set(member.links, this.#leave(member));
    const names = new Set(members.map(({ name }) => name));
    const added = [...names].filter((name) => !before.has(name));
    const removed = [...before].filter((name) => !names.has(name));
    if (before.size > 0 && changes.hasSubscribers) changes.publish({ added, removed });
  }

  async #leave({ links }: Member): Promise<void> {
    await closeLinks(links);
    this.#leaving.delete(links);
    for (const link of links) this.#gone.add(link.numbers());
  }

  /**
   * Finishes what was asked, also of servers that have left the list, and the operations that have begun; then ends all
   * connections.
   */
  async close(operations: Operations): Promise<void> {
    operations.drain();
    const links = this.#members.flatMap((member) => member.links);
    for (const link of links) link.drain();
    await Promise.all(this.#leaving.values());
    await closeLinks(links, operations);
  }

  /** The next server in the list that is not down; its home again when all are. */
  #nextUp(home: number, key: string, own: Link): Link {
    for (let step = 1; step < this.#members.length; step++) {
      const link = pick(this.#members[(home + step) % this.#members.length] as Member, key);
      if (link.state !== "down") return link;
    }
    return own;
  }
}

function haveSameHomes(servers: readonly ServerAddress[], before: readonly ServerAddress[]): boolean {
  return (
    servers.length === before.length &&
    servers.every(({ name, weight }, index) => name === before[index]?.name && weight === before[index].weight)
  );
}

function moving(what: string): EverfreshError {
  const instead = "name the servers, and change them in deployments with previousServers (docs/invalidation.md)";
  return new EverfreshError(
    "EF_OPTION",
    `${what} below a cache: keys would move at another time in each process, and old values come back; ${instead}`,
  );
}

const changes = eventChannel("everfresh:client:servers");

/** By other bits of the hash than those that `modula` may have taken for the server: else some links would have no keys. */
function pick({ links }: Member, key: string): Link {
  return links[links.length === 1 ? 0 : (oneAtATime(key) >>> 16) % links.length] as Link;
}

async function closeLinks(links: readonly Link[], operations?: Operations): Promise<void> {
  for (const link of links) link.drain();
  await Promise.all(links.map((link) => link.settled()));
  // What was answered meanwhile may have begun one.
  await operations?.settled();
  for (const link of links) link.close();
}

function isSecure(server: ServerAddress, options: ResolvedOptions): boolean {
  return options.tls !== undefined || server.secure;
}

function openMember(server: ServerAddress, options: ResolvedOptions): Member {
  const tls = options.tls ?? (server.secure ? {} : undefined);
  const open = socketTransport(server.socket, { tls, keepAliveMs: options.keepAliveMs });
  const links = Array.from({ length: options.connections }, () => new Link(linkOptions(server.name, open, options)));
  return { name: server.name, secure: isSecure(server, options), plan: options.plan, links };
}

/** What a link to `server` needs of the client's options. */
export function linkOptions(server: string, open: OpenTransport, options: ResolvedOptions): LinkOptions {
  const {
    plan,
    timeoutMs: patienceMs,
    connectTimeoutMs,
    maxPending,
    valueLimitBytes,
    backoff,
    clock,
    random,
  } = options;
  return { server, open, plan, patienceMs, connectTimeoutMs, maxPending, valueLimitBytes, backoff, clock, random };
}

/** The state of a server with several links: the best of theirs. */
export function memberState(member: Member): LinkState {
  const states = new Set(member.links.map((link) => link.state));
  const order: readonly LinkState[] = ["up", "connecting", "idle", "down", "closed"];
  return order.find((state) => states.has(state)) ?? "closed";
}
