/**
 * The typed commands: values in, values out, on whatever protocol the server speaks.
 *
 * Results are values with a `kind`, failures are errors. Nothing is ever sent twice.
 */
import { EverfreshError, located } from "../errors.ts";
import type { Duration } from "../duration.ts";
import { Call, unfinished, type CallOptions, type Reading } from "../connection/index.ts";
import { want, type Answer, type Details, type StoreMode } from "../protocol/index.ts";
import { anyKey, badArgument, checkedCas, counter, ownKey, wholeNumber, wireValue, type Cas } from "./arguments.ts";
import { Calls, shownKey, type KeyLike } from "./calls.ts";
import type * as types from "./command-types.ts";
import type { Counters } from "./counters.ts";
import type { ResolvedOptions } from "./options.ts";
import { until, type StepOptions } from "./operations.ts";
import { callNames, checkNames, countNames, deleteNames, getNames, storeNames } from "./option-names.ts";
import type { Encoded, Value } from "./profiles.ts";
import type { Router } from "./router.ts";
import { cut, join, parseManifest, partBytes, partKey, partKeys, type Manifest } from "./split.ts";
import { holding, isLonger, type Values } from "./values.ts";

/** Instead of a value whose parts are not all there. */
export const missing: unique symbol = Symbol("missing");

const valueAndFlags = want.value | want.flags;

/** The typed commands for one key. */
export class Commands extends Calls {
  readonly #readers: Readonly<Record<types.ReadAs, Reading<types.GetResult>>>;

  constructor(router: Router, options: ResolvedOptions, values: Values, counters: Counters) {
    super(router, options, values, counters);
    this.#readers = {
      value: this.#reader((answer, call) => this.decode(answer, call)),
      bytes: this.#reader((answer) => answer.bytes()),
      text: this.#reader((answer) => answer.textValue()),
    };
  }

  /**
   * Reads a value.
   *
   * @throws EverfreshError `EF_VALUE` when the stored bytes cannot be turned into a value
   */
  get(key: KeyLike, options: types.GetOptions & { readonly as: "bytes" }): Promise<types.GetResult<Buffer>>;
  get(key: KeyLike, options: types.GetOptions & { readonly as: "text" }): Promise<types.GetResult<string>>;
  get(key: KeyLike, options?: types.GetOptions): Promise<types.GetResult>;
  get(key: KeyLike, options?: types.GetOptions): Promise<types.GetResult> {
    try {
      if (options !== undefined) {
        checkNames(options, getNames);
        return this.#read(key, undefined, options);
      }
      const plain = ownKey(key);
      if (plain === undefined) return this.#read(key, undefined, {});
      const { timeoutMs } = this.options;
      const reader = this.#readers.value;
      const call = new Call(
        "get",
        plain,
        false,
        valueAndFlags,
        undefined,
        undefined,
        undefined,
        timeoutMs,
        undefined,
        false,
        reader,
      );
      this.router.link(plain).send(call);
      return call.promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Reads a value and lets it live for `ttl` from now on. */
  gat(
    key: KeyLike,
    ttl: Duration,
    options: types.GetOptions & { readonly as: "bytes" },
  ): Promise<types.GetResult<Buffer>>;
  gat(
    key: KeyLike,
    ttl: Duration,
    options: types.GetOptions & { readonly as: "text" },
  ): Promise<types.GetResult<string>>;
  gat(key: KeyLike, ttl: Duration, options?: types.GetOptions): Promise<types.GetResult>;
  gat(key: KeyLike, ttl: Duration, options?: types.GetOptions): Promise<types.GetResult> {
    try {
      checkNames(options, getNames);
      return this.#read(key, this.seconds(ttl), options ?? {});
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #read(
    key: KeyLike,
    ttl: number | undefined,
    options: types.GetOptions,
    reader = this.#readers[options.as ?? "value"],
  ): Promise<types.GetResult> {
    const { as, cas, on } = options;
    if (reader === undefined) throw badArgument("as is value, bytes or text");
    const wanted = cas === true ? valueAndFlags | want.cas : valueAndFlags;
    const { key: wire, base64, home } = anyKey(key);
    const time = this.time(options);
    const call = new Call("get", wire, base64, wanted, undefined, ttl, undefined, time, on, as === "bytes", reader);
    return this.run(home, options, call);
  }

  /** Stores a value, whatever was there. */
  set(key: KeyLike, value: Value, options?: types.StoreOptions): Promise<types.StoreResult> {
    return this.store("set", key, value, undefined, options);
  }

  /** Stores a value where there is none; `notStored` where there is one. */
  add(key: KeyLike, value: Value, options?: types.StoreOptions): Promise<types.StoreResult> {
    return this.store("add", key, value, undefined, options);
  }

  /** Stores a value where there is one; `notStored` where there is none. */
  replace(key: KeyLike, value: Value, options?: types.StoreOptions): Promise<types.StoreResult> {
    return this.store("replace", key, value, undefined, options);
  }

  /** Adds text or bytes behind a value; its flags and time to live stay. */
  append(key: KeyLike, value: string | Uint8Array, options?: CallOptions): Promise<types.StoreResult> {
    return this.#extend("append", key, value, options);
  }

  /** Adds text or bytes before a value; its flags and time to live stay. */
  prepend(key: KeyLike, value: string | Uint8Array, options?: CallOptions): Promise<types.StoreResult> {
    return this.#extend("prepend", key, value, options);
  }

  #extend(
    mode: "append" | "prepend",
    key: KeyLike,
    value: string | Uint8Array,
    options: CallOptions | undefined,
  ): Promise<types.StoreResult> {
    try {
      checkNames(options, callNames);
      return this.store(mode, key, value, undefined, { ...options, clientFlags: 0 });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Stores a value only if the item still has the token `cas`: `exists` when it changed, `notFound` when it is gone.
   * Send it `on` the epoch that the token came with: tokens of a server that was restarted start again.
   */
  cas(key: KeyLike, value: Value, cas: Cas, options?: types.StoreOptions): Promise<types.StoreResult> {
    // Without a token it would be a plain `set`.
    if (cas === undefined) return Promise.reject(badArgument("cas is missing: read the value with { cas: true }"));
    return this.store("set", key, value, cas, options);
  }

  delete(key: KeyLike, options?: types.DeleteOptions): Promise<types.DeleteResult> {
    try {
      checkNames(options, deleteNames);
      const compare = options?.compareCas;
      const details = compare === undefined ? undefined : { compareCas: checkedCas(compare, "compareCas") };
      return this.simple("delete", key, undefined, details, options, readKind) as Promise<types.DeleteResult>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Lets an item live for `ttl` from now on. */
  touch(key: KeyLike, ttl: Duration, options?: CallOptions): Promise<types.TouchResult> {
    try {
      checkNames(options, callNames);
      if (this.options.splitLargeValues) {
        const seconds = this.seconds(ttl);
        return this.operation("touch", key, options ?? {}, (step) => this.#touchParts(key, seconds, step));
      }
      return this.simple("touch", key, this.seconds(ttl), undefined, options, readKind) as Promise<types.TouchResult>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Counts up, in 64 bits; after 2^64 - 1 comes 0. */
  incr(key: KeyLike, options?: types.CountOptions): Promise<types.CountResult> {
    return this.#count(key, false, options);
  }

  /** Counts down; 0 is the end. */
  decr(key: KeyLike, options?: types.CountOptions): Promise<types.CountResult> {
    return this.#count(key, true, options);
  }

  // What the commands are made of

  protected store(
    mode: StoreMode,
    key: KeyLike,
    value: Value,
    cas: Cas | undefined,
    options: types.StoreOptions | undefined,
  ): Promise<types.StoreResult> {
    try {
      if (options !== undefined) checkNames(options, storeNames);
      const encoded = this.encode(value, options);
      if (encoded instanceof Promise)
        return this.operation(mode, key, options ?? {}, async (step) =>
          this.#storeEncoded(mode, key, await encoded, cas, step),
        );
      return this.#storeEncoded(mode, key, encoded, cas, options);
    } catch (error) {
      return Promise.reject(ofKey(error, mode, key));
    }
  }

  protected encode(value: Value, options: types.StoreOptions | undefined): Encoded | Promise<Encoded> {
    const flags = options?.clientFlags;
    if (flags === undefined) return this.values.encode(value);
    return { data: wireValue(value as string), flags: wholeNumber(flags, 0xffff_ffff, "clientFlags") };
  }

  protected sendStore(
    mode: StoreMode,
    key: KeyLike,
    encoded: Encoded,
    cas: Cas | undefined,
    options: types.StoreOptions | undefined,
  ): Promise<types.StoreResult> {
    const plain = ownKey(key);
    const odd = plain === undefined ? anyKey(key) : undefined;
    const wire = plain ?? odd?.key ?? "";
    const base64 = odd?.base64 === true;
    const home = odd?.home ?? wire;
    const ttl = options?.ttl === undefined ? undefined : this.seconds(options.ttl);
    const details: Details = { mode, clientFlags: encoded.flags };
    if (cas !== undefined) details.compareCas = checkedCas(cas, "cas");
    const wanted = options?.returnCas === true ? want.cas : 0;
    return this.run(
      home,
      options,
      new Call(
        "store",
        wire,
        base64,
        wanted,
        encoded.data,
        ttl,
        details,
        this.time(options),
        options?.on,
        false,
        readStored,
      ),
    );
  }

  #storeEncoded(
    mode: StoreMode,
    key: KeyLike,
    encoded: Encoded,
    cas: Cas | undefined,
    options: types.StoreOptions | undefined,
  ): Promise<types.StoreResult> {
    return this.#isSplit(mode, encoded, options)
      ? this.operation(mode, key, options ?? {}, (step) => this.#storeSplit(mode, key, encoded, cas, step))
      : this.sendStore(mode, key, encoded, cas, options);
  }

  #isSplit(mode: StoreMode, { data }: Encoded, options: types.StoreOptions | undefined): boolean {
    if (!this.options.splitLargeValues || !isLonger(data, partBytes) || options?.clientFlags !== undefined)
      return false;
    return this.values.profile.split !== 0 && mode !== "append" && mode !== "prepend";
  }

  /**
   * The parts first, then the manifest: see `split.ts`. Parts are asked for by `async` functions: where the time is over in
   * the middle of them, those that were sent must not fail with nobody waiting.
   */
  async #storeSplit(
    mode: StoreMode,
    key: KeyLike,
    { data, flags }: Encoded,
    cas: Cas | undefined,
    options: types.StoreOptions,
  ): Promise<types.StoreResult> {
    const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
    if (bytes.length > this.options.valueLimitBytes)
      throw new EverfreshError("EF_VALUE_TOO_LARGE", `A value of ${bytes.length} bytes is over the client's limit.`);
    const { manifest, parts } = cut(bytes, this.options.random);
    const { on: _on, returnCas: _returnCas, ...rest } = options;
    const raw = { ...rest, clientFlags: 0 };
    const stored = await Promise.all(
      parts.map(async (part, at) =>
        this.sendStore("set", partKey(manifest, at), { data: part, flags: 0 }, undefined, raw),
      ),
    );
    const failed = stored.find((result) => result.kind !== "stored");
    if (failed !== undefined) return failed;
    const described = { data: JSON.stringify(manifest), flags: flags | this.values.profile.split };
    return this.sendStore(mode, key, described, cas, options);
  }

  /** The value of an answer; undefined where it has parts and they are not all there. */
  protected decode(answer: Answer, call: Call<unknown>): unknown {
    const { clientFlags } = answer;
    const { split } = this.values.profile;
    if ((clientFlags & split) === 0) return this.values.decode(answer);
    const manifest = parseManifest(answer.textValue(), this.options.valueLimitBytes);
    return this.#join(manifest, clientFlags & ~split, call);
  }

  /** The parts get what is left of the time of the call that found them, and its time to live. */
  async #join(manifest: Manifest, flags: number, call: Call<unknown>): Promise<unknown> {
    const step: types.GetOptions & StepOptions = { as: "bytes", [until]: call.deadline };
    const parts = await Promise.all(
      partKeys(manifest).map(async (key) => this.#read(key, call.ttl, step, readUncounted)),
    );
    const whole = join(
      manifest,
      parts.map((part) => (part.kind === "hit" ? (part.value as Buffer) : undefined)),
    );
    if (whole === undefined) {
      this.counters.hits--;
      this.counters.misses++;
      return missing;
    }
    const answer = holding(whole);
    answer.clientFlags = flags;
    return this.values.decode(answer);
  }

  /** Parts must live as long as the manifest that names them, and only reading it tells whether there are any. */
  async #touchParts(key: KeyLike, ttl: number, options: CallOptions): Promise<types.TouchResult> {
    const found = await this.#read(key, ttl, { ...options, as: "bytes" }, readUncounted);
    const { epoch } = found;
    if (found.kind === "miss") return { kind: "notFound", epoch };
    if ((found.clientFlags & this.values.profile.split) === 0) return { kind: "touched", epoch };
    const manifest = parseManifest((found.value as Buffer).toString(), this.options.valueLimitBytes);
    const { on: _on, ...rest } = options;
    const parts = await Promise.all(
      partKeys(manifest).map(async (part) => this.simple("touch", part, ttl, undefined, rest, readKind)),
    );
    const isWhole = parts.every((part) => (part as types.TouchResult).kind === "touched");
    return { kind: isWhole ? "touched" : "notFound", epoch };
  }

  async #count(key: KeyLike, subtract: boolean, options: types.CountOptions = {}): Promise<types.CountResult> {
    checkNames(options, countNames);
    const details: Details = { subtract, delta: counter(options.delta ?? 1, "delta") };
    if (options.initial === undefined) return this.simple("arithmetic", key, undefined, details, options, readCount);
    const initial = counter(options.initial, "initial");
    if (options.ttl !== undefined) this.seconds(options.ttl);
    return this.operation("arithmetic", key, options, (step) => this.#countFrom(initial, key, details, step));
  }

  /**
   * No protocol's own way of starting a counter can set its flags, so that reading it would not give a number. `add` lets
   * one of several callers start it, and nobody counts twice.
   */
  async #countFrom(
    initial: bigint,
    key: KeyLike,
    details: Details,
    options: types.CountOptions,
  ): Promise<types.CountResult> {
    const count = (): Promise<types.CountResult> =>
      this.simple("arithmetic", key, undefined, details, options, readCount);
    const counted = await count();
    if (counted.kind === "number") return counted;
    const encoded = { data: String(initial), flags: this.values.profile.counterFlags };
    const added = await this.sendStore("add", key, encoded, undefined, options);
    return added.kind === "stored" ? { kind: "number", value: initial, epoch: added.epoch } : count();
  }

  #reader(decode: (answer: Answer, call: Call<unknown>) => unknown): Reading<types.GetResult> {
    const { counters } = this;
    return (answer, call, epoch) => {
      if (answer.kind === "miss") {
        counters.misses++;
        return { kind: "miss", epoch };
      }
      counters.hits++;
      const { clientFlags } = answer;
      const cas = answer.cas as Cas | undefined;
      const value = decode(answer, call);
      if (!(value instanceof Promise)) return { kind: "hit", value, clientFlags, cas, epoch };
      const result = value.then((ready: unknown): types.GetResult =>
        ready === missing ? { kind: "miss", epoch } : { kind: "hit", value: ready, clientFlags, cas, epoch },
      );
      call.finishWith(this.operations.run(result, call.deadline, { command: "get", key: call.shownKey() }), epoch);
      return unfinished;
    };
  }
}

/** Reads that nobody asked for as such: of parts, and to touch. */
const readUncounted: Reading<types.GetResult> = (answer, _call, epoch) => {
  if (answer.kind === "miss") return { kind: "miss", epoch };
  return { kind: "hit", value: answer.bytes(), clientFlags: answer.clientFlags, cas: undefined, epoch };
};

const readKind: Reading<unknown> = (answer, _call, epoch) => ({ kind: answer.kind, epoch });

const readStored: Reading<types.StoreResult> = (answer, _call, epoch) => ({
  kind: answer.kind as types.StoreResult["kind"],
  cas: answer.cas as Cas | undefined,
  epoch,
});

const readCount: Reading<types.CountResult> = (answer, _call, epoch) =>
  answer.kind === "number" ? { kind: "number", value: BigInt(answer.text), epoch } : { kind: "notFound", epoch };

/** An error with the command, and the key where it is one. */
function ofKey(error: unknown, command: string, key: unknown): unknown {
  const isKey = typeof key === "string" || key instanceof Uint8Array;
  return located(error, { command, ...(isKey && { key: shownKey(key) }) });
}
