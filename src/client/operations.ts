/**
 * Operations that are more than one call, or go on after their call is answered: values in parts, values that are packed
 * in the thread pool, counters that may have to be started. Each has one deadline for all of it, and closing waits
 * for it.
 */
import type { Clock } from "../clock.ts";
import type { CallOptions } from "../connection/index.ts";
import { EverfreshError, isEverfreshError, type ErrorDetails } from "../errors.ts";
import { listen, unlisten, type Abortable } from "../signals.ts";

/** In the options of a step of an operation: when the operation ends, on the monotonic clock. */
export const until: unique symbol = Symbol("until");

/** Options of a call that may be a step; steps are sent even while the client closes. */
export interface StepOptions extends CallOptions {
  readonly [until]?: number;
}

/** The operations of one client that have begun and not ended. */
export class Operations {
  readonly #clock: Clock;
  readonly #running = new Set<Promise<unknown>>();
  #closing = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The options for all steps of an operation that may take `timeoutMs`.
   *
   * @throws EverfreshError `EF_CLOSED` once the client closes
   */
  begin<Options extends CallOptions>(
    options: Options | undefined,
    timeoutMs: number,
  ): Options & { readonly [until]: number } {
    const isStep = (options as StepOptions | undefined)?.[until] !== undefined;
    if (this.#closing && !isStep) throw new EverfreshError("EF_CLOSED", "The client was closed.");
    return { ...(options as Options), [until]: this.#clock.monotonic() + timeoutMs };
  }

  /**
   * What is left of an operation's time, in whole milliseconds.
   *
   * @throws EverfreshError `EF_TIMEOUT` when nothing is: no further step is sent
   */
  left(deadline: number): number {
    const left = Math.ceil(deadline - this.#clock.monotonic());
    if (left > 0) return left;
    throw overdue({});
  }

  /** Ends as `work` does, or with `EF_TIMEOUT` at `deadline`, or with `EF_ABORTED` when `signal` fires. */
  run<T>(work: Promise<T>, deadline: number, details: ErrorDetails, signal?: AbortSignal): Promise<T> {
    const running = new Promise<T>((resolve, reject) => {
      const left = Math.max(1, Math.ceil(deadline - this.#clock.monotonic()));
      // One more turn of the event loop: a process that was busy first reads what has arrived.
      const timer = this.#clock.after(left, () => void setImmediate(() => reject(overdue(details))));
      // Where a call is on its way, its own error comes first, which says more.
      const caller: Abortable = { abort: (cause) => void setImmediate(() => reject(aborted({ ...details, cause }))) };
      const end = (): void => {
        timer.cancel();
        if (signal !== undefined) unlisten(signal, caller);
      };
      work.finally(end).then(resolve, (error: unknown) => reject(underOwnKey(error, details)));
      if (signal?.aborted === true) caller.abort(signal.reason, "");
      else if (signal !== undefined) listen(signal, caller, "");
    });
    return this.hold(running);
  }

  /** Lets closing wait for `work`. */
  hold<T>(work: Promise<T>): Promise<T> {
    const ended = (): void => void this.#running.delete(work);
    this.#running.add(work);
    work.then(ended, ended);
    return work;
  }

  /** Whether the client closes, or has closed. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Lets no more operations begin. */
  drain(): void {
    this.#closing = true;
  }

  /** Resolves when those that have begun are over. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }
}

/** The failure of a step: the parts of a value have keys that its caller does not know. */
function underOwnKey(error: unknown, { key }: ErrorDetails): unknown {
  if (!isEverfreshError(error) || error.key === undefined || key === undefined || error.key === key) return error;
  const { code, message, command, server, cause, stack } = error;
  const found = new EverfreshError(code, message, {
    key,
    ...(command === undefined ? {} : { command }),
    ...(server === undefined ? {} : { server }),
    cause,
  });
  if (stack !== undefined) found.stack = stack;
  return found;
}

function aborted(details: ErrorDetails): EverfreshError {
  return new EverfreshError("EF_ABORTED", "The caller gave up.", details);
}

function overdue(details: ErrorDetails): EverfreshError {
  return new EverfreshError("EF_TIMEOUT", "Its time was over before all of it was done.", details);
}
