/**
 * A simulated memcached: the meta commands that leases use, with the semantics of memcached 1.6.18 that matter to them.
 *
 * Compare-and-swap numbers are counted per key and start again at a restart, which is nastier than the real server: a number
 * from before a restart meets an item with the same number as soon as the key was written equally often. TTLs tick in whole
 * seconds, and an expired item is found to be gone only when somebody asks.
 */
import type { LeaseClient } from "#src/backend/lease-client.ts";

type Meta = LeaseClient["meta"];

/** One command as it travels. */
export type Command =
  | { readonly kind: "get"; readonly key: string; readonly flags: Parameters<Meta["get"]>[1] }
  | { readonly kind: "set"; readonly key: string; readonly value: string; readonly flags: Parameters<Meta["set"]>[2] }
  | { readonly kind: "delete"; readonly key: string; readonly flags: Parameters<Meta["delete"]>[1] };

/** The answer, without the connection that carries it. */
export type Reply =
  | { readonly kind: "miss" | "stored" | "notStored" | "exists" | "notFound" | "deleted"; readonly cas?: string }
  | {
      readonly kind: "hit" | "unchanged";
      readonly value: string | undefined;
      readonly clientFlags: number;
      readonly cas: string;
      readonly ttl: number | undefined;
      readonly won: boolean;
      readonly stale: boolean;
      readonly leased: boolean;
    };

interface StoredItem {
  value: string;
  flags: number;
  cas: number;
  /** Second in which it is gone; 0: never. */
  until: number;
  stale: boolean;
  tokenSent: boolean;
}

export class SimServer {
  readonly name: string;
  readonly #nowMs: () => number;
  #items = new Map<string, StoredItem>();
  #counters = new Map<string, number>();

  constructor(name: string, nowMs: () => number) {
    this.name = name;
    this.#nowMs = nowMs;
  }

  execute(command: Command): Reply {
    if (command.kind === "get") return this.#get(command.key, command.flags);
    if (command.kind === "set") return this.#set(command.key, command.value, command.flags);
    return this.#delete(command.key, command.flags);
  }

  /** Everything is gone, and the counters start again. */
  restart(): void {
    this.#items = new Map();
    this.#counters = new Map();
  }

  flush(): void {
    this.#items.clear();
  }

  evict(key: string): void {
    this.#items.delete(key);
  }

  keys(): string[] {
    return [...this.#items.keys()].toSorted();
  }

  /** Everything that decides what it will answer, as text. */
  state(): string {
    const items = [...this.#items].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return JSON.stringify([items, [...this.#counters].toSorted(([a], [b]) => (a < b ? -1 : 1))]);
  }

  #find(key: string): StoredItem | undefined {
    const item = this.#items.get(key);
    if (item !== undefined && item.until !== 0 && item.until <= this.#second()) {
      this.#items.delete(key);
      return undefined;
    }
    return item;
  }

  #second(): number {
    return Math.floor(this.#nowMs() / 1000);
  }

  #until(ttl: number | undefined): number {
    return ttl === undefined || ttl === 0 ? 0 : this.#second() + ttl;
  }

  #nextCas(key: string): number {
    const next = (this.#counters.get(key) ?? 0) + 1;
    this.#counters.set(key, next);
    return next;
  }

  /**
   * protocol.txt, "Meta Get": C leaves out a value that has this number; N makes an empty item for a miss; W goes to one, Z
   * says that it went to somebody.
   */
  #get(key: string, flags: Parameters<Meta["get"]>[1]): Reply {
    let item = this.#find(key);
    let won = false;
    if (item === undefined) {
      if (flags.vivify === undefined) return { kind: "miss" };
      const until = this.#until(flags.vivify);
      item = { value: "", flags: 0, cas: this.#nextCas(key), until, stale: false, tokenSent: false };
      this.#items.set(key, item);
      won = true;
    }
    const left = item.until === 0 ? -1 : item.until - this.#second();
    const leased = item.tokenSent;
    if (!item.tokenSent && item.stale) won = true;
    if (!item.tokenSent && flags.recache !== undefined && left >= 0 && left < flags.recache) won = true;
    if (won) item.tokenSent = true;
    const { flags: clientFlags, stale } = item;
    const cas = String(item.cas);
    const ttl = flags.ttl ? left : undefined;
    const kind = flags.ifChangedFrom !== undefined && String(flags.ifChangedFrom) === cas ? "unchanged" : "hit";
    const value = kind === "unchanged" || flags.value === false ? undefined : item.value;
    return { kind, value, clientFlags, cas, ttl, won, stale, leased };
  }

  #set(key: string, value: string, flags: Parameters<Meta["set"]>[2]): Reply {
    const item = this.#find(key);
    if (flags.compareCas !== undefined) {
      if (item === undefined) return { kind: "notFound" };
      if (String(item.cas) !== String(flags.compareCas)) return { kind: "exists" };
    }
    if (flags.mode === "add" && item !== undefined) return { kind: "notStored" };
    const cas = this.#nextCas(key);
    const until = this.#until(flags.ttl);
    this.#items.set(key, { value, flags: flags.clientFlags ?? 0, cas, until, stale: false, tokenSent: false });
    return { kind: "stored", cas: String(cas) };
  }

  #delete(key: string, flags: Parameters<Meta["delete"]>[1]): Reply {
    const item = this.#find(key);
    if (item === undefined) return { kind: "notFound" };
    if (flags.compareCas !== undefined && String(item.cas) !== String(flags.compareCas)) return { kind: "exists" };
    if (flags.invalidate) {
      item.stale = true;
      item.tokenSent = false;
      item.cas = this.#nextCas(key);
      if (flags.ttl !== undefined) item.until = this.#until(flags.ttl);
    } else this.#items.delete(key);
    return { kind: "deleted" };
  }
}
