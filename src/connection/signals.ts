/** Who waits for which AbortSignal: one listener for each signal, however many calls share it, since Node warns of many. */

/** Who can be told that its caller gave up. */
export interface Abortable {
  abort(reason: unknown, server: string): void;
}

interface Waiting {
  /** And the server that each asked. */
  readonly calls: Map<Abortable, string>;
  readonly listener: () => void;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/** Tells `call`, which asked `server`, when `signal` fires. */
export function listen(signal: AbortSignal, call: Abortable, server: string): void {
  const known = waiting.get(signal);
  if (known !== undefined) return void known.calls.set(call, server);
  const calls = new Map([[call, server]]);
  const listener = (): void => {
    waiting.delete(signal);
    for (const [each, asked] of calls) each.abort(signal.reason, asked);
  };
  waiting.set(signal, { calls, listener });
  signal.addEventListener("abort", listener, { once: true });
}

/** Tells `call` nothing more; nothing stays on a signal that nobody waits for. */
export function unlisten(signal: AbortSignal, call: Abortable): void {
  const known = waiting.get(signal);
  if (known === undefined || !known.calls.delete(call) || known.calls.size > 0) return;
  waiting.delete(signal);
  signal.removeEventListener("abort", known.listener);
}
