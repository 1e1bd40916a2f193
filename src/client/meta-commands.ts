/**
 * The meta commands with every flag typed (protocol.txt, "Meta Commands"): close to the wire, for leases and tools.
 *
 * Keys are taken as they are, or refused with `EF_KEY`. Flags that the server's version or protocol lacks are refused
 * with `EF_UNSUPPORTED` and not sent.
 */
import type { Clock } from "../clock.ts";
import {
  Call,
  type CallOptions,
  type CallSink,
  type ConnectionEpoch,
  type Link,
  type Reading,
} from "../connection/index.ts";
import { want, type Answer, type Details } from "../protocol/index.ts";
import {
  badArgument,
  checkedCas,
  checkedOpaque,
  checkedTimeout,
  counter,
  strictKey,
  wholeNumber,
  wireSeconds,
  wireValue,
  type Cas,
} from "./arguments.ts";
import type * as meta from "./meta-types.ts";
import {
  callNames,
  checkNames,
  metaArithmeticNames,
  metaDeleteNames,
  metaGetNames,
  metaSetNames,
} from "./option-names.ts";
import type { Router } from "./router.ts";

const latestFlags = 0xffff_ffff;

/** The meta commands of a client. */
export class MetaCommands {
  readonly #router: Router;
  readonly #clock: Clock;
  readonly #timeoutMs: number;

  constructor(router: Router, clock: Clock, timeoutMs: number) {
    this.#router = router;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** `mg`: reads an item, or what is known about it. */
  get(key: string | Uint8Array, flags?: meta.MetaGetFlags, call?: CallOptions): Promise<meta.MetaGetResult> {
    try {
      checkNames(flags, metaGetNames);
      checkNames(call, callNames);
      const plain = strictKey(key);
      const wanted = flags === undefined ? want.value | want.flags : wantedOf(flags);
      const ttl = flags?.touch === undefined ? undefined : wireSeconds(flags.touch, this.#clock, "touch");
      const details = flags === undefined ? undefined : this.#getDetails(flags);
      const keeps = (wanted & want.value) !== 0;
      return this.#send(
        this.#router.link(plain),
        new Call("get", plain, false, wanted, undefined, ttl, details, this.#time(call), call?.on, keeps, readGet),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The same as {@link get} without a promise: `sink` is told as soon as the answer is read, which is lent to it. For
   * whoever reads so often that a promise and a copy on the way count; so the names of the flags are not checked either.
   */
  getInto(key: string | Uint8Array, flags: meta.MetaGetFlags, sink: CallSink): void {
    try {
      const plain = strictKey(key);
      const ttl = flags.touch === undefined ? undefined : wireSeconds(flags.touch, this.#clock, "touch");
      const details = this.#getDetails(flags);
      const wanted = wantedOf(flags);
      const time = this.#timeoutMs;
      this.#router
        .link(plain)
        .send(new Call("get", plain, false, wanted, undefined, ttl, details, time, undefined, false, readGet, sink));
    } catch (error) {
      queueMicrotask(() => sink.failed(error));
    }
  }

  /** `ms`: stores a value. */
  set(
    key: string | Uint8Array,
    value: Uint8Array | string,
    flags?: meta.MetaSetFlags,
    call?: CallOptions,
  ): Promise<meta.MetaSetResult> {
    try {
      checkNames(flags, metaSetNames);
      checkNames(call, callNames);
      const plain = strictKey(key);
      const data = wireValue(value);
      const ttl = flags?.ttl === undefined ? undefined : wireSeconds(flags.ttl, this.#clock, "ttl");
      const details = flags === undefined ? undefined : this.#setDetails(flags);
      const wanted = flags?.returnCas === true ? want.cas : 0;
      return this.#send(
        this.#router.link(plain),
        new Call("store", plain, false, wanted, data, ttl, details, this.#time(call), call?.on, false, readSet),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** `md`: deletes an item, or marks it stale. */
  delete(
    key: string | Uint8Array,
    flags: meta.MetaDeleteFlags = {},
    call?: CallOptions,
  ): Promise<meta.MetaDeleteResult> {
    try {
      checkNames(flags, metaDeleteNames);
      checkNames(call, callNames);
      const plain = strictKey(key);
      if (flags.ttl !== undefined && flags.invalidate !== true) throw badArgument("ttl needs invalidate");
      const ttl = flags.ttl === undefined ? undefined : wireSeconds(flags.ttl, this.#clock, "ttl");
      const details = shared(flags);
      if (flags.invalidate === true) details.invalidate = true;
      if (flags.dropValue === true) details.dropValue = true;
      return this.#send(
        this.#router.link(plain),
        new Call("delete", plain, false, 0, undefined, ttl, details, this.#time(call), call?.on, false, readDelete),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** `ma`: counts, in 64 bits; going below 0 stops at 0, going over wraps. */
  arithmetic(
    key: string | Uint8Array,
    flags: meta.MetaArithmeticFlags = {},
    call?: CallOptions,
  ): Promise<meta.MetaArithmeticResult> {
    try {
      checkNames(flags, metaArithmeticNames);
      checkNames(call, callNames);
      const plain = strictKey(key);
      const ttl = flags.ttl === undefined ? undefined : wireSeconds(flags.ttl, this.#clock, "ttl");
      const details = shared(flags);
      if (flags.mode === "decrement") details.subtract = true;
      if (flags.delta !== undefined) details.delta = counter(flags.delta, "delta");
      if (flags.vivify !== undefined) details.vivify = wireSeconds(flags.vivify, this.#clock, "vivify");
      if (flags.initial !== undefined) details.initial = counter(flags.initial, "initial");
      const wanted = (flags.cas === true ? want.cas : 0) | (flags.remaining === true ? want.ttl : 0);
      return this.#send(
        this.#router.link(plain),
        new Call(
          "arithmetic",
          plain,
          false,
          wanted,
          undefined,
          ttl,
          details,
          this.#time(call),
          call?.on,
          false,
          readCount,
        ),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** `me`: what the server knows about an item, for people. */
  debug(key: string | Uint8Array, call?: CallOptions): Promise<meta.MetaDebugResult> {
    try {
      checkNames(call, callNames);
      const plain = strictKey(key);
      return this.#send(
        this.#router.link(plain),
        new Call(
          "debug",
          plain,
          false,
          0,
          undefined,
          undefined,
          undefined,
          this.#time(call),
          call?.on,
          false,
          readDebug,
        ),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** `mn`: resolves when the server has answered everything that was asked before; returns the present incarnation. */
  noop(server: string, call?: CallOptions): Promise<ConnectionEpoch> {
    try {
      checkNames(call, callNames);
      const link = this.#router.members.find((member) => member.name === server)?.links[0];
      if (link === undefined) {
        const names = this.#router.members.map(({ name }) => name);
        throw badArgument(`${server} is not a server of this client; there are ${names.join(", ")}`);
      }
      return this.#send(
        link,
        new Call("noop", "", false, 0, undefined, undefined, undefined, this.#time(call), call?.on, false, readEpoch),
        call,
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #time(call: CallOptions | undefined): number {
    return call?.timeoutMs === undefined ? this.#timeoutMs : checkedTimeout(call.timeoutMs);
  }

  #send<T>(link: Link, call: Call<T>, options: CallOptions | undefined): Promise<T> {
    if (options?.signal !== undefined) call.listen(options.signal, link.server);
    if (!call.settled) link.send(call);
    return call.promise;
  }

  #getDetails(flags: meta.MetaGetFlags): Details | undefined {
    const { vivify, recache, ifChangedFrom, newCas, opaque } = flags;
    if (vivify === undefined && recache === undefined && ifChangedFrom === undefined) {
      if (newCas === undefined && opaque === undefined) return undefined;
    }
    const details: Details = {};
    if (vivify !== undefined) details.vivify = wireSeconds(vivify, this.#clock, "vivify");
    if (recache !== undefined) details.recache = wireSeconds(recache, this.#clock, "recache");
    if (ifChangedFrom !== undefined) details.ifChangedFrom = checkedCas(ifChangedFrom, "ifChangedFrom");
    if (newCas !== undefined) details.newCas = checkedCas(newCas, "newCas");
    if (opaque !== undefined) details.opaque = checkedOpaque(opaque);
    return details;
  }

  #setDetails(flags: meta.MetaSetFlags): Details {
    const details = shared(flags);
    const { clientFlags, mode, vivify } = flags;
    if (clientFlags !== undefined) details.clientFlags = wholeNumber(clientFlags, latestFlags, "clientFlags");
    if (mode !== undefined) details.mode = checkedMode(mode);
    if (flags.invalidate === true) details.invalidate = true;
    if (vivify !== undefined) details.vivify = wireSeconds(vivify, this.#clock, "vivify");
    return details;
  }
}

/** The flags that all writing commands share. */
function shared(flags: Pick<meta.MetaSetFlags, "compareCas" | "newCas" | "opaque">): Details {
  const details: Details = {};
  if (flags.compareCas !== undefined) details.compareCas = checkedCas(flags.compareCas, "compareCas");
  if (flags.newCas !== undefined) details.newCas = checkedCas(flags.newCas, "newCas");
  if (flags.opaque !== undefined) details.opaque = checkedOpaque(flags.opaque);
  return details;
}

const modes: ReadonlySet<string> = new Set(["set", "add", "append", "prepend", "replace"]);

function checkedMode(mode: "set" | "add" | "append" | "prepend" | "replace"): typeof mode {
  if (!modes.has(mode)) throw badArgument("mode is set, add, append, prepend or replace");
  return mode;
}

function wantedOf(flags: meta.MetaGetFlags): number {
  let wanted = 0;
  if (flags.value !== false) wanted |= want.value;
  if (flags.clientFlags !== false) wanted |= want.flags;
  if (flags.cas === true) wanted |= want.cas;
  if (flags.ttl === true) wanted |= want.ttl;
  if (flags.size === true) wanted |= want.size;
  if (flags.hitBefore === true) wanted |= want.hitBefore;
  if (flags.lastAccess === true) wanted |= want.lastAccess;
  if (flags.noBump === true) wanted |= want.noBump;
  return wanted;
}

const readGet: Reading<meta.MetaGetResult> = (answer, _call, epoch) =>
  answer.kind === "miss" ? { kind: "miss", epoch } : readItem(answer, epoch);

function readItem(answer: Answer, epoch: ConnectionEpoch): meta.MetaGetResult {
  return {
    kind: answer.kind === "unchanged" ? "unchanged" : "hit",
    value: answer.hasData ? answer.bytes() : undefined,
    clientFlags: answer.clientFlags,
    cas: answer.cas as Cas | undefined,
    ttl: answer.ttl,
    size: answer.size,
    hitBefore: answer.hitBefore,
    lastAccess: answer.lastAccess,
    won: answer.won,
    stale: answer.stale,
    leased: answer.leased,
    opaque: answer.opaque,
    epoch,
  };
}

const readSet: Reading<meta.MetaSetResult> = (answer, _call, epoch) => ({
  kind: answer.kind as meta.MetaSetResult["kind"],
  cas: answer.cas as Cas | undefined,
  epoch,
});

const readDelete: Reading<meta.MetaDeleteResult> = (answer, _call, epoch) => ({
  kind: answer.kind as meta.MetaDeleteResult["kind"],
  epoch,
});

const readCount: Reading<meta.MetaArithmeticResult> = (answer, _call, epoch) =>
  answer.kind === "number"
    ? {
        kind: "number",
        value: BigInt(answer.text),
        cas: answer.cas as Cas | undefined,
        ttl: answer.ttl,
        epoch,
      }
    : { kind: answer.kind as "notFound" | "notStored" | "exists", epoch };

const readDebug: Reading<meta.MetaDebugResult> = (answer, _call, epoch) => {
  if (answer.kind === "miss") return { kind: "miss", epoch };
  const pairs = answer.text
    .split(" ")
    .slice(1)
    .map((pair) => pair.split("=", 2));
  return { kind: "hit", fields: Object.fromEntries(pairs.map(([name = "", value = ""]) => [name, value])), epoch };
};

const readEpoch: Reading<ConnectionEpoch> = (_answer, _call, epoch) => epoch;
