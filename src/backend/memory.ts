/**
 * Values in this process's own memory, bounded by bytes and by entries.
 *
 * The promise holds among the callers of this process; another process has a memory of its own and does not see
 * what is invalidated here. What is forgotten first is what was not read since it was last considered
 * (second chance in the order of arrival), so that a hit costs no reordering.
 */
import { systemClock, type Clock } from "../clock.ts";
import { EverfreshError } from "../errors.ts";
import { checkNames } from "../option-names.ts";
import type { Backend, Item, Reading, Token, Want } from "./backend.ts";

export interface MemoryOptions {
  /** The most bytes that keys and values may take together. Default: 64 MiB. */
  readonly limitBytes?: number | undefined;
  /** The most entries. Default: 100,000. */
  readonly limitEntries?: number | undefined;
  readonly clock?: Clock | undefined;
}

const optionNames: Record<keyof MemoryOptions, true> = { limitBytes: true, limitEntries: true, clock: true };

/** What an entry costs besides its key and its bytes; an estimate of the engine's own overhead. */
const entryOverheadBytes = 200;

interface Slot {
  readonly key: string;
  item: Item;
  /** Monotonic milliseconds; Infinity for ever. */
  expiresAt: number;
  state: "value" | "lease" | "stale" | "staleLeased" | "recaching";
  visited: boolean;
}

/** A bounded memory as a backend. */
export function memory(options: MemoryOptions = {}): Backend {
  checkNames(options, optionNames, "memory");
  return new Memory(options);
}

class Memory implements Backend {
  readonly reach = "process";
  readonly keepsStale = true;
  readonly itemLimitBytes: number;
  readonly #limitEntries: number;
  readonly #limitBytes: number;
  readonly #clock: Clock;
  readonly #slots = new Map<string, Slot>();
  #bytes = 0;

  constructor(options: MemoryOptions) {
    this.#limitBytes = positive(options.limitBytes ?? 64 * 1024 * 1024, "limitBytes");
    this.#limitEntries = positive(options.limitEntries ?? 100_000, "limitEntries");
    this.itemLimitBytes = this.#limitBytes;
    this.#clock = options.clock ?? systemClock;
  }

  describe(): string {
    return `this process's memory (at most ${Math.round(this.#limitBytes / 1024 / 1024)} MiB)`;
  }

  serverOf(): string {
    return "memory";
  }

  servers(): readonly { name: string; state: "up" }[] {
    return [{ name: "memory", state: "up" }];
  }

  peek(key: string): Item | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined || slot.state !== "value") return undefined;
    if (slot.expiresAt !== Infinity && slot.expiresAt <= this.#clock.monotonic()) return undefined;
    slot.visited = true;
    return slot.item;
  }

  read(key: string, want: Want): Promise<Reading> {
    return Promise.resolve(this.#read(key, want));
  }

  #read(key: string, want: Want): Reading {
    const slot = this.#current(key);
    if (slot === undefined) {
      if (want.lease === undefined) return { kind: "absent" };
      return { kind: "won", token: this.#store(key, empty(), want.lease, "lease") };
    }
    if (slot.state === "lease") return want.lease === undefined ? { kind: "absent" } : { kind: "leased" };
    slot.visited = true;
    const leftMs = slot.expiresAt - this.#clock.monotonic();
    const leased = slot.state === "staleLeased" || slot.state === "recaching";
    const stale = slot.state === "stale" || slot.state === "staleLeased";
    const asked = want.lease !== undefined;
    const won = asked && !leased && (stale || (want.recache !== undefined && leftMs < want.recache * 1000));
    if (won) slot.state = stale ? "staleLeased" : "recaching";
    return {
      kind: "item",
      item: slot.item,
      token: this.#token(slot),
      ttlSeconds: want.ttl ? (leftMs === Infinity ? -1 : Math.ceil(leftMs / 1000)) : undefined,
      stale,
      won,
      leased,
    };
  }

  claim(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    return Promise.resolve(this.#matches(key, token) ? this.#store(key, empty(), leaseSeconds, "lease") : undefined);
  }

  expire(key: string, token: Token, keepSeconds?: number): Promise<boolean> {
    const slot = this.#matches(key, token);
    if (slot) this.#makeStale(slot, keepSeconds);
    return Promise.resolve(slot !== undefined);
  }

  replace(key: string, token: Token, item: Item, ttlSeconds: number): Promise<Token | undefined> {
    const slot = this.#matches(key, token);
    if (slot === undefined) return Promise.resolve(undefined);
    if (this.#fits(key, item)) return Promise.resolve(this.#store(key, item, ttlSeconds, "value"));
    this.#forget(slot);
    return Promise.resolve(undefined);
  }

  renew(key: string, token: Token, leaseSeconds: number): Promise<Token | undefined> {
    const slot = this.#matches(key, token);
    if (slot) slot.expiresAt = this.#expiry(leaseSeconds);
    return Promise.resolve(slot && token);
  }

  drop(key: string, token: Token): Promise<boolean> {
    const slot = this.#matches(key, token);
    if (slot) this.#forget(slot);
    return Promise.resolve(slot !== undefined);
  }

  put(key: string, item: Item, ttlSeconds: number, mode: "set" | "add"): Promise<boolean> {
    const old = this.#current(key);
    if (mode === "add" && old !== undefined) return Promise.resolve(false);
    if (!this.#fits(key, item)) {
      if (old !== undefined) this.#forget(old);
      return Promise.resolve(false);
    }
    this.#store(key, item, ttlSeconds, "value");
    return Promise.resolve(this.#slots.has(key));
  }

  remove(key: string, keepSeconds = 0): Promise<boolean> {
    const slot = this.#current(key);
    if (slot === undefined) return Promise.resolve(false);
    const keeps = keepSeconds > 0 && slot.state !== "lease";
    if (keeps) this.#makeStale(slot, keepSeconds);
    else this.#forget(slot);
    return Promise.resolve(true);
  }

  close(): Promise<void> {
    this.#slots.clear();
    this.#bytes = 0;
    return Promise.resolve();
  }

  /** A version is the very item object; a stale mark makes it another one. */
  #makeStale(slot: Slot, keepSeconds: number | undefined): void {
    slot.item = { ...slot.item };
    slot.state = "stale";
    if (keepSeconds !== undefined) slot.expiresAt = this.#expiry(keepSeconds);
  }

  #token(slot: Slot): Token {
    return { epoch: this, version: slot.item };
  }

  #current(key: string): Slot | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined || slot.expiresAt > this.#clock.monotonic()) return slot;
    this.#forget(slot);
    return undefined;
  }

  #matches(key: string, token: Token): Slot | undefined {
    const slot = this.#current(key);
    return slot !== undefined && slot.item === token.version ? slot : undefined;
  }

  #store(key: string, item: Item, ttlSeconds: number, state: Slot["state"]): Token {
    const old = this.#slots.get(key);
    if (old !== undefined) this.#forget(old);
    const slot: Slot = { key, item, expiresAt: this.#expiry(ttlSeconds), state, visited: false };
    if (!this.#fits(key, item)) return this.#token(slot);
    const bytes = cost(key, item);
    // Before it is there: where everything else was read lately, it would give way itself.
    this.#makeRoom(bytes);
    this.#slots.set(key, slot);
    this.#bytes += bytes;
    return this.#token(slot);
  }

  /** Nothing gives way to what would not fit even then. */
  #fits(key: string, item: Item): boolean {
    return cost(key, item) <= this.#limitBytes;
  }

  /** Room for one more entry, of `bytes`. */
  #makeRoom(bytes: number): void {
    while (this.#bytes + bytes > this.#limitBytes || this.#slots.size >= this.#limitEntries) {
      const [slot] = this.#slots.values();
      if (slot === undefined) return;
      if (slot.visited && slot.expiresAt > this.#clock.monotonic()) {
        slot.visited = false;
        this.#slots.delete(slot.key);
        this.#slots.set(slot.key, slot);
      } else this.#forget(slot);
    }
  }

  #forget(slot: Slot): void {
    this.#slots.delete(slot.key);
    this.#bytes -= cost(slot.key, slot.item);
  }

  #expiry(seconds: number): number {
    return seconds === 0 ? Infinity : this.#clock.monotonic() + seconds * 1000;
  }
}

function empty(): Item {
  return { bytes: Buffer.alloc(0), flags: 0 };
}

function cost(key: string, item: Item): number {
  return key.length * 2 + item.bytes.length + entryOverheadBytes;
}

function positive(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value <= 0)
    throw new EverfreshError("EF_OPTION", `${name} is ${value}; it must be a positive whole number`);
  return value;
}
