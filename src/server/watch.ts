/**
 * `watch`: a visitor becomes a reader of what happens (protocol.txt, "Watchers"). Lines are dropped, not kept, for a
 * watcher who does not read.
 */
import { layout as at, mode, type Draft, type Mode, outcome, type Outcome, type Store } from "../store/index.ts";
import { uriKey } from "./key-text.ts";
import type { Desk } from "./desk.ts";
import type { Session } from "./session.ts";

/** What can be watched; the bits of `Session.watches`. Proxy events exist, but a server without a proxy has none. */
export const watchable: Readonly<Record<string, number>> = {
  fetchers: 1,
  mutations: 2,
  evictions: 4,
  connevents: 8,
  deletions: 16,
  rawcmds: 0,
  sysevents: 0,
  proxyreqs: 0,
  proxyevents: 0,
  proxyuser: 0,
};
const mostWatchers = 20;

const storeCommand: Readonly<Record<Mode, string>> = {
  [mode.set]: "set",
  [mode.add]: "add",
  [mode.replace]: "replace",
  [mode.append]: "append",
  [mode.prepend]: "prepend",
};
const storeStatus: Readonly<Record<Outcome, string>> = {
  [outcome.stored]: "stored",
  [outcome.notStored]: "not_stored",
  [outcome.exists]: "exists",
  [outcome.notFound]: "not_found",
  [outcome.tooLarge]: "too_large",
  [outcome.noMemory]: "no_memory",
  [outcome.nonNumeric]: "not_stored",
};

export class Watch {
  readonly #desk: Desk;
  readonly #watchers = new Set<Session>();
  readonly #ids = new WeakMap<Session, number>();
  #lines = 0;
  #lastId = 0;

  constructor(desk: Desk) {
    this.#desk = desk;
    for (const store of desk.accounts.stores.values())
      store.onDeparture = (item, why) => {
        if (why === "evicted") this.#evicted(store, item);
      };
  }

  /** False when there are too many watchers already. */
  add(session: Session): boolean {
    if (this.#watchers.size >= mostWatchers) return false;
    this.#watchers.add(session);
    return true;
  }

  remove(session: Session): void {
    this.#watchers.delete(session);
    if (this.#watchers.size > 0) return;
    this.#desk.watch = undefined;
    for (const store of this.#desk.accounts.stores.values()) store.onDeparture = undefined;
  }

  fetched(session: Session, key: Uint8Array, start: number, end: number, item: number, store: Store): void {
    const size = item === 0 ? 0 : (store.words[item + at.LENGTH] as number);
    const slab = item === 0 ? 0 : this.#desk.slabs.classOf(store.sizeOf(item));
    const status = item === 0 ? "not_found" : "found";
    this.#tell(
      1,
      store,
      `type=item_get key=${uriKey(key, start, end)} status=${status} clsid=${slab} cfd=${this.#id(session)} size=${size}`,
    );
  }

  stored(session: Session, draft: Draft, how: Mode, result: Outcome): void {
    const store = session.account?.store;
    if (store === undefined) return;
    const command = draft.compares ? "cas" : storeCommand[how];
    const ttl = draft.expires === 0 ? 0 : draft.expires - store.seconds.now;
    const slab = store.last === 0 ? 0 : this.#desk.slabs.classOf(store.sizeOf(store.last));
    const size = store.last === 0 ? draft.valueEnd - draft.valueStart : (store.words[store.last + at.LENGTH] as number);
    this.#tell(
      2,
      store,
      `type=item_store key=${uriKey(draft.key, draft.keyStart, draft.keyEnd)} status=${storeStatus[result]} ` +
        `cmd=${command} ttl=${ttl} clsid=${slab} cfd=${this.#id(session)} size=${size}`,
    );
  }

  deleted(_session: Session, item: number, store: Store, command: string): void {
    const size = store.words[item + at.LENGTH] as number;
    const slab = this.#desk.slabs.classOf(store.sizeOf(item));
    this.#tell(16, store, `type=deleted key=${keyOf(store, item)} cmd=${command} clsid=${slab} size=${size}`);
  }

  connected(session: Session, address: string, port: number, transport: string): void {
    const id = this.#id(session);
    this.#tell(8, undefined, `type=conn_new rip=${address} rport=${port} transport=${transport} cfd=${id}`);
  }

  gone(session: Session, address: string, port: number, transport: string, reason: string): void {
    const id = this.#id(session);
    this.#tell(
      8,
      undefined,
      `type=conn_close rip=${address} rport=${port} transport=${transport} reason=${reason} cfd=${id}`,
    );
  }

  #evicted(store: Store, item: number): void {
    const { words } = store;
    const expires = (words[item + at.EXPIRES] as number) >>> 0;
    const ttl = expires === 0 ? -1 : expires - store.seconds.now;
    const fetched = ((words[item + at.STATE] as number) & at.FETCHED) === 0 ? "no" : "yes";
    const age = store.seconds.now - (words[item + at.TIME] as number);
    const slab = this.#desk.slabs.classOf(store.sizeOf(item));
    const size = words[item + at.LENGTH] as number;
    this.#tell(
      4,
      store,
      `type=eviction key=${keyOf(store, item)} fetch=${fetched} ttl=${ttl} la=${age} clsid=${slab} size=${size}`,
    );
  }

  /** Tells those who watch `kind`; what happens to items, and who comes, only those who may see it. */
  #tell(kind: number, store: Store | undefined, what: string): void {
    if (store === undefined && this.#desk.accounts.guest === undefined) return;
    const nowMs = this.#desk.clock.now();
    const line = `ts=${Math.floor(nowMs / 1000)}.${Math.floor(nowMs % 1000) * 1000} gid=${++this.#lines} ${what}\n`;
    for (const watcher of this.#watchers) {
      if ((watcher.watches & kind) === 0 || watcher.blocked) continue;
      if (store !== undefined && watcher.account?.store !== store) continue;
      watcher.outlet.send(Buffer.from(line, "latin1"));
    }
  }

  #id(session: Session): number {
    let id = this.#ids.get(session);
    if (id === undefined) this.#ids.set(session, (id = ++this.#lastId));
    return id;
  }
}

function keyOf(store: Store, item: number): string {
  const start = item * 4 + at.headerBytes;
  return uriKey(store.bytes, start, start + ((store.words[item + at.STATE] as number) & at.KEY_LENGTH));
}
