/**
 * The way to one server, over all incarnations of its connection.
 *
 *     idle --call--> connecting --greeted--> up --lost--> connecting (calls wait) or idle (nobody waits)
 *                        | failed              | lost again and again
 *                        v                     v
 *                      down --a probe was greeted--> up       any --close()--> closed
 *
 * While a server is down, it is probed after a while, jittered and growing, and calls fail at once. Calls that were not sent
 * yet can be taken back: when their deadline passes they are never sent. One timer serves the deadlines of all calls.
 */
import type { Clock, Random, Timer } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import type { ProtocolName } from "../protocol/index.ts";
import { Approaches } from "./approaches.ts";
import { backoffMs, type BackoffOptions } from "./backoff.ts";
import type { Call, ConnectionEpoch, Tally } from "./call.ts";
import { Connection, type ConnectionKeeper } from "./connection.ts";
import { afterListening, Alarm, Patience } from "./deadlines.ts";
import { fault, greet, unusable, type HandshakePlan } from "./handshake.ts";
import type { OpenTransport } from "./transport.ts";
import type { ServerVersion } from "./version.ts";
import { tellState, watchCall } from "./watching.ts";

/** Where a link stands. */
export type LinkState = "idle" | "connecting" | "up" | "down" | "closed";

/** What a link needs to know. */
export interface LinkOptions {
  readonly server: string;
  readonly open: OpenTransport;
  readonly plan: HandshakePlan;
  readonly connectTimeoutMs: number;
  /** A silent connection is not given up before this, though a call's own deadline was shorter. */
  readonly patienceMs: number;
  readonly maxPending: number;
  readonly valueLimitBytes: number;
  readonly backoff: BackoffOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** So many connections in a row that hang or break the protocol, and the server counts as down. */
const suspectLimit = 3;

/** Values that wait to be sent to one server, in bytes; beyond that calls are refused. */
const unsentLimitBytes = 128 * 2 ** 20;

/** How long a full queue is not looked through again for calls that were given up. */
const siftMs = 10;

/** For so many calls of a tick room is kept. */
const keptCalls = 4096;

/** The way to one server. */
export class Link implements ConnectionKeeper {
  readonly server: string;
  state: LinkState = "idle";
  /** Why the server is down. */
  cause: EverfreshError | undefined = undefined;
  /** How many calls failed with each code. */
  readonly failures: Tally = {};
  #connects = 0;
  /** Of the connections that are over. */
  #bytesRead = 0;
  #bytesWritten = 0;
  #answers = 0;

  readonly #options: LinkOptions;
  readonly #clock: Clock;
  #connection: Connection | undefined = undefined;
  #protocol: ProtocolName | undefined = undefined;
  readonly #approaches: Approaches;
  /** Asked in this tick, and how many they are; the array is kept, so that it need not grow anew in every tick. */
  readonly #fresh: (Call<unknown> | undefined)[] = [];
  #freshCount = 0;
  /** The bytes of values that were not sent yet. */
  #unsentBytes = 0;
  #siftedAt = -Infinity;
  #flushing = false;
  /** Not sent yet: no connection, or no room in it. */
  #waiting: Call<unknown>[] = [];
  #draining = false;
  /** Whether it is being connected and greeted; the state is `connecting` then, or `down`. */
  #trying = false;
  #failures = 0;
  #suspicions = 0;
  #retry: Timer | undefined = undefined;
  readonly #alarm: Alarm;
  readonly #patience: Patience;

  constructor(options: LinkOptions) {
    this.server = options.server;
    this.#options = options;
    this.#clock = options.clock;
    this.#approaches = new Approaches(options.plan.approaches);
    this.#patience = new Patience(options.patienceMs);
    this.#alarm = new Alarm(options.clock, (now) => this.#expire(now));
  }

  /** The present incarnation; undefined while there is none that may be used. */
  get epoch(): ConnectionEpoch | undefined {
    return this.state === "up" ? this.#connection?.epoch : undefined;
  }

  get protocol(): ProtocolName | undefined {
    return this.#protocol;
  }

  get version(): ServerVersion | undefined {
    return this.#connection?.version;
  }

  /** How many calls have no answer yet. */
  get pending(): number {
    return this.#freshCount + this.#waiting.length + (this.#connection?.pending ?? 0);
  }

  /** What happened on this link so far. */
  numbers(): { connects: number; answers: number; bytesRead: number; bytesWritten: number; failures: Tally } {
    const connection = this.#connection;
    return {
      failures: this.failures,
      connects: this.#connects,
      answers: this.#answers + (connection?.answers ?? 0),
      bytesRead: this.#bytesRead + (connection?.bytesRead ?? 0),
      bytesWritten: this.#bytesWritten + (connection?.bytesWritten ?? 0),
    };
  }

  /**
   * Queues a call. All calls of one tick leave together, in their order.
   *
   * @param isStep whether it belongs to what was called before {@link drain}
   */
  send(call: Call<unknown>, isStep = false): void {
    call.tally = this.failures;
    watchCall(call, this.server, this.#clock);
    if (this.#draining && !isStep) return call.fail("EF_CLOSED", "The client was closed.", this.server);
    if (this.state === "down" || this.state === "closed") return this.#refuse(call);
    let tooMuch = this.#tooMuchWith(call);
    if (tooMuch !== undefined && this.#sifts()) tooMuch = this.#tooMuchWith(call);
    if (tooMuch !== undefined)
      return call.fail("EF_OVERLOADED", `${tooMuch} wait for this server already.`, this.server);
    if (call.data !== undefined) this.#unsentBytes += call.data.length;
    this.#fresh[this.#freshCount++] = call;
    if (!this.#flushing) {
      this.#flushing = true;
      process.nextTick(flush, this);
    }
  }

  /** What there would be too much of, with `call`. */
  #tooMuchWith({ data }: Call<unknown>): string | undefined {
    if (this.pending >= this.#options.maxPending) return `${this.#options.maxPending} calls`;
    const isOver = data !== undefined && this.#unsentBytes > 0 && this.#unsentBytes + data.length > unsentLimitBytes;
    return isOver ? `${unsentLimitBytes} bytes` : undefined;
  }

  /** Looks for calls that were given up while they wait, unless it has just looked; whether it did. */
  #sifts(): boolean {
    const now = this.#clock.monotonic();
    if (this.#waiting.length === 0 || now < this.#siftedAt + siftMs) return false;
    this.#siftedAt = now;
    this.#sift(now);
    return true;
  }

  /** Sends what was queued in this tick. */
  flush(): void {
    this.#flushing = false;
    const calls = this.#fresh;
    const count = this.#freshCount;
    const now = Math.floor(this.#clock.monotonic());
    let earliest = Infinity;
    for (let at = 0; at < count; at++) {
      const call = calls[at] as Call<unknown>;
      call.deadline = now + call.timeoutMs;
      if (call.deadline < earliest) earliest = call.deadline;
    }
    const connection = this.#connection;
    if (this.state === "down" || this.state === "closed") {
      for (let at = 0; at < count; at++) this.#refuse(calls[at] as Call<unknown>);
    } else if (this.state === "up" && connection !== undefined && connection.writable && this.#waiting.length === 0) {
      this.#patience.look(connection, now);
      connection.send(calls, count);
      this.#unsentBytes = 0;
    } else {
      for (let at = 0; at < count; at++) this.#wait(calls[at] as Call<unknown>);
    }
    calls.fill(undefined, 0, count);
    if (count > keptCalls) calls.length = keptCalls;
    this.#freshCount = 0;
    if (this.state === "down" || this.state === "closed") return;
    this.#alarm.set(earliest, now);
    if (this.state === "idle" && this.#waiting.length > 0) this.#connect();
  }

  #wait(call: Call<unknown>): void {
    // Without a connection there is no incarnation that a call could be meant for.
    if (call.on === undefined || call.on === this.epoch) this.#waiting.push(call);
    else call.fail("EF_CONNECTION_LOST", "The connection that the call was meant for is gone.", this.server);
  }

  /** Connects now if it is idle, without a call. */
  connect(): void {
    if (this.state === "idle") this.#connect();
  }

  /** Resolves when every call that was made until now is settled. */
  async settled(): Promise<void> {
    const queued = [...this.#fresh.slice(0, this.#freshCount), ...this.#waiting].map((call) => call?.promise);
    // Before that its calls are a greeting's, for which nobody waits.
    const sent = this.state === "up" ? this.#connection?.promises() : undefined;
    await Promise.allSettled([...queued, ...(sent ?? [])]);
  }

  /** Takes no more calls but steps; those that were made are still answered. */
  drain(): void {
    this.#draining = true;
  }

  /** Ends the link; calls that are left fail with `EF_CLOSED`. */
  close(): void {
    if (this.state === "closed") return;
    const closed = new EverfreshError("EF_CLOSED", "The client was closed.", { server: this.server });
    this.#become("closed", undefined);
    this.#trying = false;
    this.#retry?.cancel();
    this.#alarm.stop();
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) {
      this.#add(connection);
      if (connection.pending === 0) connection.end();
      connection.destroy(closed);
    }
    this.#failWaiting("EF_CLOSED", closed);
    for (const call of this.#fresh) if (call !== undefined) this.#refuse(call);
  }

  // What the connection tells

  opened(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    greet(connection, this.#approaches.present, this.#options.plan).then(
      () => this.#greeted(connection),
      (error: unknown) => connection.destroy(fault(error, this.server)),
    );
  }

  drained(): void {
    if (this.state === "up") this.#sendWaiting();
  }

  closed(cause: EverfreshError): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#add(connection);
    this.#connection = undefined;
    if (this.#trying) return this.#tryNext(connection, cause);
    // Answering the greeting and nothing else is not working.
    if (connection.answers > connection.greetings) this.#suspicions = 0;
    else if (connection.lostCalls > 0) this.#suspicions++;
    if (this.state === "up") this.#lost(cause);
  }

  /** Keeps the numbers of a connection that is over. */
  #add(connection: Connection): void {
    this.#bytesRead += connection.bytesRead;
    this.#bytesWritten += connection.bytesWritten;
    this.#answers += connection.answers;
  }

  // Changes of state

  #become(state: LinkState, cause: EverfreshError | undefined): void {
    const from = this.state;
    this.state = state;
    this.cause = cause;
    tellState(this, from);
  }

  #connect(): void {
    this.#approaches.begin();
    this.#trying = true;
    // A probe makes nobody wait: a server that is down stays so until it has answered.
    if (this.state !== "down") this.#become("connecting", undefined);
    const { server, connectTimeoutMs } = this.#options;
    this.#retry?.cancel();
    this.#retry = afterListening(this.#clock, connectTimeoutMs, () => {
      if (!this.#trying) return;
      const why = `It did not answer within ${connectTimeoutMs} ms.`;
      this.#connection?.destroy(new EverfreshError("EF_TIMEOUT", why, { server }));
    });
    this.#approachServer();
  }

  #approachServer(): void {
    this.#connects++;
    const { server, open, valueLimitBytes } = this.#options;
    const protocol = this.#approaches.present?.protocol ?? "meta";
    this.#connection = new Connection({ server, protocol, open, valueLimitBytes }, this);
  }

  #greeted(connection: Connection): void {
    if (!this.#trying || this.#connection !== connection) return;
    this.#trying = false;
    this.#retry?.cancel();
    this.#protocol = connection.protocol;
    this.#failures = 0;
    this.#approaches.worked();
    connection.greetings = connection.answers;
    this.#patience.renew(this.#clock.monotonic());
    this.#become("up", undefined);
    this.#sendWaiting();
  }

  #tryNext(connection: Connection, cause: EverfreshError): void {
    const why = this.#approaches.next(cause, connection.wasOpen);
    if (why === undefined) this.#approachServer();
    else this.#failed(unusable(this.server, why));
  }

  #failed(cause: EverfreshError): void {
    this.#trying = false;
    this.#failures++;
    this.#retry?.cancel();
    this.#become("down", cause);
    this.#failWaiting(cause.code, cause);
    const delay = backoffMs(this.#failures + this.#suspicions, this.#options.backoff, this.#options.random.fraction());
    if (this.#draining) return;
    this.#retry = this.#clock.after(delay, () => {
      if (this.state === "down") this.#connect();
    });
  }

  #lost(cause: EverfreshError): void {
    if (this.#suspicions >= suspectLimit) return this.#failed(unusable(this.server, cause));
    if (this.#waiting.length > 0 || this.#freshCount > 0) {
      this.#connect();
    } else {
      this.#become("idle", cause);
    }
  }

  #sendWaiting(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const calls = this.#waiting;
    this.#waiting = [];
    this.#unsentBytes = 0;
    // The alarm rings late where this process is busy: what is overdue must not be sent because of that.
    const now = this.#clock.monotonic();
    for (const call of calls) if (call.deadline <= now) this.#failUnsent(call);
    connection.send(calls);
  }

  #failWaiting(code: EverfreshError["code"], cause: EverfreshError): void {
    const calls = this.#waiting;
    this.#waiting = [];
    this.#unsentBytes = 0;
    for (const call of calls) call.fail(code, cause.message, this.server, cause.cause);
  }

  #failUnsent(call: Call<unknown>): void {
    call.fail("EF_TIMEOUT", `No connection within ${call.timeoutMs} ms; it was not sent.`, this.server);
  }

  #refuse(call: Call<unknown>): void {
    if (this.state === "closed") return call.fail("EF_CLOSED", "The client was closed.", this.server);
    const { cause } = this;
    call.fail(cause?.code ?? "EF_SERVER_DOWN", cause?.message ?? "The server is down.", this.server, cause?.cause);
  }

  // Deadlines

  #expire(now: number): void {
    let next = this.#sift(now);
    const connection = this.#connection;
    // While it is being greeted, the time to connect is the only deadline.
    if (connection !== undefined && this.state === "up") {
      connection.expire(now);
      next = Math.min(next, this.#suspect(connection, now), connection.earliestDeadline());
    }
    if (next < Infinity) this.#alarm.set(next, now);
  }

  /** Drops waiting calls that are settled and fails those that are overdue; returns the next deadline of the others. */
  #sift(now: number): number {
    let next = Infinity;
    this.#waiting = this.#waiting.filter((call) => {
      if (call.settled) return false;
      if (call.deadline <= now) {
        this.#failUnsent(call);
        return false;
      }
      next = Math.min(next, call.deadline);
      return true;
    });
    this.#unsentBytes = 0;
    for (const calls of [this.#waiting, this.#fresh])
      for (const call of calls) this.#unsentBytes += call?.data?.length ?? 0;
    return next;
  }

  /** Gives a connection up that is hung; otherwise says when to look again. */
  #suspect(connection: Connection, now: number): number {
    const oldest = connection.oldest();
    if (oldest === undefined || this.state !== "up") return Infinity;
    const again = this.#patience.lookAgainAt(connection, now);
    if (again !== undefined) return again;
    const why = `The server did not answer for ${this.#patience.of(oldest)} ms; the connection was given up.`;
    connection.destroy(new EverfreshError("EF_CONNECTION_LOST", why, { server: this.server }));
    return Infinity;
  }
}

function flush(link: Link): void {
  link.flush();
}
