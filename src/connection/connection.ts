/**
 * One incarnation of one connection: calls out, answers in, first come first served.
 *
 *     opening --opened--> open --close()/fault--> closed
 *
 * After a fault nothing is trusted: every call without an answer fails, and the transport is destroyed.
 */
import { EverfreshError, isEverfreshError, reasonOf } from "../errors.ts";
import { Outgoing, speak, type Answer, type Asker, type Dialect, type ProtocolName } from "../protocol/index.ts";
import type { Call, ConnectionEpoch } from "./call.ts";
import { Fifo } from "./fifo.ts";
import type { OpenTransport, Transport } from "./transport.ts";
import { lacking, type ServerVersion } from "./version.ts";

/** What a connection needs to know. */
export interface ConnectionSetup {
  readonly server: string;
  readonly protocol: ProtocolName;
  readonly open: OpenTransport;
  readonly valueLimitBytes: number;
}

/** Who looks after a connection. */
export interface ConnectionKeeper {
  opened(): void;
  /** There is room for calls that had to wait. */
  drained(): void;
  /** The connection is over, and its calls have been told. */
  closed(cause: EverfreshError): void;
}

/** The longest reply line: stats and errors are far shorter, and a key with all its flags is too. */
const lineLimitBytes = 8192;

/** One incarnation. */
export class Connection implements Asker {
  readonly epoch: ConnectionEpoch;
  readonly protocol: ProtocolName;
  /** What the server said it is; undefined before it was asked and for those that do not say. */
  version: ServerVersion | undefined = undefined;
  state: "opening" | "open" | "closed" = "opening";
  /** Whether it ever was open. */
  wasOpen = false;
  /** Whether more may be sent now. */
  writable = false;
  /** Whether anything was heard since somebody last looked. */
  heard = false;
  /** Bytes and answers so far. */
  bytesRead = 0;
  bytesWritten = 0;
  answers = 0;
  /** How many of them belonged to the handshake. */
  greetings = 0;
  /** How many calls waited for their answer when it ended. */
  lostCalls = 0;

  readonly #keeper: ConnectionKeeper;
  readonly #calls = new Fifo<Call<unknown>>();
  readonly #out: Outgoing;
  readonly #dialect: Dialect;
  readonly #transport: Transport;
  #cause: EverfreshError | undefined = undefined;

  constructor(setup: ConnectionSetup, keeper: ConnectionKeeper) {
    this.epoch = Object.freeze({ server: setup.server });
    this.protocol = setup.protocol;
    this.#keeper = keeper;
    this.#dialect = speak(setup.protocol, this, { lineBytes: lineLimitBytes, valueBytes: setup.valueLimitBytes });
    this.#transport = setup.open({
      opened: () => this.#opened(),
      received: (chunk) => this.#received(chunk),
      drained: () => this.#drained(),
      closed: (error) => this.#closed(error),
    });
    this.#out = new Outgoing(this.#transport.asksForEnds);
  }

  /** How many calls wait for their answer. */
  get pending(): number {
    return this.#calls.length;
  }

  /** The call whose answer comes next. */
  oldest(): Call<unknown> | undefined {
    return this.#calls.peek();
  }

  /**
   * Sends the first `count` calls in one write, in their order; those that are settled or meant for another incarnation are not
   * sent.
   */
  send(calls: readonly (Call<unknown> | undefined)[], count = calls.length): void {
    if (this.state === "closed") {
      for (const call of calls) call?.fail("EF_CONNECTION_LOST", "The connection is gone.", this.epoch.server);
      return;
    }
    const out = this.#out;
    const dialect = this.#dialect;
    for (let at = 0; at < count; at++) {
      const call = calls[at];
      if (call === undefined || !this.#mayGo(call)) continue;
      this.#calls.push(call);
      dialect.encode(call, out);
      out.mark();
    }
    const size = out.size();
    if (size === 0) return;
    this.bytesWritten += size;
    this.writable = this.#transport.send(out);
  }

  #mayGo(call: Call<unknown>): boolean {
    if (call.settled) return false;
    if (call.on !== undefined && call.on !== this.epoch) {
      call.fail("EF_CONNECTION_LOST", "The connection that the call was meant for is gone.", this.epoch.server);
      return false;
    }
    const missing = lacking(call, this.protocol, this.version);
    if (missing !== undefined) {
      call.fail("EF_UNSUPPORTED", missing, this.epoch.server);
      return false;
    }
    return true;
  }

  keepsBytes(): boolean {
    const call = this.#calls.peek();
    return call !== undefined && call.keepsBytes && !call.settled;
  }

  answered(answer: Answer, last: boolean): void {
    const call = this.#calls.peek();
    if (call === undefined) return;
    if (last) this.#calls.shift();
    this.answers++;
    call.answer(answer, this.epoch, last);
  }

  /** Fails the calls whose deadline has passed; they keep their place until their answer has come. */
  expire(now: number): void {
    for (let at = 0; at < this.#calls.length; at++) {
      const call = this.#calls.at(at);
      if (call === undefined || call.settled || call.deadline > now) continue;
      call.fail("EF_TIMEOUT", `No answer within ${call.timeoutMs} ms.`, this.epoch.server);
    }
  }

  /** The earliest deadline of a call that still waits. */
  earliestDeadline(): number {
    let earliest = Infinity;
    for (let at = 0; at < this.#calls.length; at++) {
      const call = this.#calls.at(at);
      if (call !== undefined && !call.settled && call.deadline < earliest) earliest = call.deadline;
    }
    return earliest;
  }

  /** The promises of the calls without an answer. */
  promises(): Promise<unknown>[] {
    return Array.from({ length: this.#calls.length }, (_, at) => this.#calls.at(at)?.promise ?? Promise.resolve());
  }

  /** Ends the connection after what was sent. */
  end(): void {
    this.#transport.end();
  }

  /** Ends it at once; calls without an answer fail with `cause`. */
  destroy(cause: EverfreshError): void {
    if (this.state === "closed") return;
    this.#cause = cause;
    this.#transport.destroy();
    this.#finish();
  }

  #opened(): void {
    if (this.state !== "opening") return;
    this.state = "open";
    this.wasOpen = true;
    this.writable = true;
    this.#keeper.opened();
  }

  #received(chunk: Buffer): void {
    if (this.state === "closed") return;
    this.heard = true;
    this.bytesRead += chunk.length;
    try {
      this.#dialect.feed(chunk);
    } catch (error) {
      const { server } = this.epoch;
      this.destroy(
        isEverfreshError(error)
          ? new EverfreshError(error.code, error.message, { server })
          : new EverfreshError("EF_PROTOCOL", "Reading a reply failed.", { server, cause: error }),
      );
    }
  }

  #drained(): void {
    if (this.state !== "open") return;
    this.writable = true;
    this.#keeper.drained();
  }

  #closed(error: Error | undefined): void {
    if (this.state === "closed") return;
    const { server } = this.epoch;
    const why = error === undefined ? "The server closed the connection." : `The connection failed: ${reasonOf(error)}`;
    this.#cause = new EverfreshError("EF_CONNECTION_LOST", why, { server, cause: error });
    this.#finish();
  }

  #finish(): void {
    this.state = "closed";
    this.writable = false;
    const { server } = this.epoch;
    const cause = this.#cause ?? new EverfreshError("EF_CONNECTION_LOST", "The connection ended.", { server });
    this.lostCalls = this.#calls.length;
    // Only the oldest call can be the one that the fault is about.
    this.#calls.shift()?.fail(cause.code, cause.message, server, cause.cause);
    const rest = cause.code === "EF_CLOSED" ? cause.code : "EF_CONNECTION_LOST";
    for (let call = this.#calls.shift(); call !== undefined; call = this.#calls.shift())
      call.fail(rest, cause.message, server, cause);
    this.#keeper.closed(cause);
  }
}
