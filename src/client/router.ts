/** Many servers: who owns a key, and the ways to each of them. */
import { Link, socketTransport, type LinkState } from "../connection/index.ts";
import type { ServerAddress } from "./address.ts";
import { oneAtATime } from "./hash.ts";
import type { ResolvedOptions } from "./options.ts";
import { ketama, type Placement } from "./ring.ts";

/** One server and the links to it. */
export interface Member {
  readonly name: string;
  readonly links: readonly Link[];
}

/** Knows the servers and finds the link for a key. */
export class Router {
  readonly members: readonly Member[];
  readonly #place: Placement;
  readonly #single: Link | undefined;

  constructor(options: ResolvedOptions) {
    const { servers } = options;
    this.members = servers.map((server) => openMember(server, options));
    this.#place = servers.length === 1 ? () => 0 : ketama(servers, oneAtATime);
    this.#single = servers.length === 1 && options.connections === 1 ? this.members[0]?.links[0] : undefined;
  }

  /** The server that is home to a key, whatever its state; `key` is latin1 text of the key's bytes. */
  home(key: string): Member {
    return this.members[this.#place(key)] as Member;
  }

  /** The link that commands for a key take: always the same, so that they stay in order. */
  link(key: string): Link {
    if (this.#single !== undefined) return this.#single;
    const { links } = this.home(key);
    if (links.length === 1) return links[0] as Link;
    return links[oneAtATime(key) % links.length] as Link;
  }
}

function openMember(server: ServerAddress, options: ResolvedOptions): Member {
  const tls = options.tls ?? (server.secure ? {} : undefined);
  const open = socketTransport(server.socket, { tls, keepAliveMs: options.keepAliveMs });
  const links = Array.from(
    { length: options.connections },
    () =>
      new Link({
        server: server.name,
        open,
        plan: options.plan,
        connectTimeoutMs: options.connectTimeoutMs,
        maxPending: options.maxPending,
        valueLimitBytes: options.valueLimitBytes,
        backoff: options.backoff,
        clock: options.clock,
        random: options.random,
      }),
  );
  return { name: server.name, links };
}

/** The state of a server with several links: the best of theirs. */
export function memberState(member: Member): LinkState {
  const states = new Set(member.links.map((link) => link.state));
  const order: readonly LinkState[] = ["up", "connecting", "idle", "down", "closed"];
  return order.find((state) => states.has(state)) ?? "closed";
}
