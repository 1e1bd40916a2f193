/** Who waits for which AbortSignal: one listener for each signal, however many calls share it, since Node warns of many. */

import { EverfreshError } from "./errors.ts";

/** Who can be told that its caller gave up. */
export interface Abortable {
  /** @param asked what {@link listen} was told: the server or the key that was asked */
  abort(reason: unknown, asked: string): void;
}

interface Waiting {
  /** And what each asked. */
  readonly calls: Map<Abortable, string>;
  readonly listener: () => void;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/** Tells `call`, which asked `asked`, when `signal` fires. */
export function listen(signal: AbortSignal, call: Abortable, asked: string): void {
  const known = waiting.get(signal);
  if (known !== undefined) return void known.calls.set(call, asked);
  checkSignal(signal);
  const calls = new Map([[call, asked]]);
  const listener = (): void => {
    waiting.delete(signal);
    for (const [each, what] of calls) each.abort(signal.reason, what);
  };
  waiting.set(signal, { calls, listener });
  signal.addEventListener("abort", listener, { once: true });
}

/** Kept as it is, what is no signal would be taken for one the next time. Signals of other realms and polyfills are some too. */
function checkSignal(signal: unknown): void {
  const isSignal =
    typeof signal === "object" && signal !== null && "addEventListener" in signal && "removeEventListener" in signal;
  if (!isSignal) throw new EverfreshError("EF_OPTION", "signal is an AbortSignal, such as AbortSignal.timeout(500)");
}

/** Tells `call` nothing more; nothing stays on a signal that nobody waits for. */
export function unlisten(signal: AbortSignal, call: Abortable): void {
  const known = waiting.get(signal);
  if (known === undefined || !known.calls.delete(call) || known.calls.size > 0) return;
  waiting.delete(signal);
  signal.removeEventListener("abort", known.listener);
}
