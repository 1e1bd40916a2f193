/**
 * One command on its way: what was asked, who waits for it, until when.
 *
 * A call is settled once, by an answer or by a failure; after that it may still lie in a queue, where it only keeps
 * its place until the answer that belongs to it has come.
 */
import { EverfreshError, located, type ErrorCode } from "../errors.ts";
import { listen, unlisten, type Abortable } from "../signals.ts";
import { decodedKey, type Answer, type Command, type Details, type Verb } from "../protocol/index.ts";

/**
 * One incarnation of one connection. Opaque, compared by identity only: a token that a server gave is worth something
 * only together with the epoch it came from.
 */
export interface ConnectionEpoch {
  /** The server, as configured. */
  readonly server: string;
}

/** What a caller may say about one call. */
export interface CallOptions {
  /** Milliseconds until the call fails with `EF_TIMEOUT`. Default: the client's. */
  readonly timeoutMs?: number | undefined;
  /** Ends the waiting with `EF_ABORTED`; a command that was sent may still be executed. */
  readonly signal?: AbortSignal | undefined;
  /** Send on this very incarnation of the connection or not at all. */
  readonly on?: ConnectionEpoch | undefined;
}

/** Returned by a {@link Reading} while more of the answer is to come. */
export const unfinished: unique symbol = Symbol("unfinished");

/** Turns an answer into what the caller gets. It may throw an {@link EverfreshError}, which the caller then gets. */
export type Reading<T> = (
  answer: Answer,
  call: Call<unknown>,
  epoch: ConnectionEpoch,
  last: boolean,
) => T | typeof unfinished;

/** Who is told how a call ended, where a promise on the way would count. One of the two is called, once. */
export interface CallSink {
  /** While the answer is read; it is lent, so nothing of it may be kept. Must not throw. */
  answered(answer: Answer, epoch: ConnectionEpoch): void;
  /** Never within the call that sent the command. */
  failed(error: unknown): void;
}

/** How many calls failed with each code. */
export type Tally = Partial<Record<ErrorCode, number>>;

type Resolve<T> = (value: T | PromiseLike<T>) => void;
type Reject = (error: unknown) => void;

let nextResolve: Resolve<never>;
let nextReject: Reject;
/** One executor for all promises saves a closure for each. */
const executor = (resolve: Resolve<never>, reject: Reject): void => {
  nextResolve = resolve;
  nextReject = reject;
};

/** One command and its caller. */
export class Call<T> implements Command, Abortable {
  readonly verb: Verb;
  readonly key: string;
  readonly base64: boolean;
  readonly wanted: number;
  readonly data: string | Uint8Array | undefined;
  readonly ttl: number | undefined;
  readonly details: Details | undefined;
  readonly timeoutMs: number;
  readonly on: ConnectionEpoch | undefined;
  /** Whether the caller keeps a value as bytes. */
  readonly keepsBytes: boolean;
  /** When to give up, on the monotonic clock, in whole milliseconds (fractions would be boxed); set when it is queued. */
  deadline = 0;
  settled = false;
  /** Where failures are counted. */
  tally: Tally | undefined = undefined;
  #read: Reading<unknown>;
  readonly #sink: CallSink | undefined;
  #promise: Promise<T> | undefined = undefined;
  #resolve: Resolve<unknown> | undefined = undefined;
  #reject: Reject | undefined = undefined;
  #signal: AbortSignal | undefined = undefined;

  constructor(
    verb: Verb,
    key: string,
    base64: boolean,
    wanted: number,
    data: string | Uint8Array | undefined,
    ttl: number | undefined,
    details: Details | undefined,
    timeoutMs: number,
    on: ConnectionEpoch | undefined,
    keepsBytes: boolean,
    read: Reading<T>,
    sink?: CallSink,
  ) {
    this.verb = verb;
    this.key = key;
    this.base64 = base64;
    this.wanted = wanted;
    this.data = data;
    this.ttl = ttl;
    this.details = details;
    this.timeoutMs = timeoutMs;
    this.on = on;
    this.keepsBytes = keepsBytes;
    this.#read = read;
    this.#sink = sink;
    if (sink === undefined) this.#promise = this.#promised();
  }

  /** Settled with the call. A call with a sink has none until somebody asks for it, who learns only when it is over. */
  get promise(): Promise<T> {
    return (this.#promise ??= this.settled ? Promise.resolve(undefined as T) : this.#promised());
  }

  #promised(): Promise<T> {
    const promise = new Promise<T>(executor as (resolve: Resolve<T>, reject: Reject) => void);
    this.#resolve = nextResolve as Resolve<unknown>;
    this.#reject = nextReject;
    return promise;
  }

  /** Ends the waiting for `server` when `signal` fires. */
  listen(signal: AbortSignal, server: string): void {
    if ((signal as AbortSignal | null)?.aborted === true) return this.abort(signal.reason, server);
    this.#signal = signal;
    listen(signal, this, server);
  }

  abort(reason: unknown, server: string): void {
    this.fail("EF_ABORTED", "The caller gave up.", server, reason);
  }

  /** Hands over an answer. Answers to a call that is settled are dropped. */
  answer(answer: Answer, epoch: ConnectionEpoch, last: boolean): void {
    if (this.settled) return;
    const { kind } = answer;
    const code = kind === "hit" || kind === "miss" || kind === "stored" ? undefined : failures[kind];
    if (code !== undefined && !(kind === "oversized" && this.verb === "getMany")) {
      const why = kind === "oversized" ? answer.text : `The server answered: ${answer.text.slice(0, 200)}`;
      return this.fail(code, why, epoch.server);
    }
    if (this.#sink !== undefined) return this.#tell(this.#sink, answer, epoch);
    try {
      const result = this.#read(answer, this, epoch, last);
      if (result === unfinished) return;
      this.#settle();
      this.#resolve?.(result);
    } catch (error) {
      this.#failReading(error, epoch);
    }
  }

  /** What was read cannot be understood; whoever found out does not know whose it was. */
  #failReading(error: unknown, { server }: ConnectionEpoch): void {
    const key = this.key === "" ? {} : { key: this.shownKey() };
    this.failWith(located(error, { server, command: this.verb, ...key }));
  }

  #tell(sink: CallSink, answer: Answer, epoch: ConnectionEpoch): void {
    this.#settle();
    this.#resolve?.(undefined);
    sink.answered(answer, epoch);
  }

  /**
   * The answer is there, and its value takes a while longer: the call ends when `result` does, or when its caller gives
   * up. Its deadline is `result`'s to keep.
   */
  finishWith(result: Promise<T>, epoch: ConnectionEpoch): void {
    // Classic text ends every read with a line of its own, which must not settle a call that has its value.
    this.#read = awaited;
    result.then(
      (value) => this.#finish(value),
      (error: unknown) => this.#failReading(error, epoch),
    );
  }

  /** Ends the call with an error of ours that says which command and key it was. */
  fail(code: ErrorCode, message: string, server?: string, cause?: unknown): void {
    if (this.settled) return;
    this.failWith(
      new EverfreshError(code, message, {
        command: this.verb,
        ...(this.key === "" ? {} : { key: this.shownKey() }),
        ...(server === undefined ? {} : { server }),
        ...(cause === undefined ? {} : { cause }),
      }),
    );
  }

  failWith(error: unknown): void {
    if (this.settled) return;
    this.#settle();
    if (this.tally !== undefined && error instanceof EverfreshError)
      this.tally[error.code] = (this.tally[error.code] ?? 0) + 1;
    this.#reject?.(error);
    const sink = this.#sink;
    if (sink !== undefined) queueMicrotask(() => sink.failed(error));
  }

  shownKey(): string {
    const bytes = this.base64 ? decodedKey(this.key) : this.key;
    return Buffer.from(bytes, "latin1").toString("utf8");
  }

  #finish(value: T): void {
    if (this.settled) return;
    this.#settle();
    this.#resolve?.(value);
  }

  #settle(): void {
    this.settled = true;
    if (this.#signal !== undefined) unlisten(this.#signal, this);
    this.#signal = undefined;
  }
}

/** Reads what follows the answer that a call is finished with: nothing of it is news. */
const awaited: Reading<unknown> = () => unfinished;

const failures: Partial<Record<Answer["kind"], ErrorCode>> = {
  serverError: "EF_SERVER_ERROR",
  clientError: "EF_CLIENT_ERROR",
  tooLarge: "EF_VALUE_TOO_LARGE",
  // Of many keys it is about one only, which their reader tells.
  oversized: "EF_VALUE_TOO_LARGE",
  authError: "EF_AUTH",
  unsupported: "EF_UNSUPPORTED",
};
