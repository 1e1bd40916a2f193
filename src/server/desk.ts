/** What all visitors of a server share: the tools to read and answer with, the numbers, the accounts. */
import type { Clock } from "../clock.ts";
import { BinaryRequest, MetaRequest, ReplyWriter, RequestLine } from "../protocol/index.ts";
import { Accounts } from "./accounts.ts";
import { Counters } from "./counters.ts";
import { PrefixCounts } from "./prefix-counts.ts";
import type { Journal } from "./journal.ts";
import type { ResolvedServerOptions } from "./options.ts";
import type { Session } from "./session.ts";
import { Slabs } from "./slabs.ts";
import type { Statistic } from "./statistics.ts";
import type { Watch } from "./watch.ts";

export class Desk {
  readonly options: ResolvedServerOptions;
  readonly clock: Clock;
  readonly writer = new ReplyWriter();
  readonly line = new RequestLine();
  readonly meta = new MetaRequest();
  readonly binary = new BinaryRequest();
  /** Whether the binary request wants to hear of failures only. */
  quiet = false;
  readonly counters = new Counters();
  readonly slabs = new Slabs();
  readonly accounts: Accounts;
  /** Bytes that unfinished uploads will need. */
  uploading = 0;
  /** Counts by prefix of the key, while `stats detail on`; and what was counted so far. */
  detail: PrefixCounts | undefined;
  prefixes: PrefixCounts | undefined;
  /** Who watches, while somebody does. */
  watch: Watch | undefined;
  /** Who writes down every command and may interfere, while somebody does. */
  journal: Journal | undefined;
  verbosity = 0;
  /** What the server tells about itself: connections, start, how to stop. */
  readonly house: House;

  constructor(options: ResolvedServerOptions, house: House) {
    this.options = options;
    this.clock = options.clock;
    this.house = house;
    const { limitBytes, itemBytes, evicts, clock, random } = options;
    this.accounts = new Accounts(options.users, { limitBytes, itemBytes, evicts, clock, random }, random);
  }

  /** Whether a visitor may speak this protocol here. */
  allows(protocol: "nothing" | "text" | "binary"): boolean {
    if (protocol === "binary") {
      if (this.options.protocol === "text") return false;
      return this.accounts.guest !== undefined || this.options.login !== "text";
    }
    if (this.options.protocol === "binary") return false;
    return this.accounts.guest !== undefined || this.options.login !== "sasl";
  }

  /** `stats detail on` and `off`; what was counted stays to be shown. */
  countPrefixes(counts: boolean): void {
    if (counts) this.prefixes ??= new PrefixCounts(this.options.prefixDelimiter);
    this.detail = counts ? this.prefixes : undefined;
  }

  /** `stats reset` */
  resetNumbers(): void {
    this.counters.reset();
    this.prefixes?.clear();
  }

  sessionGone(session: Session): void {
    this.watch?.remove(session);
  }
}

/** What a server knows of itself and its visitors need to be told. */
export interface House {
  readonly startedMs: number;
  readonly port: number;
  readonly connections: number;
  readonly totalConnections: number;
  readonly rejectedConnections: number;
  readonly bytesRead: number;
  connectionList(): Iterable<Statistic>;
  /** The server is asked to stop, keeping what it holds if `graceful`. */
  shutdown(graceful: boolean): void;
  /** Reads the certificates again; false where TLS is not spoken. */
  refreshCertificates(): boolean;
}
