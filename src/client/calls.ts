/** What the families of typed commands have in common: arguments checked, the link found, the call made. */
import { durationMs, type Duration } from "../duration.ts";
import { Call, type CallOptions, type Link, type Reading } from "../connection/index.ts";
import type { Details, Verb } from "../protocol/index.ts";
import { anyKey, badArgument, checkedTimeout, wireSeconds } from "./arguments.ts";
import type { Counters } from "./counters.ts";
import { Operations, until, type StepOptions } from "./operations.ts";
import type { ResolvedOptions } from "./options.ts";
import type { Router } from "./router.ts";
import type { Values } from "./values.ts";

/** A key as callers write it. */
export type KeyLike = string | Uint8Array;

/** Makes calls and sends them on their way. */
export class Calls {
  protected readonly router: Router;
  protected readonly options: ResolvedOptions;
  protected readonly values: Values;
  protected readonly counters: Counters;
  protected readonly operations: Operations;

  constructor(router: Router, options: ResolvedOptions, values: Values, counters: Counters) {
    this.router = router;
    this.options = options;
    this.values = values;
    this.counters = counters;
    this.operations = new Operations(options.clock);
  }

  protected simple<T>(
    verb: Verb,
    key: KeyLike,
    ttl: number | undefined,
    details: Details | undefined,
    options: CallOptions | undefined,
    read: Reading<T>,
  ): Promise<T> {
    const { key: wire, base64, home } = anyKey(key);
    return this.run(
      home,
      options,
      new Call(verb, wire, base64, 0, undefined, ttl, details, this.time(options), options?.on, false, read),
    );
  }

  protected run<T>(home: string, options: StepOptions | undefined, call: Call<T>): Promise<T> {
    return this.send(this.router.link(home), options, call);
  }

  protected send<T>(link: Link, options: StepOptions | undefined, call: Call<T>): Promise<T> {
    if (options?.signal !== undefined) call.listen(options.signal, link.server);
    if (!call.settled) link.send(call, options !== undefined && options[until] !== undefined);
    return call.promise;
  }

  protected time(options: StepOptions | undefined): number {
    if (options === undefined) return this.options.timeoutMs;
    const end = options[until];
    if (end !== undefined) return this.operations.left(end);
    return options.timeoutMs === undefined ? this.options.timeoutMs : checkedTimeout(options.timeoutMs);
  }

  /** The options of a step that has the time of a call of its own. */
  protected step<Options extends CallOptions>(options: Options | undefined): Options & StepOptions {
    return { ...(options as Options), [until]: this.options.clock.monotonic() + this.time(options) };
  }

  /** An operation of several steps: each is made with the options that `work` is given. */
  protected operation<Options extends CallOptions, T>(
    command: string,
    key: KeyLike,
    options: Options | undefined,
    work: (step: Options) => Promise<T>,
  ): Promise<T> {
    // What is no key is refused before there are steps, whose failures nobody would wait for.
    anyKey(key);
    const step = this.operations.begin(options, this.time(options));
    return this.operations.run(work(step), step[until], { command, key: shownKey(key) }, options?.signal);
  }

  /** Whole seconds, rounded up: a span that is not 0 must not become "for ever". */
  protected seconds(ttl: Duration): number {
    const ms = durationMs(ttl, "ttl");
    if (ms === 0) throw badArgument("ttl is 0; leave it out for items that live for ever");
    return wireSeconds(Math.ceil(ms / 1000), this.options.clock, "ttl");
  }
}

/** A key as errors name it. */
export function shownKey(key: KeyLike): string {
  return typeof key === "string" ? key : Buffer.from(key).toString("utf8");
}
