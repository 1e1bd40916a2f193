/** Commands for many keys at once, and for all servers. */
import { EverfreshError, isEverfreshError, located } from "../errors.ts";
import type { Duration } from "../duration.ts";
import { Call, unfinished, type CallOptions, type Link, type Reading } from "../connection/index.ts";
import { hashedLength, want, type Answer, type Verb } from "../protocol/index.ts";
import { anyKey, badArgument, checkedList, ownKey } from "./arguments.ts";
import type { DeleteResult, Many, ReadAs, StoreOptions, StoreResult, TouchResult } from "./command-types.ts";
import { shownKey, type KeyLike } from "./calls.ts";
import { Commands, missing } from "./commands.ts";
import { callNames, checkNames, getManyNames, storeNames } from "./option-names.ts";
import type { Value } from "./profiles.ts";

export interface GetManyOptions extends CallOptions {
  /** Default `"value"`. */
  readonly as?: ReadAs | undefined;
}

/** The keys of one batch that go over one link. */
interface Group<K> {
  readonly keys: K[];
  readonly wire: string[];
  encoded: boolean[] | undefined;
  /** The characters of the keys, with a space each. */
  length: number;
}

/** memcached reads commands into 16 KB; longer ones make it copy them into memory of their own. */
const lineLimit = 15_000;

/** A slice of a batch ends with the value that brings it to so many bytes: a quarter of what may wait for one server. */
const sliceBytes = 32 * 2 ** 20;

const keysForm = "keys are a list, such as ['song:7', 'song:8']";
const entriesForm = "what setMany stores is a list of pairs, or a Map: [['song:7', song]]";

/** All typed commands: for one key, for many, for all servers. */
export class BulkCommands extends Commands {
  /**
   * Reads many values in one round trip per server. Keys without a value are not in `values`; keys whose server failed
   * are in `errors`.
   */
  getMany<K extends KeyLike>(
    keys: Iterable<K>,
    options: GetManyOptions & { readonly as: "bytes" },
  ): Promise<Many<K, Buffer>>;
  getMany<K extends KeyLike>(
    keys: Iterable<K>,
    options: GetManyOptions & { readonly as: "text" },
  ): Promise<Many<K, string>>;
  getMany<K extends KeyLike>(keys: Iterable<K>, options?: GetManyOptions): Promise<Many<K, unknown>>;
  async getMany<K extends KeyLike>(keys: Iterable<K>, options?: GetManyOptions): Promise<Many<K, unknown>> {
    checkNames(options, getManyNames);
    const decode = this.#decoder(options?.as ?? "value");
    const timeoutMs = this.time(options);
    const signal = options?.signal;
    const values = new Map<K, unknown>();
    const errors = new Map<K, EverfreshError>();
    const late: Promise<void>[] = [];
    const groups = this.#group(checkedList(keys, keysForm));
    const sent: Promise<unknown>[] = [];
    for (const [link, group] of groups) {
      let found = 0;
      const read: Reading<true> = (answer, call, epoch, last) => {
        if (answer.kind === "hit") {
          found++;
          this.counters.hits++;
          this.#gather(group.keys[answer.index] as K, epoch.server, answer, call, decode, values, errors, late, signal);
        } else if (answer.kind === "oversized") {
          found++;
          const key = group.keys[answer.index] as K;
          errors.set(key, tooLarge(answer.text, shownKey(key), epoch.server));
        }
        if (!last) return unfinished;
        this.counters.misses += Math.max(0, group.keys.length - found);
        return true;
      };
      const details = { keys: group.wire, encoded: group.encoded };
      const wanted = want.value | want.flags;
      const call = new Call(
        "getMany",
        "",
        false,
        wanted,
        undefined,
        undefined,
        details,
        timeoutMs,
        options?.on,
        options?.as === "bytes",
        read,
      );
      sent.push(
        this.send(link, options, call).catch((error: unknown) => {
          for (const key of group.keys) if (!values.has(key) && !errors.has(key)) errors.set(key, asError(error));
        }),
      );
    }
    await (sent.length === 1 ? sent[0] : Promise.all(sent));
    if (late.length > 0) await Promise.all(late);
    // A value may have come, and taken a while to unpack, before the rest of its answer failed.
    if (errors.size > 0) for (const key of values.keys()) errors.delete(key);
    return { values, errors };
  }

  /** Stores many values; each has its own outcome. Batches over half of `maxPending` are sent in slices. */
  async setMany<K extends KeyLike>(
    entries: Iterable<readonly [K, Value]>,
    options?: StoreOptions,
  ): Promise<Many<K, StoreResult>> {
    checkNames(options, storeNames);
    const pairs = [...checkedList(entries, entriesForm)];
    // A text would be the pair of its first two characters.
    if (!pairs.every((pair) => Array.isArray(pair))) throw badArgument(entriesForm);
    return this.#inSlices(
      pairs,
      options,
      ([key]) => key,
      ([key, value], step) => this.set(key, value, step),
      // Others were encoded a moment ago, when they were set.
      ([, value]) => (isPlain(value) ? value.length : this.values.lastLength),
    );
  }

  async deleteMany<K extends KeyLike>(keys: Iterable<K>, options?: CallOptions): Promise<Many<K, DeleteResult>> {
    checkNames(options, callNames);
    return this.#inSlices(
      [...checkedList(keys, keysForm)],
      options,
      (key) => key,
      (key, step) => this.delete(key, step),
    );
  }

  async touchMany<K extends KeyLike>(
    keys: Iterable<K>,
    ttl: Duration,
    options?: CallOptions,
  ): Promise<Many<K, TouchResult>> {
    checkNames(options, callNames);
    this.seconds(ttl);
    return this.#inSlices(
      [...checkedList(keys, keysForm)],
      options,
      (key) => key,
      (key, step) => this.touch(key, ttl, step),
    );
  }

  /** Empties all servers. */
  flush(options?: CallOptions): Promise<Many<string, true>> {
    return this.#everywhere("flush", undefined, options, () => () => true as const);
  }

  /** The servers' versions. */
  version(options?: CallOptions): Promise<Many<string, string>> {
    return this.#everywhere("version", undefined, options, () => (answer) => answer.text);
  }

  /**
   * The servers' numbers, by their own names.
   *
   * @param kind `settings`, `items`, `slabs`, `sizes`, `conns`, `reset`, ...; left out: the general ones
   */
  stats(kind?: string, options?: CallOptions): Promise<Many<string, Readonly<Record<string, string>>>> {
    if (kind !== undefined && !/^[\w-]+(?: [\w-]+){0,3}$/.test(kind))
      return Promise.reject(badArgument("kind is a word or a few"));
    return this.#everywhere("stats", kind, options, () => {
      const numbers = Object.create(null) as Record<string, string>;
      return (answer) => {
        if (answer.kind !== "line") return numbers;
        const space = answer.text.indexOf(" ");
        numbers[space < 0 ? answer.text : answer.text.slice(0, space)] = space < 0 ? "" : answer.text.slice(space + 1);
        return unfinished;
      };
    });
  }

  /**
   * Runs one command for each item. More than a connection lets wait are sent in slices, each when the one before is
   * answered: a batch must not fail by its own size. Each slice has the time of one call, and closing waits for all.
   */
  #inSlices<T, K, V, Options extends CallOptions>(
    items: readonly T[],
    options: Options | undefined,
    keyOf: (item: T) => K,
    run: (item: T, options: Options | undefined) => Promise<V>,
    /** Asked once the item runs. */
    bytesOf?: (item: T) => number,
  ): Promise<Many<K, V>> {
    // A batch that was begun ends while the client closes; one that begins later fails as calls do.
    const wasClosing = this.operations.closing;
    // Half of what may wait, so that there is room for others.
    const most = Math.max(1, this.options.maxPending >> 1);
    const work = async (): Promise<Many<K, V>> => {
      const values = new Map<K, V>();
      const errors = new Map<K, EverfreshError>();
      for (let start = 0; start < items.length;) {
        const step = start === 0 || wasClosing ? options : this.step(options);
        const running: Promise<void>[] = [];
        let end = start;
        for (let bytes = 0; end < items.length && end - start < most && bytes < sliceBytes; end++) {
          const item = items[end] as T;
          running.push(sorted(run(item, step), keyOf(item), values, errors));
          bytes += bytesOf?.(item) ?? 0;
        }
        await Promise.all(running);
        start = end;
      }
      return { values, errors };
    };
    return this.operations.hold(work());
  }

  async #everywhere<T>(
    verb: Verb,
    argument: string | undefined,
    options: CallOptions | undefined,
    reading: () => Reading<T>,
  ): Promise<Many<string, T>> {
    checkNames(options, callNames);
    const details = argument === undefined ? undefined : { argument };
    return each(
      this.router.members,
      (member) => member.name,
      (member) => {
        const call = new Call<T>(
          verb,
          "",
          false,
          0,
          undefined,
          undefined,
          details,
          this.time(options),
          options?.on,
          false,
          reading(),
        );
        return this.send(member.links[0] as Link, options, call);
      },
    );
  }

  #decoder(as: ReadAs): (answer: Answer, call: Call<unknown>) => unknown {
    if (as === "bytes") return (answer) => answer.bytes();
    if (as === "text") return (answer) => answer.textValue();
    if (as !== "value") throw badArgument("as is value, bytes or text");
    return (answer, call) => this.decode(answer, call);
  }

  #gather<K extends KeyLike>(
    key: K,
    server: string,
    answer: Answer,
    call: Call<unknown>,
    decode: (answer: Answer, call: Call<unknown>) => unknown,
    values: Map<K, unknown>,
    errors: Map<K, EverfreshError>,
    late: Promise<void>[],
    signal: AbortSignal | undefined,
  ): void {
    try {
      const value = decode(answer, call);
      if (!(value instanceof Promise)) {
        values.set(key, value);
        return;
      }
      const details = { command: "getMany", key: shownKey(key), server };
      late.push(
        this.operations.run(value, call.deadline, details, signal).then(
          (ready: unknown) => void (ready === missing || values.set(key, ready)),
          (error: unknown) => void errors.set(key, asError(located(error, details))),
        ),
      );
    } catch (error) {
      errors.set(key, asError(located(error, { command: "getMany", key: shownKey(key), server })));
    }
  }

  #group<K extends KeyLike>(keys: Iterable<K>): [Link, Group<K>][] {
    const groups: [Link, Group<K>][] = [];
    const open = new Map<Link, Group<K>>();
    let link: Link | undefined;
    let group: Group<K> | undefined;
    for (const key of keys) {
      const plain = ownKey(key);
      const odd = plain === undefined ? anyKey(key) : undefined;
      const wire = plain ?? odd?.key ?? "";
      const next = this.router.link(odd?.home ?? wire);
      // Most batches stay on one link for a while, so it is looked up only when it changes.
      if (next !== link) {
        link = next;
        group = open.get(next);
      }
      const length = 1 + (odd === undefined ? wire.length : Math.max(wire.length, hashedLength));
      if (group === undefined || group.length + length > lineLimit) {
        group = { keys: [], wire: [], encoded: undefined, length: 0 };
        open.set(next, group);
        groups.push([next, group]);
      }
      if (odd?.base64 === true) (group.encoded ??= [])[group.wire.length] = true;
      group.keys.push(key);
      group.wire.push(wire);
      group.length += length;
    }
    return groups;
  }
}

function tooLarge(message: string, key: string, server: string): EverfreshError {
  return new EverfreshError("EF_VALUE_TOO_LARGE", message, { command: "getMany", key, server });
}

function isPlain(value: Value): value is string | Uint8Array {
  return typeof value === "string" || value instanceof Uint8Array;
}

async function each<T, K, V>(
  items: readonly T[],
  keyOf: (item: T) => K,
  run: (item: T) => Promise<V>,
): Promise<Many<K, V>> {
  const values = new Map<K, V>();
  const errors = new Map<K, EverfreshError>();
  await Promise.all(items.map((item) => sorted(run(item), keyOf(item), values, errors)));
  return { values, errors };
}

/** Puts what comes of `work` where it belongs. */
function sorted<K, V>(work: Promise<V>, key: K, values: Map<K, V>, errors: Map<K, EverfreshError>): Promise<void> {
  return work.then(
    (value) => void values.set(key, value),
    (error: unknown) => void errors.set(key, asError(error)),
  );
}

/** Failures of servers are part of the outcome; anything else is a mistake and goes through. */
function asError(error: unknown): EverfreshError {
  if (isEverfreshError(error)) return error;
  throw error;
}
