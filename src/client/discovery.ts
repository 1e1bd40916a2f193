/**
 * Servers found by a configuration endpoint, as Amazon ElastiCache has it.
 *
 *     > config get cluster
 *     < CONFIG cluster 0 <bytes>
 *     < <version>\n<host>|<ip>|<port> <host>|<ip>|<port> ...\n
 *     < END
 *
 * The endpoint is asked at the beginning and then regularly; a list with a higher version replaces the old one. While
 * it cannot be asked, the servers stay as they are.
 */
import { Call, Link, socketTransport, unfinished } from "../connection/index.ts";
import type { Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { eventChannel } from "../events.ts";
import { parseServer, type ServerAddress } from "./address.ts";
import type { ResolvedDiscovery, ResolvedOptions } from "./options.ts";
import { linkOptions, type Router } from "./router.ts";

const notices = eventChannel("everfresh:notice");

/** A cluster as its endpoint describes it. */
export interface Cluster {
  readonly version: number;
  readonly servers: readonly ServerAddress[];
}

/** The most nodes that are taken from an endpoint. */
const nodeLimit = 1000;

/**
 * Reads what an endpoint answers.
 *
 * @param secure whether the endpoint was asked over TLS: its nodes are spoken to as it is
 * @throws EverfreshError `EF_PROTOCOL` when it is not a list of servers
 */
export function parseCluster(text: string, secure = false): Cluster {
  const [versionLine = "", nodes = ""] = text.trim().split(/\r?\n/);
  const names = nodes.split(" ").filter((node) => node !== "");
  if (!/^\d{1,15}$/.test(versionLine.trim()) || names.length === 0 || names.length > nodeLimit)
    throw new EverfreshError("EF_PROTOCOL", "The configuration endpoint did not answer with a list of servers.");
  const servers = names.map((node) => ({ ...nodeOf(node), secure }));
  if (new Set(servers.map(({ name }) => name)).size !== servers.length)
    throw new EverfreshError("EF_PROTOCOL", "The configuration endpoint named a server twice.");
  return { version: Number(versionLine), servers };
}

/** `host|ip|port`. The name survives a replaced node, and certificates are made out to it. */
function nodeOf(node: string): ServerAddress {
  const [host = "", ip = "", port = ""] = node.split("|");
  const place = host === "" ? ip : host;
  try {
    return parseServer(place.includes(":") ? `[${place}]:${port}` : `${place}:${port}`);
  } catch (cause) {
    throw new EverfreshError("EF_PROTOCOL", "The configuration endpoint named something that is no server.", { cause });
  }
}

/** Asks the endpoint from time to time and tells the router. */
export class Discovery {
  readonly #router: Router;
  readonly #options: ResolvedOptions;
  readonly #discovery: ResolvedDiscovery;
  readonly #link: Link;
  #version = -1;
  #timer: Timer | undefined = undefined;
  #stopped = false;

  constructor(router: Router, options: ResolvedOptions, discovery: ResolvedDiscovery) {
    this.#router = router;
    this.#options = options;
    this.#discovery = discovery;
    const { endpoint } = discovery;
    const tls = options.tls ?? (endpoint.secure ? {} : undefined);
    const open = socketTransport(endpoint.socket, { tls, keepAliveMs: options.keepAliveMs });
    this.#link = new Link(linkOptions(endpoint.name, open, options));
    void this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#link.close();
  }

  async #ask(): Promise<void> {
    try {
      let text = "";
      const call = new Call<string>(
        "cluster",
        "",
        false,
        0,
        undefined,
        undefined,
        undefined,
        this.#options.timeoutMs,
        undefined,
        false,
        (answer, _call, _epoch, last) => {
          if (answer.hasData) text = answer.textValue();
          return last ? text : unfinished;
        },
      );
      this.#link.send(call);
      this.#take(parseCluster(await call.promise, this.#discovery.endpoint.secure));
    } catch (error) {
      if (!this.#stopped && notices.hasSubscribers) {
        const why = error instanceof Error ? error.message : "unknown";
        notices.publish({ message: `The configuration endpoint ${this.#link.server} gave no list: ${why}` });
      }
    }
    if (!this.#stopped) this.#timer = this.#options.clock.after(this.#discovery.intervalMs, () => void this.#ask());
  }

  #take({ version, servers }: Cluster): void {
    if (this.#stopped || version <= this.#version) return;
    this.#version = version;
    this.#router.change(servers);
  }
}
